"""What an engine measures while it works; a number or two for each call, never for each message."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from daskqueue.clock import Stopwatch
from daskqueue.core.commands import Grant
from daskqueue.engine.histogram import Histogram
from daskqueue.engine.time_marks import TimeMarks
from daskqueue.message import Run

T = TypeVar("T")

DISK_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STAY_SECONDS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    900.0,
    3600.0,
)
STAY_LONG_SECONDS = (*STAY_SECONDS, 14400.0, 86400.0)
COMMITTED = (1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0)


class Meter:
    """The histograms of one queue. It outlives an engine that is opened again in the same process.

    Attributes:
        fsync_seconds: how long a sync of the queue's files took.
        commit_messages: how many messages one sync made durable.
        put_seconds: how long a call waited until what it put was durable.
        wait_seconds: from the put of a message to its lease, as long as it has never been tried.
        end_to_end_seconds: from the put of a message to its ack.
        rejected: puts that were refused, by reason.
        damaged: messages that could not be read when they were to be handed out.
    """

    def __init__(self) -> None:
        self.fsync_seconds = Histogram(DISK_SECONDS)
        self.commit_messages = Histogram(COMMITTED)
        self.put_seconds = Histogram(DISK_SECONDS)
        self.wait_seconds = Histogram(STAY_LONG_SECONDS)
        self.end_to_end_seconds = Histogram(STAY_LONG_SECONDS)
        self.rejected: dict[str, int] = {}
        self.damaged = 0

    def timed(self, sync: Callable[[], T]) -> Callable[[], T]:
        """Return *sync* with each call of it measured, in whichever thread it runs."""

        def measured() -> T:
            watch = Stopwatch()
            try:
                return sync()
            finally:
                self.fsync_seconds.observe(watch.seconds)

        return measured

    def reject(self, reason: str) -> None:
        """Count a put that was refused."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def leased(self, grant: Grant, marks: TimeMarks, now: float) -> None:
        """Take note of how long what is leased has waited, as far as it was never tried before."""
        for first, last, tally in grant.pieces:
            if tally.attempts == 0 and tally.losses == 0:
                for put_at, count in marks.spread(first, last):
                    self.wait_seconds.observe(now - put_at, count)

    def acked(self, runs: Iterable[Run], marks: TimeMarks, now: float) -> None:
        """Take note of how long it took from the put of messages to their ack."""
        for run in runs:
            for put_at, count in marks.spread(run.first, run.last):
                self.end_to_end_seconds.observe(now - put_at, count)
