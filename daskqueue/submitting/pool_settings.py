"""The settings of a pool's queues, from the arguments of ``QueuePool``."""

from __future__ import annotations

from dataclasses import replace

from daskqueue.arguments import Duration, check_choice, check_count, seconds_of
from daskqueue.engine.settings import QueueSettings
from daskqueue.message import Durability
from daskqueue.submitting.options import BACKOFF_MAX_SECONDS, Backoff, SubmitOptions, changed

# What is settled in memory should be given back soon.
TRANSIENT_SEGMENT_BYTES = 8 << 20


def settings_of(
    durability: Durability,
    *,
    max_messages: int | None,
    max_bytes: int | None,
    backoff: Duration | Backoff,
    backoff_max: Duration | None,
    max_deliveries: int,
    lease: Duration,
    fsync: str,
    results: str,
    result_ttl: Duration,
    result_bytes: int,
    result_count: int | None,
    max_payload_bytes: int,
) -> QueueSettings:
    """Return checked settings; see ``QueuePool`` for the arguments.

    Raises:
        TypeError, ValueError: an argument that cannot be; the message names it and what it may be.
    """
    for what, count, least in (
        ("max_messages", max_messages, 1),
        ("max_bytes", max_bytes, 1),
        ("max_deliveries", max_deliveries, 1),
        ("result_bytes", result_bytes, 1),
        ("result_count", result_count, 0),
        ("max_payload_bytes", max_payload_bytes, 1),
    ):
        if count is not None:
            check_count(what, count, least=least)
    check_choice("results", results, ("durable", "memory", "none"))
    pauses = changed(SubmitOptions(), {"backoff": backoff, "backoff_max": backoff_max}).terms
    settings = QueueSettings(
        fsync=fsync,
        max_messages=max_messages,
        max_bytes=max_bytes,
        max_losses=max_deliveries,
        backoff_seconds=pauses.backoff_seconds or 0.0,
        backoff_max_seconds=BACKOFF_MAX_SECONDS
        if pauses.backoff_max_seconds is None
        else pauses.backoff_max_seconds,
        lease_seconds=seconds_of("lease", lease, least=1.0),
        results=results,
        result_ttl_seconds=seconds_of("result_ttl", result_ttl),
        result_bytes=result_bytes,
        result_count=result_count,
        max_payload_bytes=max_payload_bytes,
    )
    if durability is Durability.DURABLE:
        return settings
    return replace(settings, fsync="never", segment_bytes=TRANSIENT_SEGMENT_BYTES)
