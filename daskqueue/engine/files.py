"""The files of one queue, opened together: its log, its results, its checkpoint, and the lock on its folder."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from daskqueue.batch import Batch
from daskqueue.clock import Clock, new_id
from daskqueue.core.commands import Restart
from daskqueue.core.decide import decide
from daskqueue.core.facts import Died, Moved
from daskqueue.core.snapshot import carry
from daskqueue.engine.outcomes import OutcomeStore, Retired, cut
from daskqueue.engine.records import FAILED, Outcome, fact_frame, position_bytes, read_fact, read_moved
from daskqueue.engine.recovery import Book, Recovered, recover
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import FolderError
from daskqueue.message import Run
from daskqueue.storage import checkpoint
from daskqueue.storage.folder import FolderLock
from daskqueue.storage.frame import Buffer, Frame
from daskqueue.storage.fs import FileSystem, Volume
from daskqueue.storage.large import LargeFiles
from daskqueue.storage.log import Log, Position
from daskqueue.storage.positions import Entry
from daskqueue.storage.segment import HEADER_BYTES

# How much log a start may have to read after the newest checkpoint.
CHECKPOINT_BYTES = 32 << 20


class Files:
    """Everything of a queue that touches its folder. Made by :meth:`open`."""

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
    ) -> None:
        self.log = log
        self.outcomes = outcomes
        self.book = book
        self.recovered = recovered
        self.large = LargeFiles(fs, folder)
        self._fs = fs
        self._folder = folder
        self._index_path = _index_path(folder)
        self._lock = lock
        self._settings = settings
        self._checkpointed = log.size_bytes

    @classmethod
    def open(
        cls,
        fs: FileSystem,
        folder: Path,
        owner: Mapping[str, str | int | float | None],
        settings: QueueSettings,
        clock: Clock,
        *,
        create: bool,
    ) -> Files:
        """Lock the folder, recover what is in it, and begin a new segment; blocking.

        Args:
            fs: where the folder is.
            folder: the queue's folder.
            owner: what a second opener is told of this one.
            settings: what can be set about the queue.
            clock: moved forward if it is behind what the folder has seen.
            create: whether a missing folder is made; a queue that is opened again must find its own.

        Raises:
            FolderError: no such folder, or not a queue's.
            FolderInUseError: another process serves it.
            FormatError: written by a newer version.
        """
        if not fs.exists(folder):
            if not create:
                raise FolderError(f"{folder} is gone: a queue that is re-opened must find its folder")
            fs.make_folder(folder)
        lock = FolderLock.take(fs, folder, owner)
        try:
            return cls._open_locked(fs, folder, lock, settings, clock, create=create)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _open_locked(
        cls,
        fs: FileSystem,
        folder: Path,
        lock: FolderLock,
        settings: QueueSettings,
        clock: Clock,
        *,
        create: bool,
    ) -> Files:
        is_new = _remove_unborn(fs, folder)
        if is_new and not create:
            raise FolderError(f"{folder} has lost its log: a queue that is re-opened must find its files")
        log = Log.open(fs, folder, ".log", queue_id=new_id() if is_new else None)
        results = Log.open(fs, folder, ".results", queue_id=log.queue_id)
        book, recovered = recover(fs, log, results, _index_path(folder), settings, clock)
        clock.not_before(recovered.saved_at)
        _, facts = decide(book.queue, Restart(log.epoch, settings.grace_seconds), clock.now())
        log.start(book.queue.next_sequence, [_head(book, recovered.results)])
        for fact, stretch in zip(facts, log.append([fact_frame(fact) for fact in facts]), strict=True):
            book.enter(fact, stretch)
        lock.record(epoch=log.epoch)
        outcomes = OutcomeStore(results, settings, clock, book.sealed)
        outcomes.start()
        files = cls(fs, folder, lock, log, outcomes, book, recovered, settings)
        files.large.keep_only(book.large.names)
        book.large.gone.clear()
        files.write_checkpoint(files.take_checkpoint(clock.now()))
        return files

    def sync(self) -> None:
        """Make everything written durable; results first, so that few acks have to be judged after a crash."""
        self.outcomes.log.sync()
        self.log.sync()

    def need_upkeep(self) -> bool:
        """Return whether a segment is full or much was written since the last checkpoint."""
        return (
            self.log.tail.offset > self._settings.segment_bytes
            or self.outcomes.is_due()
            or self.log.size_bytes - self._checkpointed > CHECKPOINT_BYTES
        )

    def roll(self, now: float) -> None:
        """Seal the segments that are full and begin new ones; blocking, while nobody writes."""
        self.outcomes.roll(now)
        if self.log.tail.offset > self._settings.segment_bytes:
            self.sync()
            self.log.roll(self.book.queue.next_sequence, [_head(self.book, self.outcomes.log.synced)])

    def take_checkpoint(self, now: float) -> tuple[Position, bytes]:
        """Return the state and the position of the log it belongs to."""
        self.book.sealed = self.outcomes.sealed
        return self.log.tail, self.book.dump(self.outcomes.log.tail, now)

    def write_checkpoint(self, taken: tuple[Position, bytes]) -> None:
        """Sync the log, then put a checkpoint in the place of the last one; blocking."""
        position, payload = taken
        self.sync()
        checkpoint.write(self._fs, self._index_path, self.log.queue_id, position, payload)
        self._checkpointed = self.log.size_bytes

    def settled_segments(self) -> list[int]:
        """Return the numbers of the oldest segments in which nothing lives any more."""
        lives = (self.book.positions.oldest_live, self.book.failures.oldest_live, self.log.tail.segment)
        oldest = min(number for number in lives if number is not None)
        return [segment.number for segment in self.log.segments if segment.number < oldest]

    def drop(self, settled: Collection[int], retired: Retired) -> None:
        """Delete segments of the log and of the results; blocking."""
        for number in settled:
            self.log.drop(number)
        self.outcomes.drop(retired)
        self._checkpointed = min(self._checkpointed, self.log.size_bytes)

    def remove_large(self, names: Collection[str]) -> None:
        """Delete files of record batches, once it is on the disk that they are not needed; blocking."""
        self.sync()
        self.large.remove(names)

    def read_failures(self, entry: Entry) -> list[Outcome]:
        """Return why the dead letters of *entry* died."""
        wanted = [Run(entry.first, entry.last)]
        return [
            part
            for frame in self.log.read(entry.stretch)
            for failed in _failures(frame)
            for part in cut(failed, wanted)
        ]

    def volume(self) -> Volume | None:
        """Return how much room there is where the folder lies, None if the disk does not say."""
        try:
            return self._fs.volume(self._folder)
        except OSError:
            return None

    def close(self) -> None:
        """Close the files and give up the lock, without a sync."""
        self.log.close()
        self.outcomes.close()
        self._lock.release()


def _remove_unborn(fs: FileSystem, folder: Path) -> bool:
    """Return whether the folder holds no queue yet; what a crash left of the very first opening is removed."""
    logs = [folder / name for name in fs.names(folder) if name.endswith((".log", ".results"))]
    if any(_size(fs, path) >= HEADER_BYTES for path in logs if path.suffix == ".log"):
        return False
    for path in logs:
        fs.remove(path)
    return True


def _size(fs: FileSystem, path: Path) -> int:
    handle = fs.open(path)
    try:
        return fs.size(handle)
    finally:
        fs.close(handle)


def _head(book: Book, results: Position) -> tuple[int, list[Buffer]]:
    """Return the frame at the head of a segment: what replay must know that begins here."""
    return fact_frame(carry(book.queue), position_bytes(results))


def _index_path(folder: Path) -> Path:
    return folder / f"{folder.name}.index"


def _failures(frame: Frame) -> Iterator[Outcome]:
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
