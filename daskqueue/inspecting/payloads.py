"""The bytes of the messages that are still needed: read, and checked against every checksum that they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskqueue.batch import Batch
from daskqueue.core.facts import Died, Enqueued, Moved
from daskqueue.core.runs import Runs, intersect, merge, subtract
from daskqueue.engine.batches import moved_run
from daskqueue.engine.large import read_reference
from daskqueue.engine.records import read_fact, read_moved
from daskqueue.errors import BatchError, CorruptionError, StorageError
from daskqueue.inspecting.agreement import live
from daskqueue.message import Run
from daskqueue.storage.log import Stretch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daskqueue.engine.book import Book
    from daskqueue.inspecting.opened import Opened
    from daskqueue.inspecting.progress import Progress
    from daskqueue.storage.frame import Frame
    from daskqueue.storage.positions import Positions


def unreadable(opened: Opened, book: Book, progress: Progress) -> Runs:
    """Return the live messages whose bytes are not whole."""
    whole = _covered(opened, book.positions, progress, _batches)
    return subtract(live(book.queue), whole)


def unreadable_failures(opened: Opened, book: Book, progress: Progress) -> Runs:
    """Return the dead letters of which it cannot be read any more why they died."""
    whole = _covered(opened, book.failures, progress, _failures)
    return subtract(merge(row[:2] for row in book.failures.dump()), whole)


def _covered(opened: Opened, positions: Positions, progress: Progress, read: _Reader) -> Runs:
    """Return the messages of *positions* that *read* finds whole; each stretch is read once."""
    wanted: dict[Stretch, list[tuple[int, int]]] = {}
    for first, last, *place in positions.dump():
        wanted.setdefault(Stretch(*place), []).append((first, last))
    found: list[Run] = []
    for stretch in sorted(wanted):
        progress.advance(stretch.length)
        try:
            frames, _ = opened.log.salvage(stretch)
        except StorageError:
            continue
        whole = merge(run for frame in frames for run in _whole(opened, frame, read))
        found += intersect(merge(wanted[stretch]), whole)
    return merge(found)


def _whole(opened: Opened, frame: Frame, read: _Reader) -> list[Run]:
    try:
        return list(read(opened, frame))
    except (BatchError, StorageError):
        return []


def _batches(opened: Opened, frame: Frame) -> Iterator[Run]:
    fact, attachment = read_fact(frame)
    if isinstance(fact, Enqueued):
        reference = read_reference(attachment)
        data = opened.large.read(reference.name) if reference else attachment
        if reference is not None and len(data) != reference.size_bytes:
            raise CorruptionError(f"the file of {reference.name} has another size")
        yield from _spread([Run(fact.first, fact.first + fact.count)], [Batch.parse(data)])
    elif isinstance(fact, Moved):
        yield from _spread([moved_run(fact)], Batch.parse_many(read_moved(attachment)[0]))


def _failures(_: Opened, frame: Frame) -> Iterator[Run]:
    fact, attachment = read_fact(frame)
    if isinstance(fact, Died):
        runs, blobs = fact.runs, attachment
    elif isinstance(fact, Moved) and fact.dead:
        runs, blobs = merge(row[:2] for row in fact.dead), read_moved(attachment)[1]
    else:
        return
    yield from _spread(runs, Batch.parse_many(blobs)) if len(blobs) else runs


def _spread(runs: Iterable[Run], batches: list[Batch]) -> Iterator[Run]:
    """Yield the parts of runs that have a batch each, one after the other."""
    left = iter(batches)
    for first, last in runs:
        at = first
        while at < last and (batch := next(left, None)) is not None:
            yield Run(at, min(at + batch.count, last))
            at += batch.count


if TYPE_CHECKING:
    from collections.abc import Callable

    _Reader = Callable[[Opened, Frame], Iterator[Run]]
