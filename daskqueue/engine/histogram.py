"""Counts of values by size, observed many at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

INFINITY = float("inf")


class Histogram:
    """How many values fell under each bound, and their sum, since it was made.

    One thread observes, any may read: a reader sees a whole number of observations at each bound.

    Args:
        bounds: upper bounds in rising order, each included in its bucket; infinity is added.
    """

    __slots__ = ("_counts", "bounds", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = (*bounds, INFINITY)
        self.sum = 0.0
        self._counts = [0] * len(self.bounds)

    def observe(self, value: float, count: int = 1) -> None:
        """Take note of *count* equal values."""
        self._counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self._counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """Return each bound with the number of values up to it."""
        return list(zip(self.bounds, accumulate(list(self._counts)), strict=True))
