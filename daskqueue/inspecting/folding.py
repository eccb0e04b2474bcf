"""The state that the log of a queue comes to: with its checkpoint, and without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskqueue.core import reads
from daskqueue.core.runs import Runs, merge
from daskqueue.inspecting.agreement import differences
from daskqueue.inspecting.opened import Opened
from daskqueue.inspecting.progress import Silence

if TYPE_CHECKING:
    from pathlib import Path

    from daskqueue.core.queue import Queue
    from daskqueue.engine.book import Book
    from daskqueue.inspecting.progress import Progress
    from daskqueue.storage.fs import FileSystem


def replay_queue(path: Path, fs: FileSystem, progress: Progress | None = None) -> dict[str, Any]:
    """Return what the log of a queue comes to, and whether its checkpoint says the same.

    Args:
        path: the folder of one queue.
        fs: where it is.
        progress: hears how far this is.

    Raises:
        FolderError: the folder cannot be read, or is no queue's.
        FormatError: a newer version wrote there.
    """
    progress = progress or Silence()
    with Opened(fs, path) as opened:
        progress.begin(f"{path.name}: with its checkpoint", 2 * opened.log.size_bytes)
        book, recovered = opened.fold()
        progress.advance(opened.log.size_bytes)
        alone, _ = opened.fold(use_checkpoint=False)
        problem = recovered.checkpoint_problem
        found = [] if problem else differences(book.queue, alone.queue, recovered.saved_at)
        return {
            "queue": path.name,
            "checkpoint": f"not used: {problem}" if problem else "used",
            "agree": not found,
            "differences": [each._asdict() for each in found],
            "replayed": recovered.frames,
            "state": summary(book),
        }


def summary(book: Book) -> dict[str, Any]:
    """Return what is to be said of a state, as JSON has it."""
    queue = book.queue
    counters = queue.counters
    return {
        "messages": {str(state): number for state, number in reads.counts(queue).items()},
        "next_sequence": queue.next_sequence,
        "epoch": queue.epoch,
        "paused": queue.paused,
        "oldest": _oldest(book),
        "leases": [
            {
                "lease": lease.number,
                "epoch": lease.epoch,
                "consumer": lease.consumer,
                "pool": lease.pool,
                "runs": [tuple(run) for run in merge(piece[:2] for piece in lease.runs)],
            }
            for lease in queue.leases.values()
        ],
        "dead_by_reason": _by_reason(queue),
        "groups": len(queue.groups.lines),
        "keys": {"of waiting messages": len(queue.keys.pending), "kept": len(queue.keys.kept)},
        "producers": len(queue.producers),
        "large_files": len(book.large.names),
        "counters": {name: getattr(counters, name) for name in counters.__slots__},
    }


def _oldest(book: Book) -> dict[str, Any] | None:
    """Return the oldest message that waits or runs, and when it was put, as far as that is known."""
    sequences = [run.first for run in _unsettled(book.queue)]
    return {"sequence": sequences[0], "put_at": book.marks.put_at(sequences[0])} if sequences else None


def _unsettled(queue: Queue) -> Runs:
    maps = (queue.ready, queue.delayed.runs, queue.blocked)
    pieces = [piece[:2] for runs in maps for piece in runs]
    return merge(pieces + [piece[:2] for lease in queue.leases.values() for piece in lease.runs])


def _by_reason(queue: Queue) -> dict[str, int]:
    found: dict[str, int] = {}
    for first, last, letter in queue.dead:
        found[letter.reason] = found.get(letter.reason, 0) + last - first
    return found
