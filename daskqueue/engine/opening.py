"""Opening a queue's folder: its lock, what is there, a new segment, and away with what nobody needs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from daskqueue.clock import Clock, new_id, new_name
from daskqueue.core.commands import Restart
from daskqueue.core.decide import decide
from daskqueue.core.facts import Moved
from daskqueue.engine import room
from daskqueue.engine.batches import BatchReader
from daskqueue.engine.book import Book
from daskqueue.engine.files import Files, head, index_path
from daskqueue.engine.gaps import burial
from daskqueue.engine.identity import identify
from daskqueue.engine.outcomes import OutcomeStore
from daskqueue.engine.reclaim import move_at_opening
from daskqueue.engine.records import fact_frame, moved_attachment
from daskqueue.engine.recovery import Recovered, recover
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import DaskQueueError, DiskFullError, FolderError, QueueFailedError, StorageError
from daskqueue.storage.folder import TOKEN, FolderLock
from daskqueue.storage.fs import FileSystem
from daskqueue.storage.log import Log
from daskqueue.storage.quarantine import Quarantine
from daskqueue.storage.reserve import DISK_FULL, Reserve

logger = logging.getLogger(__name__)

Owner = Mapping[str, str | int | float | None]


def open_files(
    fs: FileSystem,
    folder: Path,
    owner: Owner,
    settings: QueueSettings,
    clock: Clock,
    *,
    create: bool,
    on_disk: bool = True,
) -> Files:
    """Lock the folder, recover what is in it, and begin a new segment; blocking.

    Args:
        fs: where the folder is.
        folder: the queue's folder.
        owner: what a second opener is told of this one.
        settings: what can be set about the queue.
        clock: moved forward if it is behind what the folder has seen.
        create: whether a missing folder is made; a queue that is opened again must find its own.
        on_disk: whether the disk can become full, so that a reserve is kept.

    Raises:
        DiskFullError: the disk has no room for a new segment, and the reserve is used up.
        FolderError: no such folder, or not a queue's.
        FolderInUseError: another process serves it.
        FormatError: written by a newer version.
    """
    reserve = Reserve(fs, folder if on_disk else None)
    with ExitStack() as undo:
        try:
            if create:
                fs.make_folder(folder)  # also one that is there: who made it may have been killed then
            elif not fs.exists(folder):
                raise FolderError(f"{folder} is gone: a queue that is re-opened must find its folder")
            lock = _lock(fs, folder, {TOKEN: new_name(), **owner}, reserve)
            undo.callback(lock.release)
            undo.callback(reserve.close)
            reserve.open()
            files = _open_locked(fs, folder, lock, settings, clock, reserve, undo, create=create)
            _tidy(files, clock.now())
        except OSError as error:
            if isinstance(error, DaskQueueError):
                raise
            refusal = DiskFullError if error.errno in DISK_FULL else FolderError
            raise refusal(f"cannot open the folder {folder}: {error}") from error
        undo.pop_all()
        return files


def _lock(fs: FileSystem, folder: Path, owner: Owner, reserve: Reserve) -> FolderLock:
    """Return the lock of a folder; what it says is written though the disk is full."""
    try:
        return FolderLock.take(fs, folder, owner)
    except FolderError as error:
        if getattr(error.__cause__, "errno", None) not in DISK_FULL:
            raise
        refusal = DiskFullError(str(error))
    reserve.open()
    try:
        return reserve.draw(lambda: FolderLock.take(fs, folder, owner), 0, refusal)
    except BaseException:
        reserve.close()
        raise


def _open_locked(
    fs: FileSystem,
    folder: Path,
    lock: FolderLock,
    settings: QueueSettings,
    clock: Clock,
    reserve: Reserve,
    undo: ExitStack,
    *,
    create: bool,
) -> Files:
    queue_id = identify(fs, folder, index_path(folder), lock.verify, create=create) or new_id()
    quarantine = Quarantine(fs, folder, lock.verify)
    log = Log.open(fs, folder, ".log", queue_id, reserve, quarantine.note, lock.verify, sure=True)
    results = Log.open(fs, folder, ".results", queue_id, reserve, quarantine.note, lock.verify, sure=True)
    undo.callback(log.close)
    undo.callback(results.close)
    book, recovered = recover(fs, log, results, index_path(folder), settings, clock)
    if recovered.checkpoint_damaged:
        quarantine.note(index_path(folder), 0, 0)
    _tell_unknown(folder, book)
    clock.not_before(recovered.saved_at)
    # Before the log: its head says how much of the results is whole, and they may be in the page cache only.
    outcomes = OutcomeStore(results, settings, clock, book.sealed)
    outcomes.start()
    log.epoch = max(log.epoch, book.queue.epoch + 1)  # the segments that tell it may be damaged
    _begin(log, book, recovered, settings, clock.now())
    with suppress(FolderError):  # said for people only, and the disk may be full
        lock.record(epoch=log.epoch)
    return Files(fs, folder, lock, log, outcomes, book, recovered, settings, reserve, quarantine)


def _tell_unknown(folder: Path, book: Book) -> None:
    if book.unknown:
        logger.warning(
            "%s has records of the unknown kinds %s: a newer daskqueue wrote them. They are kept and skipped, "
            "and from %s on no file of the log is removed until a version that knows them opens the folder",
            folder,
            sorted(set().union(*book.unknown.values())),
            min(book.unknown),
        )


def _begin(log: Log, book: Book, recovered: Recovered, settings: QueueSettings, now: float) -> None:
    """Begin this opening's segment, with what the opening means for leases and for messages that were lost."""
    _, facts = decide(book.queue, Restart(log.epoch, settings.grace_seconds), now)
    log.start(book.queue.next_sequence, [head(book, recovered.results)])
    for fact, stretch in zip(facts, log.append([fact_frame(fact) for fact in facts]), strict=True):
        book.enter(fact, stretch)
    for fact in burial(book.queue, recovered.lost, now):
        beside = moved_attachment(b"", b"") if isinstance(fact, Moved) else ()
        (stretch,) = log.append([fact_frame(fact, *beside)])
        book.enter(fact, stretch)


def _tidy(files: Files, now: float) -> None:
    """Remove what earlier openings left and nobody needs, write down what this one found, see to the reserve."""
    if files.recovered.damaged:
        _keep_orphans(files)
    files.large.keep_only(files.book.large.names, files.verify)
    files.book.large.gone.clear()
    try:
        _empty_oldest(files, now)
        files.write_checkpoint(files.take_checkpoint(now))
        _drop_old(files)
    except DiskFullError as error:
        logger.warning("A queue was opened without a checkpoint: %s", error)
    room.fill(files)


def _keep_orphans(files: Files) -> None:
    """Put aside the large record batches that no message is known to need: the record that did may be damaged."""
    for path in files.large.orphans(files.book.large.names):
        files.quarantine.keep(path)


def _empty_oldest(files: Files, now: float) -> None:
    try:
        move_at_opening(files, BatchReader(files.log, files.book.positions, files.large), now)
    except (DiskFullError, QueueFailedError):
        raise
    except StorageError as error:
        logger.warning("Old segments are not emptied for now: %s", error)


def _drop_old(files: Files) -> None:
    """Drop what the next round of upkeep would: a host that is restarted for ever must not pile up segments."""
    files.outcomes.retire_empty()
    try:
        files.drop(files.settled_segments())
    except QueueFailedError:
        raise
    except StorageError as error:
        logger.warning("Segments that are not needed any more stay for now: %s", error)
