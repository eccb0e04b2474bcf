"""Opening a queue: the newest valid checkpoint, then the log after it."""

from __future__ import annotations

from collections.abc import Iterator
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
from daskqueue.engine.records import read_fact, read_witness
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
    fs: FileSystem, log: Log, results: Log, index_path: Path, settings: QueueSettings, clock: Clock
) -> tuple[Book, Recovered]:
    """Read a queue back from its folder; changes nothing there."""
    began = clock.now()
    saved, _ = checkpoint.read(fs, index_path, log.queue_id)
    replay = log.replay(saved.position if saved else None)
    book, saved_at = Book(Queue(settings.of_core())), 0.0
    if saved is not None and not replay.relocated:
        book, saved_at = _load(saved.payload, settings)
    acks = _Acks(results)
    for frame, stretch in replay:
        fact, attachment = read_fact(frame)
        if isinstance(fact, Acked) and not acks.proven(fact, stretch, attachment):
            continue
        if fact is not None:
            book.enter(fact, stretch)
    for fact, stretch in acks.with_results():
        book.enter(fact, stretch)
    report = replay.report
    seconds = clock.now() - began
    return book, Recovered(report.frames, report.torn_bytes, report.damaged_frames, seconds, saved_at)


class _Acks:
    """Makes sure that no ack counts whose results a power cut has taken.

    Log and results are two files with a sync each, so the last acks can be on the disk before what they
    acked. Each says how far the results were durable when it was written: what lies before that is proven,
    and only what lies behind the last such place has to be looked at.
    """

    def __init__(self, results: Log) -> None:
        self._results = results
        self._durable = Position(0, 0)
        self._doubtful: list[tuple[Position, Acked, Stretch]] = []

    def proven(self, fact: Acked, stretch: Stretch, attachment: memoryview) -> bool:
        """Return whether an ack counts at once; others are kept until the log is read."""
        witness = read_witness(attachment)
        if witness is None:
            return True
        self._durable = max(self._durable, witness.synced)
        if witness.needs <= self._durable:
            return True
        self._doubtful.append((witness.needs, fact, stretch))
        return False

    def with_results(self) -> Iterator[tuple[Acked, Stretch]]:
        """Yield those of the others whose results are all there."""
        doubtful = [ack for ack in self._doubtful if ack[0] > self._durable]
        whole = self._end_of_whole() if doubtful else self._durable
        for needs, fact, stretch in self._doubtful:
            if needs <= whole:
                yield fact, stretch

    def _end_of_whole(self) -> Position:
        end = self._durable
        replay = self._results.replay(self._durable if self._durable.offset else None)
        for _, stretch in replay:
            if replay.report.damaged:
                break
            end = Position(stretch.segment, stretch.offset + stretch.length)
        return end


def _load(payload: bytes, settings: QueueSettings) -> tuple[Book, float]:
    state: list[Any]
    state, positions, failures, finished, saved_at = msgpack.unpackb(payload, use_list=True)
    queue = restore(state, settings.of_core())
    book = Book(queue, Positions.load(positions), Positions.load(failures), finished)
    return book, saved_at
