"""A consumer's slice on its way through child processes: dealt in portions, each with a share of its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from daskqueue.actors.report import settlements_of
from daskqueue.actors.settlement import Settlement, runs_of
from daskqueue.actors.timing import Timing
from daskqueue.actors.work import Cut, Part, Work
from daskqueue.batch import Batch
from daskqueue.clock import Stopwatch

# A portion keeps its child busy about this long; one of quicker messages is prepared ahead.
PORTION_SECONDS = 0.05
PORTION_MESSAGES = 1000
QUICK_SECONDS = 0.01
# What is known of older portions counts half as much as the newest.
_NEWEST = 0.5


class Share(Stopwatch):
    """How long a slice has kept its children busy, shared out among all that there are.

    Until one of them has said, it is the time since the first has begun.

    Args:
        processes: how many children there are.
    """

    __slots__ = ("_busy_seconds", "_processes")

    def __init__(self, processes: int) -> None:
        super().__init__()
        self._processes = processes
        self._busy_seconds = 0.0

    @property
    def seconds(self) -> float:
        """The share; see the class."""
        return self._busy_seconds / self._processes or super().seconds

    def add(self, seconds: float) -> None:
        """Add what a child says."""
        self._busy_seconds += seconds


class ProcessWork(Work):
    """Leased messages that are run by children: how they ended is known as what the queue is to be told of it.

    Attributes:
        waiting: stretches of indices that no child has, sorted.
        alone: whether each message has to have a portion of its own: a child died while it loaded them.
    """

    __slots__ = ("_reports", "_untaken", "alone", "waiting")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.waiting: list[tuple[int, int]] = [(0, self.count)]
        self.alone = False
        self._reports: list[tuple[list[Settlement], list[Timing]]] = []
        self._untaken = 0

    @property
    def unended(self) -> int:
        """How many messages run or are still to run here."""
        return max(self.count - self.withdrawn - self.taken - self._untaken, 0)

    def report(self, count: int, settlements: list[Settlement], timings: list[Timing]) -> None:
        """Take note of how *count* messages ended."""
        self._untaken += count
        self._reports.append((settlements, timings))

    def report_values(self, index: int, values: list[Any], *, late: bool) -> None:
        """Take note of how messages ended of which no child can tell any more."""
        self.report(len(values), list(settlements_of(Cut(self, index, values), late=late)), [])

    def reports(self) -> Iterator[tuple[list[Settlement], list[Timing]]]:
        """Take what there is to tell since the last time."""
        reports, self._reports = self._reports, []
        self.taken += self._untaken
        self._untaken = 0
        yield from reports

    def withdraw(self) -> list[tuple[int, int]]:
        """Take back what no child has; return it as runs of indices."""
        runs, self.waiting = self.waiting, []
        self.withdrawn += sum(end - start for start, end in runs)
        return runs

    def parts_of(self, start: int, end: int) -> list[Part]:
        """Return the record batches of a stretch of messages."""
        found = []
        for count, data in self.parts:
            first, last = max(start, 0), min(end, count)
            if first < last:
                whole = (first, last) == (0, count)
                found.append((last - first, data if whole else _sliced(data, first, last)))
            start, end = start - count, end - count
        return found


def _sliced(data: bytes, first: int, last: int) -> bytes:
    # The checksum of a slice is made anew, so the whole has to be right; the queue's reader has seen to that.
    return Batch.parse(data, verify=False).slice(first, last)


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


def notes_of(work: Work, start: int, end: int) -> Sequence[tuple[Any, ...]]:
    """Return what there is to know of a stretch of messages, as plain data."""
    first, last = work.first + start, work.first + end
    return [
        (*note[:4], tuple(note.terms) if note.terms is not None else None, note.progress)
        for note in work.notes
        if note.first < last and first < note.last
    ]
