"""Tests of code that uses queues, without a cluster: the same queues in this process, and a clock wound by hand."""

from daskqueue.testing.in_process import HandClock, InProcessPool

pool = InProcessPool

__all__ = ["HandClock", "InProcessPool", "pool"]
