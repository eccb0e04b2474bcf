"""Hosts: processes that keep a queue or consumers, whatever becomes of the scheduler."""
