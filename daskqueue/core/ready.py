"""Messages that may run now: by sequence, and by priority where there is any."""

from __future__ import annotations

from heapq import merge as merge_sorted
from typing import TYPE_CHECKING

from daskqueue.core.runs import END, RunMap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskqueue.core.tally import Piece, Tally


class ReadyRuns:
    """A map of runs for each priority; one only, as long as nobody chooses a priority."""

    __slots__ = ("_lanes", "_plain")

    def __init__(self) -> None:
        self._plain: RunMap[Tally] = RunMap()
        self._lanes: dict[int, RunMap[Tally]] = {0: self._plain}

    def __iter__(self) -> Iterator[Piece]:
        return self.pieces()

    def __len__(self) -> int:
        return sum([len(lane) for lane in self._lanes.values()])

    @property
    def count(self) -> int:
        """How many messages there are."""
        if len(self._lanes) == 1:
            return self._plain.count
        return sum([lane.count for lane in self._lanes.values()])

    @property
    def lanes(self) -> list[tuple[int, RunMap[Tally]]]:
        """The runs of each priority, the largest first."""
        return sorted(self._lanes.items(), reverse=True)

    def add(self, first: int, last: int, tally: Tally, priority: int = 0) -> None:
        """Let the run be ready."""
        lane = self._plain if priority == 0 else self._lanes.setdefault(priority, RunMap())
        lane.add(first, last, tally)

    def take(self, first: int, last: int) -> list[Piece]:
        """Remove the run; return what of it was here."""
        if len(self._lanes) == 1:
            return self._plain.take(first, last)
        taken = sorted([piece for lane in self._lanes.values() for piece in lane.take(first, last)])
        for priority in [p for p, lane in self._lanes.items() if p and not lane.count]:
            del self._lanes[priority]
        return taken

    def pieces(self, first: int = 0, last: int = END) -> Iterator[Piece]:
        """Yield what is in the run, in order of sequence."""
        if len(self._lanes) == 1:
            return self._plain.pieces(first, last)
        return merge_sorted(*[lane.pieces(first, last) for lane in self._lanes.values()])
