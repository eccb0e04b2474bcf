"""When messages were put: a few marks instead of a time for each message."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from daskqueue.core import readers
from daskqueue.engine.histogram import INFINITY

# Marks are nowhere closer than this ...
FINEST_SECONDS = 0.001
# ... and may be this part of their age apart: what is old needs not be known to the millisecond.
COARSENESS = 1 / 128
# Thinning waits until so many marks were added, or as many as were left by the last one.
_FEWEST_NEW = 256
# A run over more marks than this is measured by so many of them.
_MAX_STEPS = 8

_READ = readers.rows(readers.below(readers.END + 1), readers.moment)


class TimeMarks:
    """Each mark says when its sequence, and those behind it up to the next mark, were put.

    The age that it tells is at most a 128th (and a millisecond) too high, and the marks stay few: their number
    grows with the logarithm of the time that they cover, to less than 5,000 for a year.
    """

    __slots__ = ("_sequences", "_thin_at", "_times")

    def __init__(self) -> None:
        self._sequences: list[int] = []
        self._times: list[float] = []
        self._thin_at = _FEWEST_NEW

    def __len__(self) -> int:
        return len(self._sequences)

    def note(self, sequence: int, now: float) -> None:
        """Take note that messages from *sequence* on were put at *now*; both never go back."""
        if self._times and now - self._times[-1] < FINEST_SECONDS:
            return
        self._sequences.append(sequence)
        self._times.append(now)
        if len(self._times) > self._thin_at:
            self._thin(now)
            self._thin_at = len(self._times) + max(len(self._times), _FEWEST_NEW)

    def put_at(self, sequence: int) -> float | None:
        """Return when a message was put, None if that is not known."""
        index = bisect_right(self._sequences, sequence) - 1
        return self._times[index] if index >= 0 else None

    def spread(self, first: int, last: int) -> Iterator[tuple[float, int]]:
        """Yield when the messages ``first <= s < last`` were put, with how many of them were put then.

        What is older than the oldest mark is left out; many small puts are taken together.
        """
        start = bisect_right(self._sequences, first) - 1
        end = bisect_left(self._sequences, last)
        first = max(first, self._sequences[0]) if self._sequences else last
        step = max((end - max(start, 0)) // _MAX_STEPS, 1)
        for index in range(max(start, 0), end, step):
            until = self._sequences[index + step] if index + step < end else last
            yield self._times[index], until - first
            first = until

    def dump(self, now: float) -> list[tuple[int, float]]:
        """Return the marks as rows, no more of them than needed at *now*."""
        self._thin(now)
        return list(zip(self._sequences, self._times, strict=True))

    @classmethod
    def load(cls, rows: Sequence[Sequence[float]]) -> TimeMarks:
        """Return what :meth:`dump` was called on.

        Raises:
            TypeError: it did not return this.
            ValueError: it did not return this.
        """
        marks = cls()
        known = _READ(rows)
        marks._sequences = [row[0] for row in known]
        marks._times = [row[1] for row in known]
        if marks._sequences != sorted(marks._sequences):
            raise ValueError("marks are out of order")
        marks._thin_at = len(rows) + _FEWEST_NEW
        return marks

    def _thin(self, now: float) -> None:
        """Drop marks wherever the one before may speak for theirs as well."""
        times = self._times
        kept = [0] if times else []
        for index in range(1, len(times)):
            until = times[index + 1] if index + 1 < len(times) else INFINITY
            if until - times[kept[-1]] > max(FINEST_SECONDS, (now - until) * COARSENESS):
                kept.append(index)
        self._sequences = [self._sequences[index] for index in kept]
        self._times = [times[index] for index in kept]
