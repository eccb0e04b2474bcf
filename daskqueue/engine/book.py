"""What is known of a queue: its state, where its bytes are, and how both stand in a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack

from daskqueue.core import readers
from daskqueue.core.apply import apply
from daskqueue.core.facts import (
    Acked,
    Cancelled,
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
from daskqueue.engine.large import LargeRuns, Reference
from daskqueue.engine.settings import QueueSettings
from daskqueue.engine.sizes import Sizes
from daskqueue.engine.time_marks import TimeMarks
from daskqueue.errors import CorruptionError
from daskqueue.storage.log import Position, Stretch
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
        unknown: which kinds of facts this version does not know, by segment; such segments are never dropped.
    """

    queue: Queue
    positions: Positions = field(default_factory=Positions)
    failures: Positions = field(default_factory=Positions)
    finished: dict[str, int] = field(default_factory=dict)
    marks: TimeMarks = field(default_factory=TimeMarks)
    sizes: Sizes = field(default_factory=Sizes)
    sealed: list[tuple[int, float]] = field(default_factory=list)
    large: LargeRuns = field(default_factory=LargeRuns)
    unknown: dict[int, set[int]] = field(default_factory=dict)

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
                self._enter_put(fact, stretch, reference, max(fact.first, put_before))
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

    def _enter_put(self, fact: Enqueued, stretch: Stretch, reference: Reference | None, first: int) -> None:
        """Enter those messages of a put that are new, from *first* on: a number means the same message for ever."""
        last = fact.first + fact.count
        if first >= last:
            return
        self.positions.add(first, last, stretch)
        self.sizes.add(first, last, reference.size_bytes if reference else stretch.length)
        if reference is not None:
            self.large.add(first, last, reference.name)

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
            [(segment, sorted(kinds)) for segment, kinds in self.unknown.items()],
        ]
        data: bytes = msgpack.packb(rows)
        return data


class Saved(NamedTuple):
    """What a checkpoint says.

    ``results`` is up to where the results were whole, ``at`` when it was written, ``position`` which part of the
    log it is about.
    """

    book: Book
    results: Position = Position(0, 0)
    at: float = 0.0
    position: Position | None = None


def load(payload: bytes, position: Position, settings: QueueSettings) -> Saved:
    """Return what :meth:`Book.dump` made.

    Raises:
        FormatError: a newer version made it.
        CorruptionError: it makes no sense.
    """
    try:
        return _load(payload, position, settings)
    except (ValueError, TypeError, IndexError, RecursionError, msgpack.UnpackException) as error:
        raise CorruptionError(f"the checkpoint makes no sense: {error}") from error


def _load(payload: bytes, position: Position, settings: QueueSettings) -> Saved:
    state: list[Any]
    state, positions, failures, finished, results, saved_at, *later = readers.unpack(payload, use_list=True)
    queue = restore(state, settings.of_core())
    marks = TimeMarks.load(later[0]) if later else TimeMarks()
    book = Book(
        queue,
        Positions.load(positions),
        Positions.load(failures),
        dict(_FINISHED(list(dict(finished).items()))),
        marks,
    )
    if len(later) > 1:
        book.sizes = Sizes.load(later[1])
        book.sealed = list(_SEALED(later[2]))
        book.large = LargeRuns(later[3])
    else:
        book.guess_sizes()
    if len(later) > 4:
        book.unknown = {readers.count(segment): set(map(readers.count, kinds)) for segment, kinds in later[4]}
    last = max([0, *(row[1] for rows in _placed(book) for row in rows[-1:])])
    if last > queue.next_sequence:
        raise CorruptionError(f"it knows where message {last - 1} lies, which was never put")
    return Saved(book, Position(*map(readers.count, results)), readers.moment(saved_at), position)


def _placed(book: Book) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Yield all rows that begin with a run of messages, in order of these."""
    yield from (book.positions.dump(), book.failures.dump(), *book.sizes.dump(), book.large.dump())


_SEALED = readers.rows(readers.count, readers.moment)
_FINISHED = readers.rows(readers.text, readers.count)
