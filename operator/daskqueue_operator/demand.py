"""What counters say about the load: how many messages come in, and how long a task takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from daskqueue_operator.scrape import ConsumerReading, ShardReading

ARRIVALS_FADE_SECONDS = 60.0
DURATIONS_FADE_SECONDS = 15.0


@dataclass(frozen=True)
class Demand:
    """What a queue is asked for.

    Args:
        arrivals_per_second: Messages that come in, each second.
        mean_seconds: How long a task takes; None while nothing is known about it.
        moved: Whether a message came in or a task ended since the last look.
    """

    arrivals_per_second: float
    mean_seconds: float | None
    moved: bool


@dataclass
class _Rate:
    """How fast one counter grows, with old growth fading."""

    value: float
    at: float
    grown: float = 0.0
    seconds: float = 0.0

    def look(self, value: float, now: float) -> bool:
        """Take the counter's value, and return whether it has grown."""
        # A counter that has gone back has begun anew, with nearly all that the shard ever had: that is no growth.
        grown = max(0.0, value - self.value)
        elapsed = max(0.0, now - self.at)
        fade = math.exp(-elapsed / ARRIVALS_FADE_SECONDS)
        self.grown = self.grown * fade + grown
        self.seconds = self.seconds * fade + elapsed
        self.value, self.at = value, now
        return grown > 0

    @property
    def per_second(self) -> float:
        return self.grown / self.seconds if self.seconds else 0.0


class Meter:
    """Turns one look after the other into the demand."""

    def __init__(self) -> None:
        self._arrivals: dict[str, _Rate] = {}
        self._durations = _Durations()

    def look(
        self,
        shards: Mapping[str, ShardReading | None],
        consumers: Mapping[str, ConsumerReading | None],
        now: float,
    ) -> Demand:
        """Return the demand after one more look.

        Args:
            shards: What each shard says, by the name of its pod; None where it did not answer.
            consumers: The same of the consumers.
            now: The time, in seconds.
        """
        arrived = self._arrived(shards, now)
        finished = self._durations.look(consumers, now)
        rate = sum(arrivals.per_second for arrivals in self._arrivals.values())
        return Demand(rate, self._durations.mean(now), arrived or finished)

    def _arrived(self, shards: Mapping[str, ShardReading | None], now: float) -> bool:
        self._arrivals = {name: rate for name, rate in self._arrivals.items() if name in shards}
        grown = False
        for name, reading in shards.items():
            if reading is not None and name in self._arrivals:
                grown |= self._arrivals[name].look(reading.enqueued, now)
            elif reading is not None:
                self._arrivals[name] = _Rate(reading.enqueued, now)
        return grown


class _Durations:
    """How long tasks take, by those that ended; and at least as long as none has ended while some ran."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}  # seconds and number of tasks by pod
        self._seconds = 0.0
        self._number = 0.0
        self._ended_at: float | None = None
        self._none_ended_since: float | None = None

    def look(self, consumers: Mapping[str, ConsumerReading | None], now: float) -> bool:
        """Take what the consumers say, and return whether a task has ended."""
        seconds = number = 0.0
        for name, reading in consumers.items():
            if reading is not None:
                before = self._seen.get(name, (0.0, 0.0))
                after = (reading.processing_seconds, reading.processed)
                before = (0.0, 0.0) if after[1] < before[1] else before
                seconds, number = seconds + after[0] - before[0], number + after[1] - before[1]
                self._seen[name] = after
        self._seen = {name: seen for name, seen in self._seen.items() if name in consumers}
        if number > 0:
            self._ended(seconds, number, now)
        busy = any(reading is not None and reading.busy for reading in consumers.values())
        if not busy or number > 0 or self._none_ended_since is None:
            self._none_ended_since = now if busy else None
        return number > 0

    def _ended(self, seconds: float, number: float, now: float) -> None:
        since = max(0.0, now - (now if self._ended_at is None else self._ended_at))
        fade = math.exp(-since / DURATIONS_FADE_SECONDS)
        self._seconds = self._seconds * fade + max(0.0, seconds)
        self._number = self._number * fade + number
        self._ended_at = now

    def mean(self, now: float) -> float | None:
        """Return the mean time of a task; None while nothing is known."""
        running = 0.0 if self._none_ended_since is None else max(0.0, now - self._none_ended_since)
        if self._number:
            return max(self._seconds / self._number, running)
        return running or None
