"""Opening a queue: the newest valid checkpoint, then the log after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from daskqueue.clock import Clock
from daskqueue.core.apply import apply
from daskqueue.core.facts import Acked, Cancelled, Died, Discarded, Enqueued, Fact, Moved, Purged, Redriven
from daskqueue.core.queue import Queue
from daskqueue.core.snapshot import restore, snapshot
from daskqueue.engine.batches import moved_run
from daskqueue.engine.records import read_fact
from daskqueue.engine.settings import QueueSettings
from daskqueue.storage import checkpoint
from daskqueue.storage.fs import FileSystem
from daskqueue.storage.log import Log, Position, Stretch
from daskqueue.storage.positions import Positions

# Consumer pools whose finished messages are counted; the oldest are forgotten.
_MAX_POOLS = 64


@dataclass(slots=True)
class Book:
    """What is known of a queue: its state, where its bytes are, and what each consumer pool has finished."""

    queue: Queue
    positions: Positions = field(default_factory=Positions)
    failures: Positions = field(default_factory=Positions)
    finished: dict[str, int] = field(default_factory=dict)

    def enter(self, fact: Fact, stretch: Stretch) -> None:
        """Bring everything up to date with a fact that lies at *stretch* of the log."""
        self._count(fact)
        apply(self.queue, fact)
        match fact:
            case Enqueued():
                self.positions.add(fact.first, fact.first + fact.count, stretch)
            case Moved():
                run = moved_run(fact)
                self.positions.add(run.first, run.last, stretch)
                for piece in fact.dead:
                    self.failures.add(piece[0], piece[1], stretch)
            case Died():
                for run in fact.runs:
                    self.failures.add(run.first, run.last, stretch)
            case Acked() | Cancelled() | Purged() | Discarded():
                for run in fact.runs:
                    self.positions.remove(run.first, run.last)
                    self.failures.remove(run.first, run.last)
            case Redriven():
                for run in fact.runs:
                    self.failures.remove(run.first, run.last)

    def _count(self, fact: Fact) -> None:
        if not isinstance(fact, (Acked, Died)):
            return
        lease = self.queue.leases.get(fact.lease)
        if lease is None:
            return
        done = self.finished.pop(lease.pool, 0) + sum(run.count for run in fact.runs)
        self.finished[lease.pool] = done
        if len(self.finished) > _MAX_POOLS:
            del self.finished[next(iter(self.finished))]

    def dump(self, now: float) -> bytes:
        """Return the payload of a checkpoint taken at time *now*."""
        rows = [snapshot(self.queue), self.positions.dump(), self.failures.dump(), self.finished, now]
        data: bytes = msgpack.packb(rows)
        return data


@dataclass(frozen=True, slots=True)
class Recovered:
    """What opening a queue found: frames replayed, bytes of a torn tail, damaged frames, seconds it took."""

    frames: int
    torn_bytes: int
    damaged_frames: int
    seconds: float
    saved_at: float


def recover(
    fs: FileSystem, log: Log, index_path: Path, settings: QueueSettings, clock: Clock
) -> tuple[Book, Recovered]:
    """Read a queue back from its folder; changes nothing there."""
    began = clock.now()
    saved, _ = checkpoint.read(fs, index_path, log.queue_id)
    book, position, saved_at = Book(Queue(settings.of_core())), None, 0.0
    if saved is not None and any(segment.number == saved.position.segment for segment in log.segments):
        book, saved_at = _load(saved.payload, settings)
        position = Position(*saved.position)
    replay = log.replay(position)
    for frame, stretch in replay:
        fact, _ = read_fact(frame)
        if fact is not None:
            book.enter(fact, stretch)
    report = replay.report
    seconds = clock.now() - began
    return book, Recovered(report.frames, report.torn_bytes, report.damaged_frames, seconds, saved_at)


def _load(payload: bytes, settings: QueueSettings) -> tuple[Book, float]:
    state: list[Any]
    state, positions, failures, finished, saved_at = msgpack.unpackb(payload, use_list=True)
    queue = restore(state, settings.of_core())
    book = Book(queue, Positions.load(positions), Positions.load(failures), finished)
    return book, saved_at
