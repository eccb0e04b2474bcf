"""The sentences of an inspection: for somebody who was woken for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskqueue.core.runs import Runs, count, intersect, merge, subtract
from daskqueue.engine.gaps import DAMAGED
from daskqueue.errors import FolderError
from daskqueue.inspecting.findings import Finding
from daskqueue.message import Run

if TYPE_CHECKING:
    from pathlib import Path

    from daskqueue.core.queue import Queue
    from daskqueue.errors import FormatError, StorageError
    from daskqueue.inspecting.findings import QueueReport
    from daskqueue.storage.fs import FileSystem

_QUARANTINE = "quarantine"
MOST = 8
REPAIR = "a queue opens this folder and goes round it; `daskqueue repair DIR --to NEW_DIR` writes a whole one"


def words_of(runs: Runs) -> str:
    """Return runs as people write them, the first few of many."""
    shown = [str(first) if last == first + 1 else f"{first} to {last - 1}" for first, last in runs[:MOST]]
    more = f" and {len(runs) - MOST:,} more runs" if len(runs) > MOST else ""
    return f"{', '.join(shown)}{more}"


def of(number: int, what: str) -> str:
    """Return how many there are of something, as people write it."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _messages(number: int) -> str:
    return of(number, "message")


# The folder


def pool_file(trouble: str) -> Finding:
    """Say that ``pool.json`` cannot be used."""
    return Finding(
        "unusable",
        trouble,
        "the queues beside it are not touched by that; what is said of each follows",
        "take it from a backup, or let `daskqueue repair DIR --to NEW_DIR` write it anew",
    )


def in_use(report: QueueReport) -> None:
    """Say who has the folder open."""
    owner = ", ".join(f"{name} {value}" for name, value in (report.in_use or {}).items() if value is not None)
    report.findings.insert(
        0,
        Finding(
            "note",
            f"in use by {owner or 'an unknown process'}",
            "what is being written at this moment may look torn or damaged",
            "stop the queue and look again, if anything is said to be wrong",
        ),
    )


def newer(report: QueueReport, error: FormatError) -> None:
    """Say that a newer version wrote there."""
    report.say("unusable", str(error), "nothing is known of its messages", "use the daskqueue that wrote it")


def cannot_open(report: QueueReport, error: StorageError) -> None:
    """Say why the folder cannot be opened."""
    report.say("unusable", str(error), "a queue does not open this folder, and changes nothing in it")


def quarantine_of(fs: FileSystem, path: Path) -> list[str]:
    """Return the names of the files that were put aside when they were found damaged.

    Raises:
        FolderError: the folder cannot be read.
    """
    folder = path / _QUARANTINE
    try:
        return sorted(fs.names(folder)) if fs.exists(folder) else []
    except OSError as error:
        raise FolderError(f"cannot read the folder {folder}: {error.strerror or error}") from error


# The messages


def messages(report: QueueReport, queue: Queue, failures: Runs) -> None:
    """Say which messages are not whole."""
    gone = tuple(Run(*run) for run in report.unreadable)
    dead = merge(piece[:2] for piece in queue.dead if piece[2].reason == DAMAGED)
    if known := intersect(gone, dead):
        report.say(
            "wrong",
            f"{_messages(count(known))} cannot be read, which is known: they are dead letters: {words_of(known)}",
            "their jobs have failed with the reason `damaged`; they never run",
            f"submit them again; then `daskqueue dead purge --reason {DAMAGED}`",
        )
    if new := subtract(gone, dead):
        report.say(
            "wrong",
            f"{_messages(count(new))} cannot be read: {words_of(new)}",
            f"when they are to run they become dead letters of the reason `{DAMAGED}`; they never run",
            "submit them again, if whoever submitted them still knows how",
        )
    if lost := tuple(Run(*run) for run in report.lost):
        report.say(
            "wrong",
            f"of {_messages(count(lost))} it is only known that they were put: {words_of(lost)}",
            f"the next opening makes dead letters of the reason `{DAMAGED}` of them; they may have run, or not",
            "submit them again, if that does no harm",
        )
    if failures:
        report.say(
            "wrong",
            f"of {_messages(count(failures))} among the dead letters it cannot be read why: {words_of(failures)}",
            "the messages themselves can be run again with `daskqueue dead redrive`, as far as they are whole",
        )
