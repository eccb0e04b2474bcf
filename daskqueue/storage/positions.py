"""Which sequences lie where in the log: sorted disjoint runs in memory.

Neighbours that were written one after the other share an entry of at most 64 KiB of log, so a million single
puts cost an entry for each 64 KiB and not one for each message.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from daskqueue.storage.segment import Stretch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_JOINED_BYTES = 64 * 1024
MAX_STRETCH = 1 << 33  # more than any frame takes, or several that share an entry
SPARE_ENTRIES = 1024  # removed ones that may stay at the front before the lists are shortened

Row = tuple[int, int, int, int, int]


class Entry(NamedTuple):
    """The sequences ``first <= sequence < last`` lie in a stretch, perhaps with others."""

    first: int
    last: int
    stretch: Stretch


class Positions:
    """Sequences to stretches of the log, and how many sequences each segment holds.

    ``len`` is the number of entries.

    Attributes:
        count: how many sequences there are.
    """

    def __init__(self, joined_bytes: int = MAX_JOINED_BYTES) -> None:
        self.count = 0
        self._joined_bytes = joined_bytes
        self._live: dict[int, int] = {}
        # Two lists that go together; what is before _head is removed already, so the front goes at no cost.
        self._firsts: list[int] = []
        self._entries: list[Entry] = []
        self._head = 0

    def __len__(self) -> int:
        return len(self._firsts) - self._head

    @property
    def oldest_live(self) -> int | None:
        """The number of the oldest segment that holds a sequence; None when there is none."""
        return min(self._live, default=None)

    def live(self, segment: int) -> int:
        """Return how many sequences lie in a segment."""
        return self._live.get(segment, 0)

    def add(self, first: int, last: int, stretch: Stretch) -> None:
        """Note that the sequences from *first* up to *last* lie in *stretch*, and no longer elsewhere."""
        if first >= last:
            return
        if self._entries and first < self._entries[-1].last:
            self.remove(first, last)
        place = self._place(first)
        if place > self._head and (
            joint := _joint(self._entries[place - 1], first, last, stretch, self._joined_bytes)
        ):
            self._entries[place - 1] = joint
        else:
            self._firsts.insert(place, first)
            self._entries.insert(place, Entry(first, last, stretch))
        self._live[stretch.segment] = self._live.get(stretch.segment, 0) + last - first
        self.count += last - first

    def find(self, sequence: int) -> Entry | None:
        """Return the entry of a sequence; its stretch may hold frames of other sequences and kinds too."""
        place = self._place(sequence) - 1
        if place < self._head or self._entries[place].last <= sequence:
            return None
        return self._entries[place]

    def overlapping(self, first: int, last: int) -> list[Entry]:
        """Return the entries of the sequences from *first* up to *last*, cut to these."""
        start, stop = self._span(first, last)
        return [
            Entry(max(entry.first, first), min(entry.last, last), entry.stretch)
            for entry in self._entries[start:stop]
        ]

    def remove(self, first: int, last: int) -> int:
        """Forget where the sequences from *first* up to *last* lie; return how many of them were known."""
        start, stop = self._span(first, last)
        if start >= stop:
            return 0
        removed, kept = 0, []
        for entry in self._entries[start:stop]:
            gone = min(entry.last, last) - max(entry.first, first)
            self._forget(entry.stretch.segment, gone)
            removed += gone
            if entry.first < first:
                kept.append(Entry(entry.first, first, entry.stretch))
            if entry.last > last:
                kept.append(Entry(last, entry.last, entry.stretch))
        self._replace(start, stop, kept)
        self.count -= removed
        return removed

    def dump(self) -> list[Row]:
        """Return ``(first, last, segment, offset, length)`` for each entry, in order, for a checkpoint."""
        return [(first, last, *stretch) for first, last, stretch in self._entries[self._head :]]

    @classmethod
    def load(cls, rows: Iterable[Sequence[int]], joined_bytes: int = MAX_JOINED_BYTES) -> Positions:
        """Return what :meth:`dump` gave.

        Raises:
            TypeError: it did not give this.
            ValueError: it did not give this.
        """
        positions = cls(joined_bytes)
        end = 0
        for first, last, segment, offset, length in rows:
            if {type(first), type(last), type(segment), type(offset), type(length)} != {int}:
                raise TypeError("a position is made of numbers")
            if not (end <= first < last and segment >= 0 and offset >= 0 and 0 < length <= MAX_STRETCH):
                raise ValueError(f"positions contradict each other at {first}, {last}")
            end = last
            positions._firsts.append(first)
            positions._entries.append(Entry(first, last, Stretch(segment, offset, length)))
            positions._live[segment] = positions._live.get(segment, 0) + last - first
            positions.count += last - first
        return positions

    def _place(self, sequence: int) -> int:
        """Return the index behind the entries that begin at or before a sequence."""
        return bisect_right(self._firsts, sequence, self._head)

    def _span(self, first: int, last: int) -> tuple[int, int]:
        """Return the indexes of the entries that have any sequence from *first* up to *last*."""
        start = self._place(first)
        if start > self._head and self._entries[start - 1].last > first:
            start -= 1
        return start, max(start, self._place(last - 1)) if first < last else start

    def _replace(self, start: int, stop: int, kept: list[Entry]) -> None:
        if start == self._head and len(kept) <= stop - start:
            self._head = start = stop - len(kept)
        self._firsts[start:stop] = [entry.first for entry in kept]
        self._entries[start:stop] = kept
        if self._head > SPARE_ENTRIES and self._head * 2 > len(self._entries):
            del self._firsts[: self._head], self._entries[: self._head]
            self._head = 0

    def _forget(self, segment: int, count: int) -> None:
        remaining = self._live[segment] - count
        if remaining:
            self._live[segment] = remaining
        else:
            del self._live[segment]


def _joint(entry: Entry, first: int, last: int, stretch: Stretch, most_bytes: int) -> Entry | None:
    """Return one entry for both, if the second directly continues the first and they are small together."""
    segment, offset, length = entry.stretch
    end = stretch.offset + stretch.length
    if entry.last != first or segment != stretch.segment or not offset <= stretch.offset:
        return None
    end = max(end, offset + length)
    if end - offset > most_bytes:
        return None
    return Entry(entry.first, last, Stretch(segment, offset, end - offset))
