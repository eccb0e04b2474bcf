"""Which puts have been seen: what makes a put that is sent twice one put.

Puts of one producer arrive out of order, so "the last number" proves nothing. All numbers that were seen are
kept as runs, which is exact and small; the places of the most recent ones are kept to answer again.
"""

from __future__ import annotations

from typing import Any

from daskqueue.core.runs import RunMap

MAX_PRODUCERS = 512  # the one that has put nothing for longest is forgotten
RECENT = 512  # places a producer: as many puts as it has in flight at most, two calls of 256
MAX_HOLES = 16  # numbers that were left out for long count as seen: they are refused, never doubled


class Producer:
    """The puts of one producer that were seen."""

    __slots__ = ("recent", "seen")

    def __init__(self) -> None:
        self.seen: RunMap[bool] = RunMap()
        self.recent: dict[int, tuple[int, int]] = {}  # number -> first, count

    def has(self, number: int) -> bool:
        return any(self.seen.pieces(number, number + 1))

    def record(self, number: int, first: int, count: int) -> None:
        if self.has(number):
            return
        self.seen.add(number, number + 1, True)
        self.recent[number] = (first, count)
        if len(self.recent) > RECENT:
            del self.recent[next(iter(self.recent))]
        if len(self.seen) > MAX_HOLES:
            (_, since, _), (until, _, _) = list(self.seen)[:2]
            self.seen.add(since, until, True)


class Producers:
    """The producers that have put something lately, the quietest first."""

    __slots__ = ("_producers",)

    def __init__(self) -> None:
        self._producers: dict[bytes, Producer] = {}

    def __len__(self) -> int:
        return len(self._producers)

    def seen(self, producer: bytes, number: int) -> bool:
        """Say whether this put has been accepted before."""
        known = self._producers.get(producer)
        return known is not None and known.has(number)

    def place(self, producer: bytes, number: int) -> tuple[int, int] | None:
        """Return first sequence and count of a put, or None if it is unknown or too long ago."""
        known = self._producers.get(producer)
        return None if known is None else known.recent.get(number)

    def record(self, producer: bytes, number: int, first: int, count: int) -> None:
        """Remember that a put was accepted."""
        known = self._producers.pop(producer, None)
        if known is None:
            known = Producer()
            if len(self._producers) >= MAX_PRODUCERS:
                del self._producers[next(iter(self._producers))]
        self._producers[producer] = known
        known.record(number, first, count)

    def dump(self) -> tuple[Any, ...]:
        """Return all that is known as nested tuples: (id, seen runs, (number, first, count)...) each."""
        return tuple(
            (
                name,
                tuple((first, last) for first, last, _ in known.seen),
                tuple((number, *place) for number, place in known.recent.items()),
            )
            for name, known in self._producers.items()
        )

    @classmethod
    def load(cls, dumped: tuple[Any, ...]) -> Producers:
        """Return what :meth:`dump` was called on."""
        producers = cls()
        for name, seen, recent in dumped:
            known = producers._producers[bytes(name)] = Producer()
            known.seen = RunMap((first, last, True) for first, last in seen)
            known.recent = {number: (first, count) for number, first, count in recent}
        return producers
