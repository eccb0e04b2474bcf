"""What one queue tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import metadata

from daskqueue.core.facts import CRASH_LOOP
from daskqueue.engine.gaps import DAMAGED
from daskqueue.engine.meter import Meter
from daskqueue.engine.reading import QueueReading
from daskqueue.metrics.collector import Sample

RAISED = "raised"
# Reasons of dead letters that are no failed attempt of a task.
_NOT_TRIED = {CRASH_LOOP, DAMAGED}


class QueueSource:
    """The metrics of one queue.

    Args:
        label: the value of its label ``queue``: pool and number.
        durability: ``durable`` or ``transient``.
        meter: what its engine has measured.
        read: takes a reading; None while the queue is not open.
        consumers: how many consumers wait for it or hold some of it.
    """

    def __init__(
        self,
        label: str,
        durability: str,
        meter: Meter,
        read: Callable[[], QueueReading | None],
        consumers: Callable[[], int],
    ) -> None:
        self.place = f"queue {label}"
        self._label = label
        self._durability = durability
        self._meter = meter
        self._read = read
        self._consumers = consumers
        # What a queue in memory would tell of a disk means nothing.
        self._on_disk = durability == "durable"

    def samples(self) -> Iterator[Sample]:
        """Yield all that there is to tell now."""
        reading = self._read()
        yield self._sample("info", 1, self._durability, _version())
        yield self._sample("writable", 0 if reading is None or reading.failure or reading.full else 1)
        yield self._sample("consumers", self._consumers())
        yield from self._measured()
        if reading is not None:
            yield from self._states(reading)
            yield from self._counted(reading)
            yield from self._files(reading)

    def _sample(self, name: str, value: float, *labels: str) -> Sample:
        return Sample(f"daskqueue_{name}", (self._label, *labels), value)

    def _measured(self) -> Iterator[Sample]:
        meter = self._meter
        for name, histogram in (
            ("wait_seconds", meter.wait_seconds),
            ("end_to_end_seconds", meter.end_to_end_seconds),
            ("put_seconds", meter.put_seconds),
            ("commit_messages", meter.commit_messages),
            *((("fsync_seconds", meter.fsync_seconds),) if self._on_disk else ()),
        ):
            yield Sample(f"daskqueue_{name}", (self._label,), histogram)
        for reason, count in {"full": 0, "disk_full": 0, **meter.rejected}.items():
            yield self._sample("rejected_total", count, reason)

    def _states(self, reading: QueueReading) -> Iterator[Sample]:
        for state, count in reading.messages.items():
            yield self._sample("messages", count, state)
        yield self._sample("bytes", reading.message_bytes)
        yield self._sample("paused", int(reading.paused))
        for state, seconds in reading.oldest_seconds.items():
            yield self._sample("oldest_message_age_seconds", seconds, state)

    def _counted(self, reading: QueueReading) -> Iterator[Sample]:
        counters = reading.counters
        yield self._sample("enqueued_total", counters.enqueued)
        yield self._sample("deduplicated_total", counters.deduplicated, "resent")
        yield self._sample("deduplicated_total", counters.matched, "key")
        yield self._sample("delivered_total", counters.delivered - counters.redelivered, "false")
        yield self._sample("delivered_total", counters.redelivered, "true")
        yield self._sample("acked_total", counters.acked)
        yield self._sample("retried_total", counters.retried)
        yield self._sample("snoozed_total", counters.snoozed)
        yield self._sample("released_total", counters.released)
        yield self._sample("redriven_total", counters.redriven)
        yield self._sample("cancelled_total", counters.cancelled)
        yield self._sample("expired_total", counters.expired)
        yield self._sample("displaced_total", counters.displaced)
        yield self._sample("purged_total", counters.purged)
        yield self._sample("lease_expired_total", counters.leases_expired)
        yield self._sample("lease_lost_total", counters.leases_lost)
        # A counter that is not there before its first step hides that step from rates.
        dead = {RAISED: 0, CRASH_LOOP: 0, **counters.dead}
        for reason, count in dead.items():
            yield self._sample("dead_lettered_total", count, reason)
        for reason, count in _nacked(counters.retried, dead).items():
            yield self._sample("nacked_total", count, reason)

    def _files(self, reading: QueueReading) -> Iterator[Sample]:
        yield self._sample("log_bytes", reading.log_bytes, "log")
        yield self._sample("log_bytes", reading.results_bytes, "results")
        yield self._sample("log_segments", reading.segments)
        yield self._sample("corrupt_records_total", reading.corrupt_records)
        yield self._sample("recovery_seconds", reading.recovery_seconds)
        yield self._sample("epoch", reading.epoch)
        if reading.volume is not None and self._on_disk:
            yield self._sample("volume_free_bytes", reading.volume.free_bytes)
            yield self._sample("volume_size_bytes", reading.volume.size_bytes)


def _nacked(retried: int, dead: Mapping[str, int]) -> dict[str, int]:
    """Return the attempts that failed, by reason: each of them was either retried or became a dead letter."""
    failed = {reason: count for reason, count in dead.items() if reason not in _NOT_TRIED}
    return {**failed, RAISED: failed.get(RAISED, 0) + retried}


@cache
def _version() -> str:
    try:
        return metadata.version("daskqueue")
    except metadata.PackageNotFoundError:  # run from its source
        return "unknown"
