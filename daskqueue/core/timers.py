"""What happens later: delayed messages by the moment they are due, leases by their deadline."""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Protocol

from daskqueue.core.runs import RunMap, merge
from daskqueue.core.tally import Delay, Piece, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daskqueue.message import Terms

Moment = tuple[float, int, int]  # when, and of which run
_SLACK = 64  # stale heap entries that are always tolerated


class DelayedRuns:
    """Messages that are not ready before their time, found by sequence and by time.

    The heap may hold entries whose messages have been taken out; the map by sequence decides.
    """

    __slots__ = ("_heap", "_limit", "runs")

    def __init__(self) -> None:
        self.runs: RunMap[Delay] = RunMap()
        self._heap: list[Moment] = []
        self._limit = _SLACK  # a longer heap is made anew, without the stale entries

    @property
    def count(self) -> int:
        return self.runs.count

    def add(self, first: int, last: int, due_at: float, tally: Tally) -> None:
        """Let the run wait until *due_at*."""
        self.runs.add(first, last, Delay(due_at, tally))
        heappush(self._heap, (due_at, first, last))
        if len(self._heap) > self._limit:
            self._heap = [(delay.due_at, first, last) for first, last, delay in self.runs]
            heapify(self._heap)
            self._limit = 2 * len(self._heap) + _SLACK

    def take(self, first: int, last: int) -> list[Piece]:
        """Remove the run, whatever its time; return what of it was here."""
        return [(since, until, delay.tally) for since, until, delay in self.runs.take(first, last)]

    def due(self, at: float) -> list[Piece]:
        """Return what is due at *at*, sorted by sequence; change nothing."""
        if not self._heap or self._heap[0][0] > at:
            return []
        return [piece for run in merge(_reached(self._heap, at)) for piece in self._due_in(*run, at)]

    def mature(self, at: float) -> list[Piece]:
        """Remove and return what is due at *at*."""
        matured: list[Piece] = []
        while self._heap and self._heap[0][0] <= at:
            _, first, last = heappop(self._heap)
            for since, until, _ in list(self._due_in(first, last, at)):
                matured += self.take(since, until)
        return matured

    def next_due_at(self) -> float | None:
        """Return the earliest moment at which something is due."""
        while self._heap:
            due_at, first, last = self._heap[0]
            if any(delay.due_at == due_at for _, _, delay in self.runs.pieces(first, last)):
                return due_at
            heappop(self._heap)
        return None

    def _due_in(self, first: int, last: int, at: float) -> Iterator[Piece]:
        for since, until, delay in self.runs.pieces(first, last):
            if delay.due_at <= at:
                yield since, until, delay.tally


class Expiries:
    """When waiting messages expire.

    The heap may hold entries of messages that have gone since, or are leased; whoever asks knows which wait.
    """

    __slots__ = ("_heap", "_limit")

    def __init__(self) -> None:
        self._heap: list[Moment] = []
        self._limit = _SLACK  # a longer heap is made anew, without the stale entries

    @property
    def first(self) -> Moment | None:
        """The entry that is due first."""
        return self._heap[0] if self._heap else None

    def add(self, first: int, last: int, expires_at: float, terms: RunMap[Terms]) -> None:
        """Watch a run of messages that begin to wait; *terms* are those of all messages."""
        heappush(self._heap, (expires_at, first, last))
        if len(self._heap) > self._limit:
            self.rebuild(terms)

    def due(self, at: float) -> list[tuple[int, int]]:
        """Return the runs whose time is over at *at*; change nothing."""
        return _reached(self._heap, at)

    def forget_first(self) -> None:
        """Remove the entry that is due first."""
        heappop(self._heap)

    def rebuild(self, terms: RunMap[Terms]) -> None:
        """Start again from the terms of all messages."""
        chosen = ((first, last, chosen.expires_at) for first, last, chosen in terms)
        self._heap = [(at, first, last) for first, last, at in chosen if at is not None]
        heapify(self._heap)
        self._limit = 2 * len(self._heap) + _SLACK


def _reached(heap: list[Moment], at: float) -> list[tuple[int, int]]:
    """Return the runs of a heap's entries up to a moment: down the heap, as far as its entries are due."""
    reached: list[tuple[int, int]] = []
    ahead = [0]
    while ahead:
        index = ahead.pop()
        if index < len(heap) and heap[index][0] <= at:
            reached.append(heap[index][1:])
            ahead += (2 * index + 1, 2 * index + 2)
    return reached


class HasDeadline(Protocol):
    deadline: float


class Deadlines:
    """The earliest deadline of many leases that are mostly extended or ended before it.

    Each lease has one heap entry, at or before its deadline; it is corrected when it comes to the top, so
    extending costs nothing here.
    """

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def add(self, lease: int, deadline: float, leases: Mapping[int, HasDeadline]) -> None:
        """Watch a new lease."""
        heappush(self._heap, (deadline, lease))
        if len(self._heap) > 2 * len(leases) + _SLACK:
            self.rebuild(leases)

    def rebuild(self, leases: Mapping[int, HasDeadline]) -> None:
        """Start again from the leases' deadlines as they are now."""
        self._heap = [(lease.deadline, number) for number, lease in leases.items()]
        heapify(self._heap)

    def earliest(self, leases: Mapping[int, HasDeadline]) -> float | None:
        """Return the earliest deadline of the leases, None if there are none."""
        heap = self._heap
        while heap:
            at, number = heap[0]
            lease = leases.get(number)
            if lease is None:
                heappop(heap)
            elif lease.deadline > at:
                heapreplace(heap, (lease.deadline, number))
            else:
                return at
        return None
