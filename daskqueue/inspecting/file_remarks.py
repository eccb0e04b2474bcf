"""The sentences of an inspection that are about files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskqueue.inspecting.remarks import MOST, REPAIR, of, words_of

if TYPE_CHECKING:
    from daskqueue.engine.book import Book
    from daskqueue.engine.recovery import Recovered
    from daskqueue.inspecting.agreement import Difference
    from daskqueue.inspecting.findings import LogReport, QueueReport
    from daskqueue.inspecting.opened import Opened
    from daskqueue.inspecting.scanning import Scan
    from daskqueue.storage.log import Stretch
    from daskqueue.storage.segment import SegmentFolder

_NONSENSE = "have the right checksum"
_GONE = "is gone"


def log(report: QueueReport, scan: Scan, opened: Opened) -> None:
    """Say what is not whole in the log."""
    means = "what was put or said of messages there is gone, see below"
    _segments(report, scan.report, means)
    known = opened.checkpointed()
    for number, offset, length in scan.torn:
        if known is not None and number == known.segment and offset < known.offset:
            name = opened.log_files.file(number).name
            what = f"{name}: the last {length:,} bytes are damaged: the checkpoint tells that they were whole"
            report.say("wrong", what, means, REPAIR)
    _nonsense(report, scan.nonsense, opened.log_files, "a fact")
    _unknown(report, scan.report)
    if report.quarantine:
        report.say(
            "note",
            f"{of(len(report.quarantine), 'file')} in quarantine: {', '.join(report.quarantine[:MOST])}",
            "they were put aside when damage was found in them; no queue reads them",
            "delete them when nobody wants to look into them any more",
        )


def missing_segments(report: QueueReport, opened: Opened, book: Book) -> None:
    """Say which segments the messages need that are not there."""
    there = {segment.number for segment in opened.log.segments}
    needed = {row[2] for row in (*book.positions.dump(), *book.failures.dump())}
    for number in sorted(needed - there):
        report.say(
            "wrong",
            f"{opened.log_files.file(number).name} {_GONE}, although messages in it are needed",
            "no queue removes such a segment; the messages cannot be read, see below",
            "put it back, from a backup or from where it was moved to, before a queue opens this folder",
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
        report.say("wrong", f"{name}: {length:,} bytes from byte {offset:,} on are damaged", means, REPAIR)
    if log.torn_bytes:
        report.say(
            "note",
            f"{log.torn_bytes:,} bytes of unfinished last writes",
            "normal after a crash: nobody was told that they were written",
        )
    if log.strays:
        report.say(
            "note",
            f"{of(len(log.strays), 'segment')} beside those that count: {', '.join(log.strays[:MOST])}",
            "normal after a crash, or of a former owner that wrote on: nobody was told that it was written",
        )


def _nonsense(report: QueueReport, stretches: list[Stretch], place: SegmentFolder, what: str) -> None:
    for number, offset, length in stretches[:MOST]:
        report.say(
            "wrong",
            f"{place.file(number).name}: the {length:,} bytes from byte {offset:,} on {_NONSENSE} "
            f"and are not {what}",
            "they were written like this, by a fault of daskqueue or by somebody else; they are passed over",
            f"report it, with the file; {REPAIR}",
        )
    if len(stretches) > MOST:
        report.say("wrong", f"and so are {len(stretches) - MOST:,} more")


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
        f"{each.what}: {words_of(each.runs) if each.runs else each.words}" for each in found[:MOST]
    )
    told = [finding.what for finding in report.findings]
    if report.log.damaged or any(_NONSENSE in what or _GONE in what for what in told):
        means = "the checkpoint knows what stood in what is damaged or gone, and is believed"
        report.say("note", f"the checkpoint knows more than the log: {what}", means)
        return
    report.say(
        "wrong",
        f"the checkpoint says other things than the log: {what}",
        "an opening believes the checkpoint",
        "report it, with a copy of the folder",
    )


def large_files(report: QueueReport, opened: Opened, book: Book) -> None:
    """Say which record batches in files of their own are missing, or not needed."""
    needed = {f"{name}.batch" for name in book.large.names}
    there = set(opened.large_names())
    report.large_files = len(needed)
    for name in sorted(needed - there):
        report.say(
            "wrong", f"large/{name} is gone", "its messages cannot be read, see below", "a backup may have it"
        )
    if there - needed:
        report.say(
            "note",
            f"{of(len(there - needed), 'file')} in large/ that nobody needs",
            "normal after a crash; the next opening removes them",
        )
