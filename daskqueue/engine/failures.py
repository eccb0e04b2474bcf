"""Why dead letters died, as it stands in the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from daskqueue.batch import Batch
from daskqueue.core.facts import Died, Moved
from daskqueue.core.runs import merge, subtract
from daskqueue.engine.gaps import DAMAGED
from daskqueue.engine.outcomes import cut
from daskqueue.engine.records import FAILED, Outcome, read_fact, read_moved
from daskqueue.errors import BatchError, CorruptionError
from daskqueue.message import Run
from daskqueue.storage.frame import Frame
from daskqueue.storage.log import Log
from daskqueue.storage.positions import Entry


def read_failures(log: Log, entry: Entry) -> list[Outcome]:
    """Return why the dead letters of *entry* died, as it stands in a log."""
    wanted = (Run(entry.first, entry.last),)
    found = [
        part
        for frame in log.readable(entry.stretch)
        for failed in _failures(frame)
        for part in cut(failed, wanted)
    ]
    silent = subtract(wanted, merge([run for part in found for run in part.runs]))
    return [*found, Outcome(FAILED, "", "", silent, b"", DAMAGED)] if silent else found


def _failures(frame: Frame) -> Iterator[Outcome]:
    with suppress(CorruptionError, BatchError):
        yield from _told_failures(frame)


def _told_failures(frame: Frame) -> Iterator[Outcome]:
    fact, attachment = read_fact(frame)
    if isinstance(fact, Died):
        yield from _spread(fact.runs, attachment, fact.reason)
    elif isinstance(fact, Moved) and fact.dead:
        _, failures = read_moved(attachment)
        yield from _spread(tuple(Run(*piece[:2]) for piece in fact.dead), failures, fact.dead[0][-1])


def _spread(runs: tuple[Run, ...], blobs: memoryview, reason: str) -> Iterator[Outcome]:
    """Yield the failures of *runs*, one for each batch in *blobs*; a batch never spans two runs."""
    if not len(blobs):
        yield Outcome(FAILED, "", "", runs, b"", reason)
        return
    batches = iter(Batch.parse_many(blobs, verify=False))
    for run in runs:
        first = run.first
        while first < run.last and (batch := next(batches, None)) is not None:
            part = Run(first, first + batch.count)
            yield Outcome(FAILED, "", "", (part,), batch.slice(0, batch.count), reason)
            first = part.last
