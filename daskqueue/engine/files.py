"""The files of one queue, opened together: its log, its results, its checkpoint, and the lock on its folder."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import ExitStack, suppress
from pathlib import Path

from daskqueue.batch import Batch
from daskqueue.clock import Clock, new_id, new_name
from daskqueue.core.commands import Restart
from daskqueue.core.decide import decide
from daskqueue.core.facts import Died, Moved
from daskqueue.core.runs import merge, subtract
from daskqueue.core.snapshot import carry
from daskqueue.engine.batches import BatchReader
from daskqueue.engine.book import Book
from daskqueue.engine.gaps import DAMAGED, burial
from daskqueue.engine.identity import identify
from daskqueue.engine.outcomes import OutcomeStore, cut
from daskqueue.engine.reclaim import move_at_opening
from daskqueue.engine.records import (
    FAILED,
    Outcome,
    fact_frame,
    moved_attachment,
    position_bytes,
    read_fact,
    read_moved,
)
from daskqueue.engine.recovery import Recovered, recover
from daskqueue.engine.settings import SETTLED_PART, QueueSettings
from daskqueue.errors import (
    BatchError,
    CorruptionError,
    DaskQueueError,
    DiskFullError,
    FolderError,
    QueueFailedError,
    StorageError,
)
from daskqueue.message import Run
from daskqueue.storage import checkpoint
from daskqueue.storage.folder import TOKEN, FolderLock
from daskqueue.storage.frame import Buffer, Frame
from daskqueue.storage.fs import FileSystem, Volume
from daskqueue.storage.large import LargeFiles
from daskqueue.storage.log import Log, Position
from daskqueue.storage.positions import Entry
from daskqueue.storage.quarantine import Quarantine
from daskqueue.storage.reserve import DISK_FULL, LARGEST_BYTES, SMALLEST_BYTES, Reserve

# How much log a start may have to read after the newest checkpoint.
CHECKPOINT_BYTES = 32 << 20
# Leases, acks and small results of messages take about this part of the messages' own bytes.
SHARE = 4

# When the disk was full a segment is sealed before its time from this size on, if most of the log is settled.
SPENT_BYTES = 64 << 10

logger = logging.getLogger(__name__)


class Files:
    """Everything of a queue that touches its folder. Made by :meth:`open`.

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
        self._folder = folder
        self._index_path = _index_path(folder)
        self._lock = lock
        self._settings = settings
        self._checkpointed = log.size_bytes
        self._checkpoint_bytes = 0

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
                    fs.make_folder(
                        folder
                    )  # one that is there may have been made by somebody who was killed then
                elif not fs.exists(folder):
                    raise FolderError(f"{folder} is gone: a queue that is re-opened must find its folder")
                lock = _lock(fs, folder, {TOKEN: new_name(), **owner}, reserve)
                undo.callback(lock.release)
                undo.callback(reserve.close)
                reserve.open()
                files = cls._open_locked(fs, folder, lock, settings, clock, reserve, undo, create=create)
            except OSError as error:
                if isinstance(error, DaskQueueError):
                    raise
                refusal = DiskFullError if error.errno in DISK_FULL else FolderError
                raise refusal(f"cannot open the folder {folder}: {error}") from error
            undo.pop_all()
            return files

    @classmethod
    def _open_locked(
        cls,
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
        index_path = _index_path(folder)
        queue_id = identify(fs, folder, index_path, lock.verify, create=create) or new_id()
        quarantine = Quarantine(fs, folder, lock.verify)
        log = Log.open(fs, folder, ".log", queue_id, reserve, quarantine.note, lock.verify, sure=True)
        results = Log.open(fs, folder, ".results", queue_id, reserve, quarantine.note, lock.verify, sure=True)
        undo.callback(log.close)
        undo.callback(results.close)
        book, recovered = recover(fs, log, results, index_path, settings, clock)
        if recovered.checkpoint_damaged:
            quarantine.note(index_path, 0, 0)
        if book.unknown:
            logger.warning(
                "%s has records of the unknown kinds %s: a newer daskqueue wrote them. They are kept and skipped, "
                "and from %s on no file of the log is removed until a version that knows them opens the folder",
                folder,
                sorted(set().union(*book.unknown.values())),
                min(book.unknown),
            )
        clock.not_before(recovered.saved_at)
        # Before the log: its head says how much of the results is whole, and they may be in the page cache only.
        outcomes = OutcomeStore(results, settings, clock, book.sealed)
        outcomes.start()
        log.epoch = max(log.epoch, book.queue.epoch + 1)  # the segments that tell it may be damaged
        _, facts = decide(book.queue, Restart(log.epoch, settings.grace_seconds), clock.now())
        log.start(book.queue.next_sequence, [_head(book, recovered.results)])
        for fact, stretch in zip(facts, log.append([fact_frame(fact) for fact in facts]), strict=True):
            book.enter(fact, stretch)
        for fact in burial(book.queue, recovered.lost, clock.now()):
            (stretch,) = log.append(
                [fact_frame(fact, *(moved_attachment(b"", b"") if isinstance(fact, Moved) else ()))]
            )
            book.enter(fact, stretch)
        with suppress(FolderError):  # said for people only, and the disk may be full
            lock.record(epoch=log.epoch)
        files = cls(fs, folder, lock, log, outcomes, book, recovered, settings, reserve, quarantine)
        if recovered.damaged:
            files.keep_orphans()
        files.large.keep_only(book.large.names, files.verify)
        book.large.gone.clear()
        files.first_checkpoint(clock.now())
        return files

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
            self.log.roll(self.book.queue.next_sequence, [_head(self.book, self.outcomes.log.synced)])

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
        self._checkpoint_bytes = len(payload)

    def first_checkpoint(self, now: float) -> None:
        """Write down what the opening has found, and see to the reserve; a full disk must not keep a queue closed."""
        try:
            self._empty_oldest(now)
            self.write_checkpoint(self.take_checkpoint(now))
            self._drop_old()
        except DiskFullError as error:
            logger.warning("A queue was opened without a checkpoint: %s", error)
        self.fill_reserve()

    def _empty_oldest(self, now: float) -> None:
        try:
            move_at_opening(self, BatchReader(self.log, self.book.positions, self.large), now)
        except (DiskFullError, QueueFailedError):
            raise
        except StorageError as error:
            logger.warning("Old segments are not emptied for now: %s", error)

    def _drop_old(self) -> None:
        """Drop what the next round of upkeep would: a host that is restarted for ever must not pile up segments."""
        self.outcomes.retire_empty()
        try:
            self.drop(self.settled_segments())
        except QueueFailedError:
            raise
        except StorageError as error:
            logger.warning("Segments that are not needed any more stay for now: %s", error)

    def reserve_is_short(self) -> bool:
        """Return whether the reserve has become too small for what the queue holds."""
        return self._needed_reserve() > self.reserve.wanted

    def fill_reserve(self) -> bool:
        """Give the reserve the size that the queue needs now; return whether the disk has room. Blocking."""
        self.verify()
        wanted = SMALLEST_BYTES
        while wanted < self._needed_reserve():
            wanted *= 2
        if wanted < self.reserve.wanted <= 2 * wanted:
            wanted = self.reserve.wanted  # it may be needed again soon
        return self.reserve.fill(wanted)

    def _needed_reserve(self) -> int:
        """Return about what it takes to settle messages until a segment is free, and to write a checkpoint."""
        return min(self.book.sizes.total // SHARE, LARGEST_BYTES) + self._checkpoint_bytes

    def disk_full(self) -> DiskFullError:
        """Return the error that tells why nothing can be put, and what can be done."""
        volume = self.volume()
        free = (
            f"{volume.free_bytes:,} of {volume.size_bytes:,} bytes are free" if volume else "nothing is free"
        )
        return DiskFullError(
            f"the disk of {self._folder} is full ({free}): new messages are refused, those in the queue are "
            "handed out and settled as long as the reserve lasts. Delete something on that disk, enlarge it, or "
            "let the consumers work the queue off; it takes messages again by itself as soon as there is room"
        )

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

    def keep_orphans(self) -> None:
        """Put aside the large record batches that no message is known to need: the record that did may be damaged."""
        for path in self.large.orphans(self.book.large.names):
            self.quarantine.keep(path)

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
            return self._fs.volume(self._folder)
        except OSError:
            return None

    def close(self) -> None:
        """Close the files and give up the lock, without a sync."""
        for close in (self.log.close, self.outcomes.close, self.reserve.close, self._lock.release):
            with suppress(OSError):  # the descriptor is gone whatever its close says, and the lock must go
                close()


def _lock(
    fs: FileSystem, folder: Path, owner: Mapping[str, str | int | float | None], reserve: Reserve
) -> FolderLock:
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


def _head(book: Book, results: Position) -> tuple[int, list[Buffer]]:
    """Return the frame at the head of a segment: what replay must know that begins here."""
    return fact_frame(carry(book.queue), position_bytes(results))


def _index_path(folder: Path) -> Path:
    return folder / f"{folder.name}.index"


def read_failures(log: Log, entry: Entry) -> list[Outcome]:
    """Return why the dead letters of *entry* died, as it stands in a log."""
    wanted = (Run(entry.first, entry.last),)
    found = [
        part
        for frame in log.readable(entry.stretch)
        for failed in _failures(frame)
        for part in cut(failed, wanted)
    ]
    silent = subtract(wanted, merge([run for part in found for run in part.runs]))
    return [*found, Outcome(FAILED, "", "", silent, b"", DAMAGED)] if silent else found


def _failures(frame: Frame) -> Iterator[Outcome]:
    with suppress(CorruptionError, BatchError):
        yield from _told_failures(frame)


def _told_failures(frame: Frame) -> Iterator[Outcome]:
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
