"""A consumer's slice on its way through child processes: dealt in portions, each with a share of its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from daskqueue.actors.report import settlements_of
from daskqueue.actors.settlement import Settlement
from daskqueue.actors.timing import Timing
from daskqueue.actors.work import Cut, Part, Work
from daskqueue.batch import Batch
from daskqueue.clock import Stopwatch


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
        if values:
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


def notes_of(work: Work, start: int, end: int) -> Sequence[tuple[Any, ...]]:
    """Return what there is to know of a stretch of messages, as plain data."""
    first, last = work.first + start, work.first + end
    return [
        (*note[:4], tuple(note.terms) if note.terms is not None else None, note.progress)
        for note in work.notes
        if note.first < last and first < note.last
    ]
