"""Handles of what was submitted: wait for them, take their results, have them in the order they end."""
