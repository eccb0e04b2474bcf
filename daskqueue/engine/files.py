"""The files of one queue, opened together: its log, its results, its checkpoint, and the lock on its folder."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path

from daskqueue.core.snapshot import carry
from daskqueue.engine.book import Book
from daskqueue.engine.failures import read_failures
from daskqueue.engine.outcomes import OutcomeStore
from daskqueue.engine.records import Outcome, fact_frame, position_bytes
from daskqueue.engine.recovery import Recovered
from daskqueue.engine.settings import SETTLED_PART, QueueSettings
from daskqueue.errors import DiskFullError, QueueFailedError, StorageError
from daskqueue.storage import checkpoint
from daskqueue.storage.folder import FolderLock
from daskqueue.storage.frame import Buffer
from daskqueue.storage.fs import FileSystem, Volume
from daskqueue.storage.large import LargeFiles
from daskqueue.storage.log import Log, Position
from daskqueue.storage.positions import Entry
from daskqueue.storage.quarantine import Quarantine
from daskqueue.storage.reserve import Reserve

# How much log a start may have to read after the newest checkpoint.
CHECKPOINT_BYTES = 32 << 20
# When the disk was full a segment is sealed before its time from this size on, if most of the log is settled.
SPENT_BYTES = 64 << 10


class Files:
    """Everything of a queue that touches its folder; ``opening.open_files`` makes it.

    Attributes:
        ousted: is done, with why, once the folder is known to be no longer this process's own.
    """

    def __init__(
        self,
        fs: FileSystem,
        folder: Path,
        lock: FolderLock,
        log: Log,
        outcomes: OutcomeStore,
        book: Book,
        recovered: Recovered,
        settings: QueueSettings,
        reserve: Reserve,
        quarantine: Quarantine,
    ) -> None:
        self.log = log
        self.outcomes = outcomes
        self.book = book
        self.recovered = recovered
        self.large = LargeFiles(fs, folder, quarantine.note)
        self.ousted: Future[StorageError] = Future()
        log.guard = outcomes.log.guard = self.verify
        self.reserve = reserve
        self.quarantine = quarantine
        self._fs = fs
        self.folder = folder
        self._index_path = index_path(folder)
        self._lock = lock
        self._settings = settings
        self._checkpointed = log.size_bytes
        self.checkpoint_bytes = 0

    def sync(self) -> None:
        """Make everything written durable; results first, so that few acks have to be judged after a crash.

        Raises:
            QueueFailedError: the disk failed, or the folder is another's by now: nothing of it may count.
        """
        self.outcomes.log.sync()
        self.sync_log()

    def sync_log(self) -> None:
        """Make the log durable, and prove that whoever owns the folder next will find it.

        Raises:
            QueueFailedError: as for :meth:`sync`.
        """
        self.log.sync()
        self.verify()

    def verify(self) -> None:
        """Return if the folder is still this process's own; if it is not, nothing is accepted any more.

        Raises:
            QueueFailedError: it is not.
        """
        try:
            self._lock.verify()
        except StorageError as error:
            for log in (self.log, self.outcomes.log):
                log.fail(str(error))
            with suppress(InvalidStateError):  # two threads may have found out
                if self._lock.held:
                    self.ousted.set_result(error)
            raise QueueFailedError(str(error)) from error

    def need_upkeep(self) -> bool:
        """Return whether a segment is full or much was written since the last checkpoint."""
        return (
            self.log.tail.offset > self._settings.segment_bytes
            or self.outcomes.is_due()
            or self.log.size_bytes - self._checkpointed > CHECKPOINT_BYTES
        )

    def is_spent(self) -> bool:
        """Return whether most of the log is settled, the segment that is being written included."""
        size = self.log.size_bytes
        return size > SPENT_BYTES and self.book.sizes.total < (1 - SETTLED_PART) * size

    def roll(self, now: float, early: bool = False) -> None:
        """Seal the segments that are full, or with *early* that are not small, and begin new ones.

        Blocking, while nobody writes.
        """
        self.verify()
        self.outcomes.roll(now)
        if self.log.tail.offset > (SPENT_BYTES if early else self._settings.segment_bytes):
            self.sync()
            self.log.roll(self.book.queue.next_sequence, [head(self.book, self.outcomes.log.synced)])

    def take_checkpoint(self, now: float) -> tuple[Position, bytes]:
        """Return the state and the position of the log it belongs to."""
        self.book.sealed = self.outcomes.sealed
        return self.log.tail, self.book.dump(self.outcomes.log.tail, now)

    def write_checkpoint(self, taken: tuple[Position, bytes]) -> None:
        """Sync the log, then put a checkpoint in the place of the last one; blocking."""
        position, payload = taken
        self.sync()

        def write() -> None:
            checkpoint.write(self._fs, self._index_path, self.log.queue_id, position, payload, self.verify)

        try:
            write()
        except DiskFullError as error:
            self.reserve.draw(write, len(payload), error)
        self._checkpointed = self.log.size_bytes
        self.checkpoint_bytes = len(payload)

    def settled_segments(self) -> list[int]:
        """Return the numbers of the oldest segments in which nothing lives any more."""
        lives = (self.book.positions.oldest_live, self.book.failures.oldest_live, self.log.tail.segment)
        oldest = min(number for number in (*lives, *self.book.unknown) if number is not None)
        return [segment.number for segment in self.log.segments if segment.number < oldest]

    def drop(self, settled: Collection[int]) -> None:
        """Delete segments of the log, and those of the results that were retired; blocking."""
        self.verify()
        for number in settled:
            self.log.drop(number)
        self.outcomes.drop()
        self._checkpointed = min(self._checkpointed, self.log.size_bytes)

    def write_large(self, name: str, data: Buffer) -> None:
        """Put a record batch into a file of its own, before the log speaks of it; blocking."""
        self.verify()
        self.large.write(name, data)

    def remove_large(self, names: Collection[str]) -> None:
        """Delete files of record batches, once it is on the disk that they are not needed; blocking."""
        self.sync()
        self.large.remove(names)

    def read_failures(self, entry: Entry) -> list[Outcome]:
        """Return why the dead letters of *entry* died."""
        return read_failures(self.log, entry)

    def volume(self) -> Volume | None:
        """Return how much room there is where the folder lies, None if the disk does not say."""
        try:
            return self._fs.volume(self.folder)
        except OSError:
            return None

    def close(self) -> None:
        """Close the files and give up the lock, without a sync."""
        for close in (self.log.close, self.outcomes.close, self.reserve.close, self._lock.release):
            with suppress(OSError):  # the descriptor is gone whatever its close says, and the lock must go
                close()


def head(book: Book, results: Position) -> tuple[int, list[Buffer]]:
    """Return the frame at the head of a segment: what replay must know that begins here."""
    return fact_frame(carry(book.queue), position_bytes(results))


def index_path(folder: Path) -> Path:
    """Return the path of a queue's checkpoint."""
    return folder / f"{folder.name}.index"
