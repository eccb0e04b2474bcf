"""Is a folder sound? If not: what is wrong, what it means for messages, and what can be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskqueue.core import reads
from daskqueue.core.runs import count, subtract
from daskqueue.errors import FormatError, StorageError
from daskqueue.inspecting import file_remarks, remarks
from daskqueue.inspecting.agreement import differences, live
from daskqueue.inspecting.findings import WRONG, QueueReport, Report
from daskqueue.inspecting.opened import NoQueueError, Opened, owner_of
from daskqueue.inspecting.payloads import unreadable, unreadable_failures
from daskqueue.inspecting.places import find
from daskqueue.inspecting.progress import Silence
from daskqueue.inspecting.read_only import ReadOnlyFileSystem
from daskqueue.inspecting.scanning import scan_facts, scan_results
from daskqueue.storage import checkpoint, segment
from daskqueue.storage.fs import LocalFileSystem

if TYPE_CHECKING:
    from pathlib import Path

    from daskqueue.engine.book import Book
    from daskqueue.inspecting.progress import Progress
    from daskqueue.storage.fs import FileSystem

# What is read while somebody writes may look wrong once; three times it hardly does.
_LOOKS = 3


def verify(path: Path, fs: FileSystem | None = None, progress: Progress | None = None) -> Report:
    """Return what is to be said of a folder of a pool or of a queue; nothing in it is changed.

    Args:
        path: the folder.
        fs: where it is; the disks of this machine by default.
        progress: hears how far this is.

    Raises:
        FolderError: the folder is neither, or cannot be read.
        FormatError: a newer version wrote its ``pool.json``.
    """
    fs = ReadOnlyFileSystem(fs or LocalFileSystem())
    place = find(fs, path)
    report = Report(str(path), place.pool.name if place.pool else None)
    if place.trouble:
        report.findings.append(remarks.pool_file(place.trouble))
    for queue in place.queues:
        report.queues.append(verify_queue(queue.path, fs, progress))
    return report


def verify_queue(
    path: Path, fs: FileSystem, progress: Progress | None = None, name: str | None = None
) -> QueueReport:
    """Return what is to be said of the folder of one queue.

    Args:
        path: the folder.
        fs: where it is.
        progress: hears how far this is.
        name: what the folder will be called, where that is not yet its name.
    """
    progress = progress or Silence()
    for _ in range(_LOOKS):
        report = _look(path, fs, progress, name or path.name)
        if report.in_use is None or report.exit_code < WRONG:
            break
    if report.in_use is not None:
        remarks.in_use(report)
    return report


def _look(path: Path, fs: FileSystem, progress: Progress, name: str) -> QueueReport:
    report = QueueReport(name, owner_of(fs, path))
    try:
        report.quarantine = remarks.quarantine_of(fs, path)
        with Opened(fs, path, name) as opened:
            _examine(report, opened, progress)
    except NoQueueError as error:
        report.say("note", str(error), "nothing was ever put there")
    except FormatError as error:
        remarks.newer(report, error)
    except StorageError as error:
        remarks.cannot_open(report, error)
    return report


def _examine(report: QueueReport, opened: Opened, progress: Progress) -> None:
    """Fill a report, in the order in which it is read."""
    report.queue_id = opened.log.queue_id.hex()
    report.epoch = opened.log.epoch - 1
    report.formats = {"segments": segment.VERSION}
    if opened.fs.exists(opened.index_path):
        report.formats["checkpoint"] = checkpoint.VERSION
    progress.begin(f"{report.name}: log", opened.log.size_bytes)
    facts = scan_facts(opened.log, opened.log_files, progress)
    progress.begin(f"{report.name}: results", opened.results.size_bytes)
    results = scan_results(opened.results, opened.result_files, progress)
    report.log, report.results = facts.report, results.report
    book, recovered = opened.fold()
    _count(report, book)
    progress.begin(f"{report.name}: messages", opened.log.size_bytes)
    gone = unreadable(opened, book, progress)
    failures = unreadable_failures(opened, book, progress)
    report.checked = count(live(book.queue)) - count(gone)
    report.lost = [(run.first, run.last) for run in recovered.lost]
    report.unreadable = [(run.first, run.last) for run in subtract(gone, recovered.lost)]
    file_remarks.log(report, facts, opened)
    file_remarks.missing_segments(report, opened, book)
    file_remarks.results(report, results, opened)
    file_remarks.checkpoint(report, opened, recovered)
    if not recovered.checkpoint_problem:
        # Whether the log alone says what the checkpoint, and the log after it, say.
        alone, _ = opened.fold(use_checkpoint=False)
        file_remarks.disagreement(report, differences(book.queue, alone.queue, recovered.saved_at))
    file_remarks.large_files(report, opened, book)
    remarks.messages(report, book.queue, failures)


def _count(report: QueueReport, book: Book) -> None:
    counts = {str(state): number for state, number in reads.counts(book.queue).items()}
    settled = book.queue.next_sequence - sum(counts.values())
    report.messages = counts | {"settled": settled}
    report.next_sequence = book.queue.next_sequence
