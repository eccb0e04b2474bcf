"""Opening a queue: the newest valid checkpoint, then the log after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from daskqueue.clock import Clock
from daskqueue.core.apply import apply
from daskqueue.core.facts import (
    Acked,
    Cancelled,
    Carried,
    Died,
    Discarded,
    Dropped,
    Enqueued,
    Fact,
    Moved,
    Purged,
    Redriven,
)
from daskqueue.core.queue import Queue
from daskqueue.core.runs import merge
from daskqueue.core.snapshot import restore, snapshot
from daskqueue.engine.batches import moved_run
from daskqueue.engine.large import LargeRuns, Reference, read_reference
from daskqueue.engine.records import read_fact, read_position, read_witness
from daskqueue.engine.settings import QueueSettings
from daskqueue.engine.sizes import Sizes
from daskqueue.engine.time_marks import TimeMarks
from daskqueue.storage import checkpoint
from daskqueue.storage.fs import FileSystem
from daskqueue.storage.log import Log, Position, Stretch
from daskqueue.storage.positions import Positions

# Consumer pools whose finished messages are counted; the oldest are forgotten.
_MAX_POOLS = 64


@dataclass(slots=True)
class Book:
    """What is known of a queue beside its state.

    Attributes:
        queue: its state.
        positions: where the bytes of its messages are.
        failures: where it stands why its dead letters died.
        finished: how many messages each consumer pool has settled.
        marks: when messages were put.
        sizes: how many bytes its unsettled messages have.
        sealed: which segments of the results were sealed when, as the last checkpoint knows it.
        large: which of its messages are in files of their own.
    """

    queue: Queue
    positions: Positions = field(default_factory=Positions)
    failures: Positions = field(default_factory=Positions)
    finished: dict[str, int] = field(default_factory=dict)
    marks: TimeMarks = field(default_factory=TimeMarks)
    sizes: Sizes = field(default_factory=Sizes)
    sealed: list[tuple[int, float]] = field(default_factory=list)
    large: LargeRuns = field(default_factory=LargeRuns)

    def enter(self, fact: Fact, stretch: Stretch, reference: Reference | None = None) -> None:
        """Bring everything up to date with a fact that lies at *stretch* of the log.

        Args:
            fact: what has happened.
            stretch: where it lies.
            reference: the file that has the record batch, where that is not beside the fact.
        """
        self._count(fact)
        put_before = self.queue.next_sequence
        apply(self.queue, fact)
        match fact:
            case Enqueued():
                self._enter_put(fact, stretch, reference, is_new=fact.first >= put_before)
            case Moved():
                self._enter_moved(fact, stretch)
            case Died():
                for run in fact.runs:
                    self.failures.add(run.first, run.last, stretch)
                    self.sizes.bury(run.first, run.last)
            case Acked() | Cancelled() | Dropped() | Purged() | Discarded():
                for run in fact.runs:
                    self.positions.remove(run.first, run.last)
                    self.failures.remove(run.first, run.last)
                    self.sizes.remove(run.first, run.last)
                    self.large.remove(run.first, run.last)
            case Redriven():
                for run in fact.runs:
                    self.failures.remove(run.first, run.last)
                    self.sizes.revive(run.first, run.last)

    def _enter_put(
        self, fact: Enqueued, stretch: Stretch, reference: Reference | None, *, is_new: bool
    ) -> None:
        last = fact.first + fact.count
        self.positions.add(fact.first, last, stretch)
        if is_new:
            self.sizes.add(fact.first, last, reference.size_bytes if reference else stretch.length)
            if reference is not None:
                self.large.add(fact.first, last, reference.name)

    def _enter_moved(self, fact: Moved, stretch: Stretch) -> None:
        run = moved_run(fact)
        self.positions.add(run.first, run.last, stretch)
        self.large.remove(run.first, run.last)
        each = stretch.length / run.count
        for part in merge([(row[0], row[1]) for rows in (fact.ready, fact.delayed) for row in rows]):
            self.sizes.learn(part.first, part.last, each)
        for first, last, *_ in fact.dead:
            self.failures.add(first, last, stretch)
            self.sizes.learn(first, last, each, dead=True)

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

    def guess_sizes(self) -> None:
        """Learn from the positions what messages take; a checkpoint of version 1 does not say it."""
        for first, last, _, _, length in self.positions.dump():
            for since, until, _ in self.queue.dead.pieces(first, last):
                self.sizes.learn(since, until, length / (last - first), dead=True)
            self.sizes.learn(first, last, length / (last - first))

    def dump(self, results: Position, now: float) -> bytes:
        """Return the payload of a checkpoint: *results* is where the results' log ends, *now* the time."""
        rows = [
            snapshot(self.queue),
            self.positions.dump(),
            self.failures.dump(),
            self.finished,
            results,
            now,
            self.marks.dump(now),
            self.sizes.dump(),
            self.sealed,
            self.large.dump(),
        ]
        data: bytes = msgpack.packb(rows)
        return data


