"""What metrics tell of a queue at one moment; made in constant time, whatever the backlog."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from daskqueue.core.apply import count_pieces
from daskqueue.core.queue import Counters, Queue
from daskqueue.core.tally import Piece, State
from daskqueue.engine.files import Files
from daskqueue.engine.meter import Meter
from daskqueue.engine.time_marks import TimeMarks
from daskqueue.storage.fs import Volume

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class QueueReading:
    """One look at a queue.

    Attributes:
        messages: how many are in each state; delayed ones that are due count as ready, and those that wait for
            their turn in a group as delayed.
        message_bytes: what the messages take that wait or run.
        paused: whether leasing has been stopped.
        oldest_seconds: the time since the put of the oldest message of each state that has any.
        counters: what has happened in the life of the queue, earlier openings included.
        log_bytes: of the segments with messages and facts.
        results_bytes: of the segments with results.
        segments: files of both kinds.
        volume: the room where the folder lies; None if the disk does not say.
        corrupt_records: places found damaged since the opening, and messages that could not be read.
        quarantined_files: files that were kept because they are damaged.
        recovery_seconds: how long the opening took.
        epoch: which opening of the folder this is.
        failure: why nothing can be written any more; empty while all is well.
        full: whether new messages are refused because the disk is full.
    """

    messages: dict[State, int]
    message_bytes: int
    paused: bool
    oldest_seconds: dict[State, float]
    counters: Counters
    log_bytes: int
    results_bytes: int
    segments: int
    volume: Volume | None
    corrupt_records: int
    quarantined_files: int
    recovery_seconds: float
    epoch: int
    failure: str
    full: bool = False

    def as_stats(self) -> dict[str, Any]:
        """Return the part of a host's ``/stats`` that the queue knows."""
        ages = [
            self.oldest_seconds[s]
            for s in (State.READY, State.LEASED, State.DELAYED)
            if s in self.oldest_seconds
        ]
        return {
            "messages": {str(state): count for state, count in self.messages.items()},
            "oldest_age_seconds": max(ages, default=None),
            "enqueued": self.counters.enqueued,
            "acked": self.counters.acked,
            "volume": self.volume._asdict() if self.volume is not None else None,
        }


def read(files: Files, meter: Meter, now: float) -> QueueReading:
    """Return the reading of an open queue at *now*."""
    queue = files.book.queue
    due = queue.delayed.due(now)
    due_count = count_pieces(due)
    log = files.log.segments
    return QueueReading(
        messages={
            State.READY: queue.ready.count + due_count,
            State.LEASED: queue.in_flight,
            State.DELAYED: queue.delayed.count - due_count + queue.blocked.count,
            State.DEAD: queue.dead.count,
        },
        message_bytes=files.book.sizes.total,
        paused=queue.paused,
        oldest_seconds=_ages(_oldest(queue, due, now), files.book.marks, now),
        counters=queue.counters,
        log_bytes=sum(segment.length for segment in log),
        results_bytes=files.outcomes.size_bytes,
        segments=len(log) + files.outcomes.segments,
        volume=files.volume(),
        corrupt_records=files.quarantine.places + meter.damaged,
        quarantined_files=files.quarantine.files,
        recovery_seconds=files.recovered.seconds,
        epoch=queue.epoch,
        failure=files.log.failure or files.outcomes.log.failure or "",
        full=files.reserve.full,
    )


def _ages(sequences: dict[State, int | None], marks: TimeMarks, now: float) -> dict[State, float]:
    put_at = {state: marks.put_at(first) for state, first in sequences.items() if first is not None}
    return {state: max(now - at, 0.0) for state, at in put_at.items() if at is not None}


def _oldest(queue: Queue, due: list[Piece], now: float) -> dict[State, int | None]:
    """Return the lowest sequence in each state."""
    delayed = next((first for first, _, delay in queue.delayed.runs if delay.due_at > now), None)
    blocked = next((first for first, _, _ in queue.blocked), None)
    leased = [next(iter(lease.runs), None) for lease in list(queue.leases.values())]
    return {
        State.READY: min((piece[0] for piece in (*_front(queue.ready), *due[:1])), default=None),
        State.LEASED: min((piece[0] for piece in leased if piece is not None), default=None),
        State.DELAYED: min((first for first in (delayed, blocked) if first is not None), default=None),
        State.DEAD: min((piece[0] for piece in _front(queue.dead)), default=None),
    }


def _front(runs: Iterable[tuple[int, int, V]]) -> tuple[tuple[int, int, V], ...]:
    piece = next(iter(runs), None)
    return () if piece is None else (piece,)
