"""What can be set about one queue, and what it is unless somebody says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from daskqueue.chunk import MAX_PAYLOAD_BYTES
from daskqueue.core.queue import Settings

FSYNC_CHOICES = '"always", "never" or "interval:<milliseconds>"'
RESULTS_CHOICES = ("durable", "memory", "none")
# Old segments are emptied when this part of the log, or more, is settled.
SETTLED_PART = 0.75


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The settings of one queue.

    Args:
        fsync: when what was put is on the disk: ``always`` (before ``submit`` returns), ``never`` (when the
            system likes) or ``interval:<milliseconds>``.
        max_messages: how many messages may wait or run; None for no bound.
        max_bytes: how many bytes they may have together; None for no bound.
        max_losses: how often a message may be handed out and lost with its consumer before it is a dead letter.
        backoff_seconds: pause before the first retry; it doubles with each further one.
        backoff_max_seconds: the longest pause before a retry.
        lease_seconds: how long a message stays a silent consumer's.
        grace_seconds: how long a lease outlives a restart of the queue, for its consumer to come back.
        segment_bytes: size at which a file of the log is sealed and the next begun.
        max_payload_bytes: how many bytes the arguments of one message may take; a result may take 1 GiB.
        results: where what tasks return is kept: ``durable`` (with the ack), ``memory`` (until the queue is opened
            again) or ``none``. Why tasks failed is kept in any case.
        result_bytes: how much the results may take on the disk (or in memory).
        result_count: how many results are kept; None for no bound.
        result_ttl_seconds: how long results are kept.
    """

    fsync: str = "always"
    max_messages: int | None = None
    max_bytes: int | None = None
    max_losses: int = 5
    backoff_seconds: float = 1.0
    backoff_max_seconds: float = 600.0
    lease_seconds: float = 60.0
    grace_seconds: float = 30.0
    segment_bytes: int = 64 << 20
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    results: str = "durable"
    result_bytes: int = 1 << 30
    result_count: int | None = None
    result_ttl_seconds: float = 7 * 86400.0

    def __post_init__(self) -> None:
        self.lazy_seconds()
        if self.results not in RESULTS_CHOICES:
            choices = ", ".join(f'"{choice}"' for choice in RESULTS_CHOICES)
            raise ValueError(f"unknown results {self.results!r}; choose one of {choices}")
        bounds = (("max_bytes", 1), ("max_payload_bytes", 1), ("result_bytes", 1), ("result_count", 0))
        for name, least in bounds:
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}")

    def lazy_seconds(self) -> float | None:
        """Return the pause between syncs in seconds, or None when each reply waits for its sync.

        Raises:
            ValueError: ``fsync`` is none of the choices.
        """
        if self.fsync == "always":
            return None
        if self.fsync == "never":
            return float("inf")
        kind, _, milliseconds = self.fsync.partition(":")
        if kind == "interval" and milliseconds.isdigit() and int(milliseconds) > 0:
            return int(milliseconds) / 1000
        raise ValueError(f"unknown fsync {self.fsync!r}; choose {FSYNC_CHOICES}")

    def of_core(self) -> Settings:
        """Return the part of the settings that the state machine acts on."""
        return Settings(self.max_losses, self.max_messages, self.max_bytes)
