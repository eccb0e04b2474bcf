"""Moving the last survivors of an old segment forward, so that the segment can be dropped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from daskqueue.chunk import CHUNK_MESSAGES
from daskqueue.core.commands import Move
from daskqueue.core.decide import decide
from daskqueue.core.facts import Moved
from daskqueue.core.queue import Queue
from daskqueue.core.runs import merge, subtract
from daskqueue.engine.batches import BatchReader
from daskqueue.engine.records import fact_frame, moved_attachment
from daskqueue.engine.settings import SETTLED_PART
from daskqueue.message import Run
from daskqueue.storage.log import Stretch

if TYPE_CHECKING:
    from daskqueue.engine.files import Files

# Old segments are not emptied as long as there are fewer than this; after a full disk any is worth it.
FEWEST_SEGMENTS = 4
FEWEST_EARLY = 2
# Each opening begins a segment: from so many on one opening empties the oldest, however little is in them.
FEWEST_AT_OPENING = 16
# Room on a full disk that the survivors may take of the reserve: what they leave is larger.
RESERVED_PART = 0.5
# The event loop is given back after this much was rewritten.
PAUSE_BYTES = 1 << 20


async def move_survivors(files: Files, reader: BatchReader, now: float, early: bool = False) -> None:
    """Rewrite what still lives in the oldest segment behind the tail of the log, if most of the log is settled.

    Leased messages stay where they are, and keep their segment, until they are settled.
    """
    for _ in _moving(files, reader, now, FEWEST_EARLY if early else FEWEST_SEGMENTS):
        await asyncio.sleep(0)


def move_at_opening(files: Files, reader: BatchReader, now: float) -> None:
    """Do the same where a queue was opened many times and had little to do; blocking."""
    for _ in _moving(files, reader, now, FEWEST_AT_OPENING):
        pass


def _moving(files: Files, reader: BatchReader, now: float, fewest: int) -> Iterator[None]:
    """Move what still lives in the oldest segment, and yield now and then."""
    segments = files.log.segments
    if len(segments) < fewest:
        return
    rows = files.book.positions.dump()
    if _surviving_bytes(files, rows) > (1 - SETTLED_PART) * files.log.size_bytes:
        return
    rows = [row for row in rows if row[2] == segments[0].number]
    moved_bytes = 0
    for first, last, _, _, length in rows:
        for run in _alike(files.book.queue, Run(first, last), now):
            _move(files, reader, run, now)
        moved_bytes += length
        if moved_bytes >= PAUSE_BYTES:
            moved_bytes = 0
            yield


def _surviving_bytes(files: Files, rows: Sequence[tuple[int, int, int, int, int]]) -> float:
    """Return about how much would have to be rewritten: a message takes its whole chunk along."""
    segments = files.log.segments
    ends = [segment.first_sequence for segment in segments[1:]] + [files.book.queue.next_sequence]
    chunk_bytes = {
        segment.number: CHUNK_MESSAGES * segment.length / max(end - segment.first_sequence, 1)
        for segment, end in zip(segments, ends, strict=True)
    }
    alive: Counter[Stretch] = Counter()
    for first, last, *stretch in rows:
        alive[Stretch(*stretch)] += last - first
    return sum(min(at.length, count * chunk_bytes[at.segment]) for at, count in alive.items())


def _alike(queue: Queue, run: Run, now: float) -> Iterator[Run]:
    """Yield the movable messages of *run* in parts that are all dead for one reason, or all alive."""
    moving, facts = decide(queue, Move(run), now)
    graves = [Run(*piece[:2]) for fact in facts if isinstance(fact, Moved) for piece in fact.dead]
    yield from graves
    yield from subtract(moving.movable, merge(graves))


def _move(files: Files, reader: BatchReader, run: Run, now: float) -> None:
    """Write a run again, with what of it can be read, and the failures of dead letters where each has its own."""
    for moved, data in _readable(reader, run):
        outcomes = [
            outcome
            for entry in files.book.failures.overlapping(moved.first, moved.last)
            for outcome in files.read_failures(entry)
        ]
        told = merge(told for outcome in outcomes if len(outcome.blob) for told in outcome.runs)
        failures = b"".join(bytes(outcome.blob) for outcome in outcomes) if told == (moved,) else b""
        _, facts = decide(files.book.queue, Move(moved), now)
        for fact in facts:
            (stretch,) = files.log.append(
                [fact_frame(fact, *moved_attachment(data, failures))], RESERVED_PART
            )
            files.book.enter(fact, stretch)


def _readable(reader: BatchReader, run: Run) -> Iterator[tuple[Run, bytes]]:
    """Yield the parts of a run whose bytes are whole, next to each other, with their record batches.

    Then the damaged ones, without any: they are moved, too, or their segment could never go.
    """
    parts: list[tuple[Run, bytes]] = []
    for piece in reader.slices([run]):
        part = Run(piece.first, piece.first + piece.size)
        if parts and parts[-1][0].last == part.first:
            before, data = parts[-1]
            parts[-1] = Run(before.first, part.last), data + piece.data
        else:
            parts.append((part, piece.data))
    yield from parts
    yield from ((part, b"") for part in subtract((run,), merge([part for part, _ in parts])))
