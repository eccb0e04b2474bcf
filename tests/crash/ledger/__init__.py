"""Processes that write down what they do and are killed at any moment; what they wrote must fit together."""
