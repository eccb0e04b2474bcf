"""How many bytes messages take: by runs, so that it costs no more than knowing where they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any

from daskqueue.core import readers
from daskqueue.core.runs import RunMap, merge, subtract
from daskqueue.message import Run

# Small puts that follow each other share an average, up to so many bytes together.
JOINED_BYTES = 64 << 10

Row = tuple[int, int, float]


def _bytes_each(value: Any) -> float:
    each = readers.moment(value)
    if not 0 <= each < inf:
        raise ValueError("a message takes no such number of bytes")
    return each


_READ = readers.run_rows(_bytes_each)


class Sizes:
    """Bytes of messages that may still run, and of dead letters, which do not count.

    What a batch takes is known exactly, and of a part of it as much as its share of the messages.
    """

    __slots__ = ("_dead", "_each", "_tail_bytes", "_tail_first", "_tail_last", "_total")

    def __init__(self) -> None:
        self._each: RunMap[float] = RunMap()  # bytes of one message
        self._dead: RunMap[float] = RunMap()
        self._total = 0.0
        # What was put last is kept apart until it is taken or enough: most puts then cost an addition.
        self._tail_first = self._tail_last = 0
        self._tail_bytes = 0

    @property
    def total(self) -> int:
        """How many bytes all messages take that are not settled."""
        return max(round(self._total), 0)

    def of(self, sequence: int) -> float:
        """Return how many bytes a message takes that is not settled, 0 if it is not known."""
        if self._tail_first <= sequence < self._tail_last:
            return self._tail_bytes / (self._tail_last - self._tail_first)
        return next((each for _, _, each in self._each.pieces(sequence, sequence + 1)), 0.0)

    def add(self, first: int, last: int, size_bytes: int) -> None:
        """Count messages that were put; they come in order."""
        if first != self._tail_last or self._tail_bytes + size_bytes > JOINED_BYTES:
            self._flush()
            self._tail_first = first
        self._tail_last = last
        self._tail_bytes += size_bytes
        self._total += size_bytes

    def remove(self, first: int, last: int) -> None:
        """Count messages no longer: they are settled."""
        if last > self._tail_first:
            self._flush()
        for since, until, each in self._each.take(first, last):
            self._total -= (until - since) * each
        if self._dead.count:
            self._dead.take(first, last)
        self._settle()

    def bury(self, first: int, last: int) -> None:
        """Count messages no longer, but remember what they took: they are dead letters."""
        self._flush()
        self._dead.take(first, last)
        for since, until, each in self._each.take(first, last):
            self._total -= (until - since) * each
            self._dead.add(since, until, each)
        self._settle()

    def revive(self, first: int, last: int) -> None:
        """Count dead letters again: they are to run."""
        self._flush()
        for since, until, each in self._dead.take(first, last):
            self._total += (until - since) * each
            self._each.add(since, until, each)

    def learn(self, first: int, last: int, each: float, *, dead: bool = False) -> None:
        """Count messages that came to light at *each* bytes; those that are known stay as they are."""
        self._flush()
        known = merge(
            [piece[:2] for sizes in (self._each, self._dead) for piece in sizes.pieces(first, last)]
        )
        for since, until in subtract((Run(first, last),), known):
            (self._dead if dead else self._each).add(since, until, each)
            self._total += 0.0 if dead else (until - since) * each

    def dump(self) -> tuple[list[Row], list[Row]]:
        """Return all there is to know, for a checkpoint."""
        self._flush()
        return list(self._each), list(self._dead)

    @classmethod
    def load(cls, rows: Sequence[Iterable[Sequence[float]]]) -> Sizes:
        """Return what :meth:`dump` was called on.

        Raises:
            TypeError: it did not return this.
            ValueError: it did not return this.
        """
        sizes = cls()
        live, dead = map(_READ, rows)
        readers.in_order(tuple(sorted(live + dead)))
        for first, last, each in live:
            sizes._each.add(first, last, each)
            sizes._total += (last - first) * each
            sizes._tail_first = sizes._tail_last = last
        for first, last, each in dead:
            sizes._dead.add(first, last, each)
            sizes._tail_first = sizes._tail_last = max(sizes._tail_last, last)
        return sizes

    def _settle(self) -> None:
        """Begin anew where nothing is left, so that rounding never adds up."""
        if not self._each.count and not self._tail_bytes:
            self._total = 0.0

    def _flush(self) -> None:
        if self._tail_first < self._tail_last and self._tail_bytes:
            each = self._tail_bytes / (self._tail_last - self._tail_first)
            self._each.add(self._tail_first, self._tail_last, each)
        self._tail_first = self._tail_last
        self._tail_bytes = 0
