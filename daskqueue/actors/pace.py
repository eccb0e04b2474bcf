"""How much a consumer takes at a time."""

from __future__ import annotations

from daskqueue.actors.work import Work

# A slice should keep its consumer busy about this long: long enough to hide a call to the queue, short enough
# that slow messages are shared out among the consumers.
SLICE_SECONDS = 0.1
# Tasks that take microseconds are fetched several slices at a time: a call to the queue costs as much as a
# hundred of them.
AHEAD_SECONDS = 0.02
AHEAD_SLICES = 8
# A slice without an end for this long gives back what it has not started.
STALLED_SECONDS = 0.5
# Tasks quicker than this are acked by the slice: an ack now and then in its middle costs more than they do.
QUICK_SECONDS = 0.001
# What is known of older tasks counts half as much as the newest slice.
_NEWEST = 0.5


class Pace:
    """Sizes leases by how long tasks take: slices of *batch_size* quick ones, one slow one for each thread."""

    def __init__(self, batch_size: int, threads: int) -> None:
        self._batch_size = batch_size
        self._threads = threads
        self._task_seconds: float | None = None

    def learn(self, work: Work) -> None:
        """Take into account how long a slice has taken so far."""
        if work.watch is None:
            return
        seconds = work.watch.seconds * self._threads / max(work.taken, 1)
        if work.taken == 0 and seconds < SLICE_SECONDS:
            return
        known = self._task_seconds
        self._task_seconds = seconds if known is None else known + _NEWEST * (seconds - known)

    @property
    def quick(self) -> bool:
        """Whether tasks are known to take less than :data:`QUICK_SECONDS`."""
        return self._task_seconds is not None and self._task_seconds < QUICK_SECONDS

    def want(self, held: int) -> int:
        """Return how many messages to lease now, *held* being in hand and not finished.

        Tasks that are slow, or not known yet, are fetched one for each free thread; quick ones a slice ahead,
        and very quick ones several slices ahead: the queue gives less when little is left.
        """
        if self._task_seconds is None or self._task_seconds > SLICE_SECONDS:
            return max(min(self._threads - held, self._batch_size), 0)
        a_second = self._threads / max(self._task_seconds, 1e-9)
        slice_size = min(max(int(SLICE_SECONDS * a_second), self._threads), self._batch_size)
        size = max(slice_size, min(int(AHEAD_SECONDS * a_second), AHEAD_SLICES * self._batch_size))
        return size if held <= size or held < self._threads else 0