@dataclass(frozen=True, slots=True)
class Recovered:
    """What opening a queue found.

    Attributes:
        frames: how many were replayed after the checkpoint.
        torn_bytes: of unfinished last writes.
        damaged_frames: places that were once good and are not.
        seconds: how long it took.
        saved_at: when the checkpoint was written.
        results: up to where the results are known to be whole.
    """

    frames: int
    torn_bytes: int
    damaged_frames: int
    seconds: float
    saved_at: float
    results: Position


def recover(
    fs: FileSystem, log: Log, results: Log, index_path: Path, settings: QueueSettings, clock: Clock
) -> tuple[Book, Recovered]:
    """Read a queue back from its folder; changes nothing there."""
    began = clock.now()
    saved, _ = checkpoint.read(fs, index_path, log.queue_id)
    replay = log.replay(saved.position if saved else None)
    book, whole, saved_at = Book(Queue(settings.of_core())), Position(0, 0), 0.0
    if saved is not None and not replay.relocated:
        book, whole, saved_at = _load(saved.payload, settings)
    unmarked = book.queue.next_sequence
    acks = _Acks(results, whole)
    for frame, stretch in replay:
        fact, attachment = read_fact(frame)
        if isinstance(fact, Acked) and not acks.proven(fact, stretch, attachment):
            continue
        if isinstance(fact, Carried):
            # Its counters include the acks before it, so they are entered first.
            acks.judge(book, read_position(attachment))
        if fact is not None:
            reference = read_reference(attachment) if isinstance(fact, Enqueued) else None
            book.enter(fact, stretch, reference)
    acks.judge(book)
    # Facts have no time: what the checkpoint does not know counts from this opening on.
    book.marks.note(unmarked, clock.now())
    report = replay.report
    found = Recovered(
        frames=report.frames,
        torn_bytes=report.torn_bytes,
        damaged_frames=report.damaged_frames,
        seconds=clock.now() - began,
        saved_at=saved_at,
        results=acks.whole,
    )
    return book, found


class _Acks:
    """Makes sure that no ack counts whose results a power cut has taken.

    Log and results are two files with a sync each, so the last acks can be on the disk before what they
    acked. Each says how far the results were durable when it was written: what lies before that is proven,
    and only what lies behind the last such place has to be looked at. How much was whole stands at the head
    of each segment, so that an ack that did not count once never will.

    Attributes:
        whole: up to where the results are known to be whole.
    """

    def __init__(self, results: Log, whole: Position) -> None:
        self.whole = whole
        self._results = results
        self._doubtful: list[tuple[Position, Acked, Stretch]] = []

    def proven(self, fact: Acked, stretch: Stretch, attachment: memoryview) -> bool:
        """Return whether an ack counts at once; others wait to be judged."""
        witness = read_witness(attachment)
        if witness is None:
            return True
        self.whole = max(self.whole, witness.synced)
        if witness.needs <= self.whole:
            return True
        self._doubtful.append((witness.needs, fact, stretch))
        return False

    def judge(self, book: Book, found: Position | None = None) -> None:
        """Enter those of the waiting acks whose results are whole, and forget the others.

        Args:
            book: where they are entered.
            found: up to where the results were whole at that time; None at the end of the log: look now.
        """
        if found is not None:
            self.whole = max(self.whole, found)
        elif any(needs > self.whole for needs, *_ in self._doubtful):
            self.whole = self._end_of_whole()
        for needs, fact, stretch in self._doubtful:
            if needs <= self.whole:
                book.enter(fact, stretch)
        self._doubtful.clear()

    def _end_of_whole(self) -> Position:
        end = self.whole
        replay = self._results.replay(self.whole if self.whole.offset else None)
        for _, stretch in replay:
            if replay.report.damaged:
                break
            end = Position(stretch.segment, stretch.offset + stretch.length)
        return end


def _load(payload: bytes, settings: QueueSettings) -> tuple[Book, Position, float]:
    state: list[Any]
    state, positions, failures, finished, results, saved_at, *later = msgpack.unpackb(payload, use_list=True)
    queue = restore(state, settings.of_core())
    marks = TimeMarks.load(later[0]) if later else TimeMarks()
    book = Book(queue, Positions.load(positions), Positions.load(failures), finished, marks)
    if len(later) > 1:
        book.sizes = Sizes.load(later[1])
        book.sealed = [(number, at) for number, at in later[2]]
        book.large = LargeRuns(later[3])
    else:
        book.guess_sizes()
    return book, Position(*results), saved_at
