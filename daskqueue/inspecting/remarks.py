"""The sentences of an inspection: for somebody who was woken for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskqueue.core.runs import Runs, count, intersect, merge, subtract
from daskqueue.engine.gaps import DAMAGED
from daskqueue.inspecting.findings import Finding
from daskqueue.message import Run

if TYPE_CHECKING:
    from pathlib import Path

    from daskqueue.core.queue import Queue
    from daskqueue.engine.book import Book
    from daskqueue.engine.recovery import Recovered
    from daskqueue.errors import FormatError, StorageError
    from daskqueue.inspecting.agreement import Difference
    from daskqueue.inspecting.findings import LogReport, QueueReport
    from daskqueue.inspecting.opened import Opened
    from daskqueue.inspecting.scanning import Scan
    from daskqueue.storage.fs import FileSystem
    from daskqueue.storage.log import Stretch
    from daskqueue.storage.segment import SegmentFolder

_QUARANTINE = "quarantine"
_MOST_RUNS = 8
_REPAIR = (
    "a queue opens this folder and goes round it; `daskqueue repair DIR --to NEW_DIR` writes a whole one"
)


def words_of(runs: Runs) -> str:
    """Return runs as people write them, the first few of many."""
    shown = [
        str(first) if last == first + 1 else f"{first} to {last - 1}" for first, last in runs[:_MOST_RUNS]
    ]
    more = f" and {len(runs) - _MOST_RUNS:,} more runs" if len(runs) > _MOST_RUNS else ""
    return f"{', '.join(shown)}{more}"


def _messages(number: int) -> str:
    return "1 message" if number == 1 else f"{number:,} messages"


# The folder


def pool_file(trouble: str) -> Finding:
    """Say that ``pool.json`` cannot be used."""
    return Finding(
        "unusable",
        trouble,
        "the queues beside it are not touched by that; what is said of each follows",
        'write the file anew: {"format": 1, "pool": "any UUID", "name": "<the part before -queue->", '
        '"queues": <how many>}, or take it from a backup',
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
    """Return the names of the files that were put aside when they were found damaged."""
    folder = path / _QUARANTINE
    return sorted(fs.names(folder)) if fs.exists(folder) else []


# The files


def log(report: QueueReport, scan: Scan, opened: Opened) -> None:
    """Say what is not whole in the log."""
    means = "what was put or said of messages there is gone, see below"
    _segments(report, scan.report, means)
    known = opened.checkpointed()
    for number, offset, length in scan.torn:
        if known is not None and number == known.segment and offset < known.offset:
            name = opened.log_files.file(number).name
            what = f"{name}: the last {length:,} bytes are damaged: the checkpoint tells that they were whole"
            report.say("wrong", what, means, _REPAIR)
    _nonsense(report, scan.nonsense, opened.log_files, "a fact")
    _unknown(report, scan.report)
    if report.quarantine:
        report.say(
            "note",
            f"{len(report.quarantine)} files are in quarantine: {', '.join(report.quarantine[:_MOST_RUNS])}",
            "they were put aside when damage was found in them; no queue reads them",
            "delete them when nobody wants to look into them any more",
        )


def results(report: QueueReport, scan: Scan, opened: Opened) -> None:
    """Say what is not whole in the results."""
    means = (
        "results that were there are gone; their jobs say ResultExpiredError, and nothing runs again for it"
    )
    _segments(report, scan.report, means)
    _nonsense(report, scan.nonsense, opened.result_files, "an outcome")
    _unknown(report, scan.report)


def _segments(report: QueueReport, log: LogReport, means: str) -> None:
    for name, offset, length in log.damaged:
        report.say("wrong", f"{name}: {length:,} bytes from byte {offset:,} on are damaged", means, _REPAIR)
    if log.torn_bytes:
        report.say(
            "note",
            f"{log.torn_bytes:,} bytes of unfinished last writes",
            "normal after a crash: nobody was told that they were written",
        )
    if log.strays:
        report.say(
            "note",
            f"{len(log.strays)} segments do not count: {', '.join(log.strays[:_MOST_RUNS])}",
            "normal after a crash, or of a former owner that wrote on: nobody was told that it was written",
        )


def _nonsense(report: QueueReport, stretches: list[Stretch], place: SegmentFolder, what: str) -> None:
    for number, offset, length in stretches[:_MOST_RUNS]:
        report.say(
            "wrong",
            f"{place.file(number).name}: the {length:,} bytes from byte {offset:,} on have the right checksum "
            f"and are not {what}",
            "they were written like this, by a fault of daskqueue or by somebody else; they are passed over",
            f"report it, with the file; {_REPAIR}",
        )
    if len(stretches) > _MOST_RUNS:
        report.say("wrong", f"and so are {len(stretches) - _MOST_RUNS:,} more")


def _unknown(report: QueueReport, log: LogReport) -> None:
    if log.unknown_kinds:
        kinds = ", ".join(f"{number:,} of kind {kind}" for kind, number in sorted(log.unknown_kinds.items()))
        report.say(
            "note", f"records that this version does not know: {kinds}", "they are kept, and passed over"
        )


def checkpoint(report: QueueReport, opened: Opened, recovered: Recovered) -> None:
    """Say whether the checkpoint is used."""
    problem, name = recovered.checkpoint_problem, opened.index_path.name
    report.checkpoint = f"not used: {problem}" if problem else "used"
    slow = "the next opening reads the whole log, which takes longer; nothing is lost by it"
    if not problem:
        return
    if "is gone" in problem:
        means = "the last segments were deleted; what was put or said of messages since is not known any more"
        report.say(
            "wrong", f"{name}: {problem}", means, "put the *.log files back, before a queue opens this folder"
        )
        return
    if opened.fs.exists(opened.index_path):
        report.say("wrong", f"{name}: {problem}", slow, "nothing: it is written anew then")
        return
    others = [other for other in opened.fs.names(opened.path) if other.endswith(".index")]
    if others:
        todo = f"give the folder its name back, if {', '.join(sorted(others))} is its own"
        report.say("wrong", f"there is no checkpoint {name}, but one of another name", slow, todo)
    else:
        report.say("note", problem, slow)


def disagreement(report: QueueReport, found: list[Difference]) -> None:
    """Say where the checkpoint and the log differ."""
    if not found:
        return
    what = "; ".join(
        f"{each.what}: {words_of(each.runs) if each.runs else each.words}" for each in found[:_MOST_RUNS]
    )
    if report.log.damaged or any("right checksum" in finding.what for finding in report.findings):
        means = "the checkpoint knows what stood in the damaged bytes, and is believed"
        report.say("note", f"the checkpoint knows more than the log: {what}", means)
        return
    report.say(
        "wrong",
        f"the checkpoint says other things than the log: {what}",
        "an opening believes the checkpoint",
        "report it, with a copy of the folder; segments may also have been deleted by hand",
    )


def large_files(report: QueueReport, opened: Opened, book: Book) -> None:
    """Say which record batches in files of their own are missing, or not needed."""
    needed = {f"{name}.batch" for name in book.large.names}
    folder = opened.path / "large"
    there = set(opened.fs.names(folder)) if opened.fs.exists(folder) else set()
    report.large_files = len(needed)
    for name in sorted(needed - there):
        report.say(
            "wrong", f"large/{name} is gone", "its messages cannot be read, see below", "a backup may have it"
        )
    if there - needed:
        report.say(
            "note",
            f"{len(there - needed)} files in large/ are not needed",
            "normal after a crash; the next opening removes them",
        )


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
            f"{_messages(count(lost))} were put, and nothing more is known of them: {words_of(lost)}",
            f"the next opening makes dead letters of the reason `{DAMAGED}` of them; they may have run, or not",
            "submit them again, if that does no harm",
        )
    if failures:
        report.say(
            "wrong",
            f"of {_messages(count(failures))} among the dead letters it cannot be read why: {words_of(failures)}",
            "the messages themselves can be run again with `daskqueue dead redrive`, as far as they are whole",
        )
