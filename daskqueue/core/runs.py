"""Runs ``[first, last)`` of sequences: arithmetic, and a map from runs to values."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from daskqueue.message import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

END = 1 << 62  # above every sequence
V = TypeVar("V")
Runs = tuple[Run, ...]

_BLOCK = 1024  # entries; a longer block is cut in two, so that no insertion moves more than this


def merge(runs: Iterable[tuple[int, int]]) -> Runs:
    """Return *runs* sorted, joined where they touch or overlap, without the empty ones."""
    merged: list[Run] = []
    for first, last in sorted(runs):
        if last <= first:
            continue
        if merged and first <= merged[-1].last:
            if last > merged[-1].last:
                merged[-1] = Run(merged[-1].first, last)
        else:
            merged.append(Run(first, last))
    return tuple(merged)


def intersect(these: Sequence[Run], those: Sequence[Run]) -> Runs:
    """Return what is in both; each must be as :func:`merge` makes it."""
    common: list[Run] = []
    i = j = 0
    while i < len(these) and j < len(those):
        first = max(these[i].first, those[j].first)
        last = min(these[i].last, those[j].last)
        if first < last:
            common.append(Run(first, last))
        if these[i].last <= those[j].last:
            i += 1
        else:
            j += 1
    return tuple(common)


def subtract(these: Sequence[Run], those: Sequence[Run]) -> Runs:
    """Return what is in *these* and not in *those*; each must be as :func:`merge` makes it."""
    rest: list[Run] = []
    j = 0
    for first, last in these:
        at = first
        while j < len(those) and those[j].last <= at:
            j += 1
        k = j
        while k < len(those) and those[k].first < last:
            if at < those[k].first:
                rest.append(Run(at, those[k].first))
            at = max(at, those[k].last)
            k += 1
        if at < last:
            rest.append(Run(at, last))
    return tuple(rest)


def count(runs: Iterable[tuple[int, int]]) -> int:
    """Return how many sequences are in *runs*, which must not overlap."""
    return sum([last - first for first, last in runs])


def contains(runs: Sequence[Run], sequence: int) -> bool:
    """Return whether a sequence is in *runs*, which must be as :func:`merge` makes them."""
    at = bisect_right(runs, (sequence, END))
    return at > 0 and runs[at - 1].last > sequence


class RunMap(Generic[V]):
    """Sorted disjoint runs with a value each; neighbours with equal values are one entry.

    The entries lie in blocks of bounded length, so taking and adding cost microseconds at the front, at the
    end and in the middle, with one entry or with a million. Iterating stops being valid when the map changes.
    """

    __slots__ = ("_blocks", "_firsts", "count")

    def __init__(self, entries: Iterable[tuple[int, int, V]] = ()) -> None:
        self._blocks: list[list[tuple[int, int, V]]] = []
        self._firsts: list[int] = []  # the first sequence of each block
        self.count = 0  # sequences in the map
        for first, last, value in entries:
            self.add(first, last, value)

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def __iter__(self) -> Iterator[tuple[int, int, V]]:
        for block in self._blocks:
            yield from block

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunMap) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RunMap({list(self)!r})"

    def add(self, first: int, last: int, value: V) -> None:
        """Give the run *value*; none of its sequences may be in the map.

        Raises:
            ValueError: a part of the run is in the map already.
        """
        if not self._blocks:
            self._blocks.append([(first, last, value)])
            self._firsts.append(first)
            self.count += last - first
            return
        at = max(bisect_right(self._firsts, first) - 1, 0)
        block = self._blocks[at]
        start = stop = _after(block, first)
        size = last - first
        if start and block[start - 1][1] >= first:
            left = block[start - 1]
            if left[1] > first:
                raise _overlap(first, last, left)
            if left[2] == value:
                first, start = left[0], start - 1
        right = self._right_of(at, stop)
        if right is not None and right[0] <= last:
            if right[0] < last:
                raise _overlap(first, last, right)
            if right[2] == value:
                last = right[1]
                if stop < len(block):
                    stop += 1
                else:
                    self._drop_first(at + 1)
        block[start:stop] = ((first, last, value),)
        self.count += size
        self._tidy(at)

    def take(self, first: int, last: int) -> list[tuple[int, int, V]]:
        """Remove the run; return the entries that were in it, cut to it."""
        taken: list[tuple[int, int, V]] = []
        at = max(bisect_right(self._firsts, first) - 1, 0)
        while at < len(self._blocks) and self._firsts[at] < last:
            block = self._blocks[at]
            start = _after(block, first)
            if start and block[start - 1][1] > first:
                start -= 1
            cut = block[start : _before(block, last)]
            if not cut:
                at += 1
                continue
            block[start : start + len(cut)] = _trim(cut, first, last)
            taken += cut
            at = self._tidy(at)
        self.count -= sum([until - since for since, until, _ in taken])
        return taken

    def pieces(self, first: int = 0, last: int = END) -> Iterator[tuple[int, int, V]]:
        """Yield the entries in the run in order, cut to it."""
        at = max(bisect_right(self._firsts, first) - 1, 0)
        for number in range(at, len(self._blocks)):
            block = self._blocks[number]
            start = max(_after(block, first) - 1, 0) if number == at else 0
            for index in range(start, len(block)):
                since, until, value = block[index]
                if since >= last:
                    return
                if until > first:
                    yield (max(first, since), min(last, until), value)

    def _right_of(self, at: int, index: int) -> tuple[int, int, V] | None:
        if index < len(self._blocks[at]):
            return self._blocks[at][index]
        return self._blocks[at + 1][0] if at + 1 < len(self._blocks) else None

    def _drop_first(self, at: int) -> None:
        del self._blocks[at][0]
        self._tidy(at)

    def _tidy(self, at: int) -> int:
        """Keep the block's first sequence and its length right; return the number of the next block."""
        block = self._blocks[at]
        if not block:
            del self._blocks[at], self._firsts[at]
            return at
        self._firsts[at] = block[0][0]
        if len(block) <= _BLOCK:
            return at + 1
        half = len(block) // 2
        self._blocks.insert(at + 1, block[half:])
        self._firsts.insert(at + 1, block[half][0])
        del block[half:]
        return at + 2


def _after(block: list[tuple[int, int, V]], first: int) -> int:
    """Return the index behind all entries that begin at or before *first*."""
    key: Any = (first, END)  # shorter than an entry, so values are never compared
    return bisect_right(block, key)


def _before(block: list[tuple[int, int, V]], last: int) -> int:
    """Return the index behind all entries that begin before *last*."""
    key: Any = (last,)
    return bisect_left(block, key)


def _trim(cut: list[tuple[int, int, V]], first: int, last: int) -> list[tuple[int, int, V]]:
    """Cut the entries in place to the run; return the ends that stick out of it."""
    ends = []
    since, until, value = cut[0]
    if since < first:
        ends.append((since, first, value))
        cut[0] = (first, until, value)
    since, until, value = cut[-1]
    if until > last:
        ends.append((last, until, value))
        cut[-1] = (since, last, value)
    return ends


def _overlap(first: int, last: int, entry: tuple[int, int, object]) -> ValueError:
    return ValueError(f"the run [{first}, {last}) overlaps [{entry[0]}, {entry[1]})")
