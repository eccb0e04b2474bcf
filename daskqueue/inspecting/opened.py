"""A queue's folder, opened for reading: what is in it, and the state that it comes to."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Self

from daskqueue.clock import Clock
from daskqueue.engine.batches import BatchReader
from daskqueue.engine.identity import identify
from daskqueue.engine.recovery import recover
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import FolderError
from daskqueue.inspecting.held import HeldFiles
from daskqueue.inspecting.read_only import ReadOnlyFileSystem
from daskqueue.storage import checkpoint, folder
from daskqueue.storage.large import LargeFiles
from daskqueue.storage.log import Log
from daskqueue.storage.segment import SegmentFolder

if TYPE_CHECKING:
    from pathlib import Path

    from daskqueue.engine.book import Book
    from daskqueue.engine.recovery import Recovered
    from daskqueue.storage.fs import FileSystem
    from daskqueue.storage.log import Position


class NoQueueError(FolderError):
    """Nobody was ever answered by a queue in this folder."""


class Opened:
    """What one look at a queue's folder saw: how far its files went then is how far this reads them.

    Args:
        fs: where the folder is.
        path: the folder.
        name: what the folder will be called, where that is not yet its name.

    Attributes:
        fs: the files as they were then; through it nothing can be written.
        path: the folder.
        index_path: its checkpoint.
        log, results: how far they went.
        large: the record batches in files of their own.
        log_files, result_files: how the segments of each are called.

    Raises:
        NoQueueError: there is none yet.
        FolderError: the folder cannot be read, or has lost its log, or holds somebody else's files.
        FormatError: a newer version wrote there.
    """

    def __init__(self, fs: FileSystem, path: Path, name: str | None = None) -> None:
        self.fs = HeldFiles(fs, path)
        self.path = path
        self.index_path = path / f"{name or path.name}.index"
        try:
            self.queue_id = identity(self.fs, path, self.index_path)
            self.log, self.results = self._logs()
        except BaseException:
            self.fs.release()
            raise
        self.large = LargeFiles(self.fs, path)
        self.log_files = SegmentFolder(self.fs, path, ".log")
        self.result_files = SegmentFolder(self.fs, path, ".results")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()
        self.results.close()
        self.fs.release()

    def fold(self, *, use_checkpoint: bool = True, clock: Clock | None = None) -> tuple[Book, Recovered]:
        """Return the state that the folder comes to, as the next opening would find it.

        Args:
            use_checkpoint: begin with the checkpoint, as an opening does; otherwise with the oldest segment.
            clock: moved forward to the newest moment that the folder tells.
        """
        log, results = self._logs()  # anew, as a replay takes note of how far it has come
        settings, clock = QueueSettings(), clock or Clock()
        try:
            return recover(
                self.fs, log, results, self.index_path, settings, clock, use_checkpoint=use_checkpoint
            )
        finally:
            log.close()
            results.close()

    def checkpointed(self) -> Position | None:
        """Return the place of the log up to which the checkpoint tells that it was on the disk."""
        saved, _ = checkpoint.read(self.fs, self.index_path, self.queue_id)
        return None if saved is None else saved.position

    def large_names(self) -> list[str]:
        """Return the names of the files for large record batches.

        Raises:
            FolderError: their folder cannot be read.
        """
        folder = self.path / "large"
        try:
            return self.fs.names(folder) if self.fs.exists(folder) else []
        except OSError as error:
            raise FolderError(f"cannot read the folder {folder}: {error.strerror or error}") from error

    def _logs(self) -> tuple[Log, Log]:
        log = Log.open(self.fs, self.path, ".log", self.queue_id, sure=True)
        return log, Log.open(self.fs, self.path, ".results", self.queue_id, sure=True)

    def reader(self, book: Book) -> BatchReader:
        """Return what reads the messages of a state."""
        return BatchReader(self.log, book.positions, self.large)


def identity(fs: FileSystem, path: Path, index_path: Path) -> bytes:
    """Return the id of the queue in a folder.

    Raises:
        NoQueueError: its very first opening was interrupted, so there is none yet.
        FolderError: the folder cannot be read, or has lost its log, or holds somebody else's files.
        FormatError: a newer version wrote there.
    """
    try:
        queue_id = identify(ReadOnlyFileSystem(fs), path, index_path, lambda: None, create=True)
    except OSError as error:
        if isinstance(error, FolderError):
            raise
        if error.errno != errno.EROFS:
            raise FolderError(f"cannot read the folder {path}: {error.strerror or error}") from error
        queue_id = None  # there is something that an opening would remove before it begins anew
    if queue_id is None:
        raise NoQueueError(f"{path} holds no queue yet: its very first opening was not finished")
    return queue_id


def owner_of(fs: FileSystem, path: Path) -> dict[str, Any] | None:
    """Return what the lock file says of the process that has the folder open; None if none has."""
    try:
        if not fs.is_locked(path / folder.NAME):
            return None
    except OSError:
        return None
    return folder.read_owner(fs, path) or {}
