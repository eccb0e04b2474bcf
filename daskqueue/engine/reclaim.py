"""Moving the last survivors of an old segment forward, so that the segment can be dropped."""

from __future__ import annotations

from daskqueue.core.commands import Move
from daskqueue.core.decide import decide
from daskqueue.core.facts import Moved
from daskqueue.engine.batches import BatchReader
from daskqueue.engine.files import Files
from daskqueue.engine.records import fact_frame, moved_attachment
from daskqueue.message import Run

# A segment is emptied once its survivors take less than this part of it ...
SURVIVING_PART = 0.25
# ... and this is the most that one round of upkeep rewrites.
MOVED_BYTES = 4 << 20


def move_survivors(files: Files, reader: BatchReader, now: float) -> None:
    """Rewrite what still lives in the oldest segment behind the tail of the log, if that is little.

    Leased messages stay where they are, and keep their segment, until they are settled.
    """
    if len(files.log.segments) < 3:
        return
    oldest = files.log.segments[0]
    rows = [row for row in files.book.positions.dump() if row[2] == oldest.number]
    surviving_bytes = sum(length for *_, length in rows)
    if not rows or surviving_bytes > min(SURVIVING_PART * oldest.length, MOVED_BYTES):
        return
    for first, last, *_ in rows:
        moving, _ = decide(files.book.queue, Move(Run(first, last)), now)
        for run in moving.movable:
            _move(files, reader, run, now)


def _move(files: Files, reader: BatchReader, run: Run, now: float) -> None:
    _, facts = decide(files.book.queue, Move(run), now)
    for fact in facts:
        if isinstance(fact, Moved):
            batches = b"".join(part.data for part in reader.slices([run]))
            failures = b"".join(
                bytes(outcome.blob)
                for entry in files.book.failures.overlapping(run.first, run.last)
                for outcome in files.read_failures(entry)
            )
            (stretch,) = files.log.append([fact_frame(fact, *moved_attachment(batches, failures))])
            files.book.enter(fact, stretch)
