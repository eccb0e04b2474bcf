"""Consumers whose tasks run in child processes, forked by a server of their own."""
