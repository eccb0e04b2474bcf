"""Which child process gets which messages: slices are dealt in portions that keep a child busy for a while."""

from __future__ import annotations

from dataclasses import dataclass

from daskqueue.actors.processes.work import ProcessWork, Share
from daskqueue.actors.settlement import runs_of

# A portion keeps its child busy about this long; one of quicker messages is prepared ahead.
PORTION_SECONDS = 0.05
PORTION_MESSAGES = 1000
QUICK_SECONDS = 0.05
# What is known of older portions counts half as much as the newest.
_NEWEST = 0.5


@dataclass(slots=True)
class Portion:
    """What a child has been given: messages ``start <= index < end`` of a slice, of which some have ended."""

    number: int
    work: ProcessWork
    start: int
    end: int
    ended: int = 0
    withdrawn: bool = False

    @property
    def next(self) -> int:
        """The index of the first message whose end is not known."""
        return self.start + self.ended


class Dealer:
    """Cuts portions of what waits: as many messages as keep a child busy for a while, and no more than its share.

    Args:
        processes: how many children there are.
    """

    def __init__(self, processes: int) -> None:
        self.works: list[ProcessWork] = []
        self._processes = processes
        self._numbers = 0
        self._task_seconds: float | None = None

    @property
    def quick(self) -> bool:
        """Whether a child should have its next portion before it has ended one."""
        return self._task_seconds is not None and self._task_seconds < QUICK_SECONDS

    def begin(self, portion: Portion) -> None:
        """Take note that a child has come to a portion."""
        if portion.work.watch is None:
            portion.work.watch = Share(self._processes)

    def learn(self, portion: Portion, seconds: float, count: int) -> None:
        """Take into account how long messages of a portion took in a child."""
        if isinstance(portion.work.watch, Share):
            portion.work.watch.add(seconds)
        if count:
            each, known = seconds / count, self._task_seconds
            self._task_seconds = each if known is None else known + _NEWEST * (each - known)

    def next(self) -> Portion | None:
        """Return what is to be run next, None if nothing waits."""
        self.works = [work for work in self.works if work.waiting]
        if not self.works:
            return None
        work = self.works[0]
        start, end = work.waiting[0]
        size = 1 if work.alone else min(self._size(), end - start)
        work.waiting[:1] = [(start + size, end)] if start + size < end else []
        self._numbers += 1
        return Portion(self._numbers, work, start, start + size)

    def put_back(self, work: ProcessWork, start: int, end: int) -> None:
        """Have messages run that a child has not begun, or whose end it could not tell."""
        if start < end:
            stretches = (*work.waiting, (start, end))
            work.waiting = runs_of(sorted(index for stretch in stretches for index in range(*stretch)))
            if work not in self.works:
                self.works.insert(0, work)

    def _size(self) -> int:
        if self._task_seconds is None:
            return 1
        left = sum(end - start for work in self.works for start, end in work.waiting)
        share = -(-left // self._processes)
        return max(min(int(PORTION_SECONDS / max(self._task_seconds, 1e-9)), PORTION_MESSAGES, share), 1)
