"""Tasks that report to the test and wait for it, across processes and without a clock."""

from __future__ import annotations

import os
import select
import time


class Gate:
    """Tasks ``arrive`` and ``wait``; the test waits for them with ``expect`` and lets them go with ``let``.

    Two named pipes carry one byte for each; a byte that a killed process did not take stays for the next.
    """

    def __init__(self, path):
        self.path = str(path)

    def __enter__(self):
        self._ends = []
        for pipe in (self._arrivals, self._permits):
            os.mkfifo(pipe)
            # Open for both, so that no end is ever the last one.
            self._ends.append(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
        return self

    def __exit__(self, *exc_info):
        self.let(10_000)  # nobody shall wait for ever for a test that has failed
        for pipe, end in zip((self._arrivals, self._permits), self._ends, strict=True):
            os.unlink(pipe)
            os.close(end)

    def __reduce__(self):
        return Gate, (self.path,)

    @property
    def _arrivals(self):
        return f"{self.path}.arrivals"

    @property
    def _permits(self):
        return f"{self.path}.permits"

    # In tasks

    def arrive(self, value=None):
        """Tell the test that a task is here."""
        with open(self._arrivals, "wb", buffering=0) as pipe:
            pipe.write(b".")
        return value

    def wait(self, value=None):
        """Tell the test, then wait for one permit."""
        self.arrive()
        with open(self._permits, "rb", buffering=0) as pipe:
            pipe.read(1)
        return value

    # In the test

    def expect(self, count=1, seconds=30):
        """Return when *count* more tasks have arrived."""
        give_up_at = time.monotonic() + seconds
        while count:
            ready, _, _ = select.select([self._ends[0]], [], [], max(give_up_at - time.monotonic(), 0))
            assert ready, f"{count} tasks did not arrive in {seconds} s"
            count -= len(os.read(self._ends[0], count))

    def nobody_waits(self):
        """Whether nobody has arrived that was not expected."""
        ready, _, _ = select.select([self._ends[0]], [], [], 0)
        return not ready

    def let(self, count=1):
        """Let *count* tasks go on, now or when they come."""
        os.write(self._ends[1], b"." * count)
