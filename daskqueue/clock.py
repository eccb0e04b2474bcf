"""The one place that reads time and makes random ids."""

from __future__ import annotations

import os
import random
import time
import uuid

# Seconds of no particular beginning, for the time between two places in the code.
ticks = time.perf_counter


class Clock:
    """Seconds since the epoch that never run backwards while this process lives.

    The wall clock is read once; after that only the monotonic clock moves the hands, so a step of the
    wall clock neither ends a lease early nor keeps it alive.
    """

    def __init__(self) -> None:
        self._epoch_at_zero = time.time() - time.monotonic()

    def now(self) -> float:
        return self._epoch_at_zero + time.monotonic()

    def not_before(self, moment: float) -> None:
        """Move forward to *moment* if the clock is behind it: a restart after a step back in time."""
        behind = moment - self.now()
        if behind > 0:
            self._epoch_at_zero += behind


class ManualClock(Clock):
    """A clock that stands still until it is moved by hand, for tests.

    Args:
        start: its first moment, in epoch seconds; None for now.
    """

    def __init__(self, start: float | None = None) -> None:
        super().__init__()
        self._moment = super().now() if start is None else start

    def now(self) -> float:
        return self._moment

    def not_before(self, moment: float) -> None:
        self._moment = max(self._moment, moment)

    def advance(self, seconds: float) -> None:
        """Move forward by *seconds*."""
        self._moment += seconds


class Stopwatch:
    """Measures one stretch of time in seconds; it runs from its making until :meth:`stop`."""

    __slots__ = ("_began", "_ended")

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._ended: float | None = None

    def stop(self) -> None:
        self._ended = time.perf_counter()

    @property
    def seconds(self) -> float:
        return (time.perf_counter() if self._ended is None else self._ended) - self._began


def new_id() -> bytes:
    """Return 16 random bytes that nobody else has."""
    return uuid.uuid4().bytes


def new_name() -> str:
    """Return a random name in the form of a UUID."""
    return str(uuid.uuid4())


def new_incarnation(bits: int) -> int:
    """Return a random positive number of at most *bits* bits."""
    return 1 + int.from_bytes(os.urandom(4), "big") % ((1 << bits) - 1)


def jitter() -> float:
    """Return a random number in [0, 1)."""
    return random.random()  # noqa: S311  spreads retries, guards nothing
