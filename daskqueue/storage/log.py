"""An append-only sequence of frames in the segment files of one folder.

The phases come in order: ``open`` looks, ``replay`` reads to the end, ``start`` begins this opening's own
segment, and only then can be appended. Nothing that an earlier opening wrote is ever changed: a torn tail is
cut by writing down, in the new segment, how far the old ones count.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, NoReturn

from daskqueue.errors import CorruptionError, DiskFullError, FolderError, QueueFailedError, StorageError
from daskqueue.storage.catalogue import survey
from daskqueue.storage.frame import ALIGNMENT
from daskqueue.storage.frame import HEADER_BYTES as FRAME_HEADER_BYTES
from daskqueue.storage.reading import SegmentReader
from daskqueue.storage.replay import RecoveryReport, Replay
from daskqueue.storage.reserve import Reserve
from daskqueue.storage.segment import (
    HEADER_BYTES,
    LENGTH,
    QUEUE_ID_BYTES,
    Header,
    Position,
    Segment,
    SegmentFolder,
    Stretch,
)
from daskqueue.storage.writer import PASSING, SegmentWriter, checked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from daskqueue.storage.catalogue import Catalogue
    from daskqueue.storage.frame import Frame
    from daskqueue.storage.fs import FileSystem
    from daskqueue.storage.reading import OnDamage
    from daskqueue.storage.writer import Frames

__all__ = ["Log", "Position", "RecoveryReport", "Replay", "Segment", "Stretch"]


# A segment is not looked into for being empty if it is longer: that is a list of 160 older ones.
MOST_EMPTY_BYTES = 4 << 10


class Log:
    """Frames that are appended, synced, read, and dropped segment by segment.

    ``append`` and ``sync`` may run in two threads at a time, ``read`` and ``drop`` in any.

    Attributes:
        queue_id: 16 bytes that all segments carry.
        epoch: the number of this opening, one more than the highest found.
        failure: why nothing is accepted any more; None while all is well.
        strays: numbers of segment files that do not count.
        guard: called before a segment is made; raises where the folder is another's by now.
    """

    def __init__(
        self,
        place: SegmentFolder,
        queue_id: bytes,
        found: Catalogue,
        reserve: Reserve | None = None,
        on_damage: OnDamage | None = None,
        guard: Callable[[], object] = lambda: None,
    ) -> None:
        self.queue_id = queue_id
        self.epoch = found.highest_epoch + 1
        self.failure: str | None = None
        self.strays = found.strays
        self._place, self._fs = place, place.fs
        self._older = {segment.number: segment for segment in found.segments}
        self._damaged = found.damaged
        self._inherited = {segment.number for segment in found.segments if not segment.exact}
        self._next_number = found.highest_number + 1
        self._reader = SegmentReader(place, queue_id, on_damage)
        self.guard = guard
        self._reserve = reserve or Reserve(place.fs, None)
        self._current: SegmentWriter | None = None
        self._names_synced = True
        self._left_out: int | None = None
        self._writing, self._syncing = Lock(), Lock()

    @classmethod
    def open(
        cls,
        fs: FileSystem,
        folder: Path,
        suffix: str = ".log",
        queue_id: bytes | None = None,
        reserve: Reserve | None = None,
        on_damage: OnDamage | None = None,
        guard: Callable[[], object] = lambda: None,
        *,
        sure: bool = False,
    ) -> Log:
        """Return the log of a folder, ready to be replayed and started; nothing is written yet.

        Args:
            fs: where the folder lies.
            folder: an existing folder; an empty one is a new log.
            suffix: how the names of this log's segments end.
            queue_id: 16 bytes that the segments must carry, and new ones get; None: those that are there.
            reserve: room for what must be written though the disk is full; None for no such room.
            on_damage: called with file, first byte and length of each damaged place, when it is met.
            sure: whether it is known that the folder is this queue's, whatever its files begin with.
            guard: called before a segment is made; raises where the folder is another's by now.

        Raises:
            FolderError: the folder cannot be read, is not of this queue, or is empty without a *queue_id*.
            FormatError: a newer version wrote there.
        """
        if queue_id is not None and len(queue_id) != QUEUE_ID_BYTES:
            raise ValueError(f"a queue id has {QUEUE_ID_BYTES} bytes, not {len(queue_id)}")
        place = SegmentFolder(fs, folder, suffix)
        found = survey(place, queue_id, sure=sure)
        if found.queue_id is None:
            raise FolderError(f"{folder} holds no segment of a queue")
        log = cls(place, found.queue_id, found, reserve, on_damage, guard)
        for stretch in found.damaged:
            if stretch.segment in log._older:
                log._reader.on_damage(stretch)
        return log

    @property
    def segments(self) -> list[Segment]:
        """The segments that count, oldest first; the last one is being written, once the log is started."""
        current = self._current  # read first: a roll in another thread may put it among the older ones now
        older = list(self._older.values())
        if current is None:
            return older
        newest = current.segment
        return [*(segment for segment in older if segment.number != newest.number), newest]

    @property
    def size_bytes(self) -> int:
        """How many bytes the segments have that count."""
        return sum(segment.length for segment in self.segments)

    @property
    def tail(self) -> Position:
        """Where the next frame goes."""
        return self._started().tail

    @property
    def synced(self) -> Position:
        """How far the log is on the disk."""
        return self._started().synced

    def start(self, first_sequence: int = 0, frames: Frames = ()) -> list[Stretch]:
        """Begin this opening's segment with *frames*; return where they lie. They are on the disk then.

        Args:
            first_sequence: the first sequence that the segment may hold.
            frames: kinds and payloads, as for :meth:`append`.

        Raises:
            DiskFullError: there is no room for a segment; the log is not started.
            StorageError: the segment could not be written; the log is not started.
        """
        with self._writing, self._syncing:
            if self._current is not None:
                raise ValueError("the log is started already")
            try:
                self._sync_inherited()
                self._current, stretches = self._create(first_sequence, frames)
            except OSError as error:
                raise StorageError(f"cannot begin a segment in {self._place.path}: {error}") from error
            self._remove_left_out()
            return stretches

    def leave_out_empty(self) -> int | None:
        """Do not list the last opening's segment if it holds nothing, and remove it once this one's is begun.

        Returns:
            its number, None if there is none such. What removes it may come too late: then it is a stray.
        """
        number = next(reversed(self._older), None)
        if number is None or self._older[number].length > MOST_EMPTY_BYTES:
            return None
        replay = self.scan(number)
        if next(iter(replay), None) or replay.report.damaged or replay.report.torn_bytes:
            return None
        del self._older[number]
        self._inherited.discard(number)
        self._left_out = number
        return number

    def append(self, frames: Frames, reserved: float = 1.0) -> list[Stretch]:
        """Write frames into the page cache with one call; return where they lie.

        Args:
            frames: for each a kind (16 to 255) and the payload in pieces of bytes, which are not joined.
            reserved: how much of the reserve they may use up on a full disk, from 0 (nothing) to 1.

        Raises:
            DiskFullError: nothing was written, and the log goes on once there is room.
            QueueFailedError: the write failed otherwise, now or before; nothing is accepted any more.
        """
        with self._writing:
            current = self._usable()
            try:
                return current.append(checked(frames))
            except DiskFullError as error:
                return self._append_reserved(current, frames, reserved, error)
            except OSError as error:
                self._fail("a write", error)

    def sync(self) -> Position:
        """Return when all that was appended before the call is on the disk, and how far that is.

        Raises:
            QueueFailedError: this or an earlier sync or write failed; a second try would prove nothing.
        """
        with self._syncing:
            current = self._usable()
            try:
                return current.sync()
            except OSError as error:
                self.failure, failed = f"a sync failed: {error}", error
        with self._writing, self._syncing:
            return self._after_failed_sync(current, failed)

    def roll(self, first_sequence: int, frames: Frames = ()) -> list[Stretch]:
        """Seal the segment and begin the next one with *frames*; return where they lie.

        Both segments are on the disk then. This takes about three syncs, and appends wait for it.

        Args:
            first_sequence: the first sequence that the new segment may hold.
            frames: the carry; kinds and payloads as for :meth:`append`.

        Raises:
            DiskFullError: the old segment goes on.
            StorageError: no file can be opened just now; the old segment goes on.
            QueueFailedError: anything else failed; nothing is accepted any more.
        """
        with self._writing, self._syncing:
            old = self._usable()
            try:
                old.sync()
            except OSError as error:
                self._after_failed_sync(old, error)
            try:
                following, stretches = self._create(first_sequence, frames)
                self._older[old.segment.number] = old.segment
                self._current = following
                old.close()
            except OSError as error:
                self._fail("beginning a segment", error)
            return stretches

    def drop(self, number: int) -> None:
        """Remove the oldest segment, and strays older than it, for ever.

        Raises:
            ValueError: it is not the oldest, or it is the one being written.
            StorageError: the disk refused.
            QueueFailedError: it is not known whether the disk has understood.
        """
        if number != next(iter(self._older), None):
            raise ValueError(f"segment {number} is not the oldest sealed one")
        self._sync_names()
        try:
            while self.strays and self.strays[0] < number:
                self._remove(self.strays[0])
                del self.strays[0]
            self._remove(number)
            self._names_synced = False
            del self._older[number]
            self._reader.forget(number)
        except OSError as error:
            raise StorageError(f"cannot remove segment {number} of {self._place.path}: {error}") from error
        self._sync_names()

    def read(self, stretch: Stretch) -> list[Frame]:
        """Return the frames that lie in a stretch, in order, verified; the payloads are views on one buffer.

        Raises:
            CorruptionError: one of them is damaged; :meth:`salvage` gives the others.
            StorageError: the segment is gone, or the disk fails.
        """
        return self._reader.read(stretch)

    def readable(self, stretch: Stretch) -> list[Frame]:
        """Return the frames of a stretch that are whole, in order.

        Raises:
            StorageError: the segment is gone, or the disk fails.
        """
        try:
            return self._reader.read(stretch)
        except CorruptionError:
            return self._reader.salvage(stretch)[0]

    def salvage(self, stretch: Stretch) -> tuple[list[Frame], list[Stretch]]:
        """Return the whole frames of a stretch, and the stretches in it that are damaged.

        Raises:
            StorageError: the segment is gone, or the disk fails.
        """
        return self._reader.salvage(stretch)

    def replay(self, position: Position | None = None) -> Replay:
        """Return the frames from a position on, up to the end that the log has now.

        Args:
            position: a place between two frames; None, or a place that is gone, means the oldest segment.
        """
        segments = self.segments
        for index, segment in enumerate(segments):
            if position and position.segment == segment.number and _lies_in(position, segment):
                return self._replay(segments[index:], position.offset)
        return self._replay(segments, relocated=position is not None)

    def scan(self, number: int) -> Replay:
        """Return the frames of one segment.

        Raises:
            StorageError: there is no such segment.
        """
        for segment in self.segments:
            if segment.number == number:
                return self._replay([segment])
        raise StorageError(f"{self._place.path} has no segment {number}")

    def fail(self, reason: str) -> None:
        """Accept nothing from now on; the first reason counts."""
        self.failure = self.failure or reason

    def close(self) -> None:
        """Close all files; what was not synced is left to the page cache."""
        with self._writing, self._syncing:
            self.failure = self.failure or "it was closed"
            self._reader.close()
            if self._current is not None:
                with suppress(OSError):  # what counts is what a sync has said
                    self._current.close()

    def _create(self, first_sequence: int, frames: Frames) -> tuple[SegmentWriter, list[Stretch]]:
        checked(frames)

        def create() -> tuple[SegmentWriter, list[Stretch]]:
            number = max(first_sequence, self._next_number)
            self._next_number = number + 1
            header = Header(self.queue_id, number, first_sequence, self.epoch)
            return SegmentWriter.create(self._place, header, self.segments, frames, self.guard)

        self.guard()
        try:
            try:
                return create()
            except FileExistsError:
                # A former owner that was paused made it when it woke, and then knew: it counts for nothing.
                self.guard()
                return create()
        except DiskFullError as error:
            size = _size(frames) + LENGTH.size * len(self._older)
            return self._reserve.draw(create, size, error)

    def _append_reserved(
        self, current: SegmentWriter, frames: Frames, part: float, refusal: DiskFullError
    ) -> list[Stretch]:
        try:
            return self._reserve.draw(lambda: current.append(frames), _size(frames), refusal, part)
        except OSError as error:
            self._fail("a write", error)

    def _remove_left_out(self) -> None:
        if self._left_out is None:
            return
        number, self._left_out = self._left_out, None
        self.guard()
        self._reader.forget(number)
        try:
            self._fs.remove(self._place.file(number))
        except OSError:
            self.strays = sorted([*self.strays, number])

    def _sync_inherited(self) -> None:
        """Put on the disk what a killed owner left in the page cache: this opening decides on it."""
        for number in self._older.keys() & self._inherited:
            handle = self._fs.open(self._place.file(number))
            try:
                self._fs.sync(handle)
            finally:
                self._fs.close(handle)

    def _remove(self, number: int) -> None:
        # The owner before this one, paused in the middle of its upkeep, may have removed the file when it woke.
        with suppress(FileNotFoundError):
            self._fs.remove(self._place.file(number))

    def _sync_names(self) -> None:
        """Put removals on the disk one after the other: a later one alone would bring back settled messages."""
        if self._names_synced:
            return
        try:
            self._fs.sync_folder(self._place.path)
        except OSError as error:
            if error.errno not in PASSING:
                self._fail("removing a segment", error)
            raise StorageError(f"cannot sync the folder {self._place.path} now: {error}") from error
        self._names_synced = True

    def _replay(
        self, segments: list[Segment], start: int = HEADER_BYTES, *, relocated: bool = False
    ) -> Replay:
        report = RecoveryReport(strays=list(self.strays))
        parts = [(segment, HEADER_BYTES) for segment in segments]
        if segments:
            first, last = segments[0], segments[-1]
            parts[0] = (first, start)
            report.damaged += [s for s in self._damaged if first.number <= s.segment <= last.number]
        return Replay(parts, self._reader, self._cut, report, relocated=relocated)

    def _cut(self, number: int, length: int) -> None:
        """Take note of how much of a segment was found to count."""
        segment = self._older.get(number)
        if segment is not None and not segment.exact:
            self._older[number] = segment._replace(length=length, exact=True)

    def _started(self) -> SegmentWriter:
        if self._current is None:
            raise StorageError(f"the log in {self._place.path} is not started")
        return self._current

    def _usable(self) -> SegmentWriter:
        if self.failure is not None:
            raise QueueFailedError(f"the log in {self._place.path} accepts nothing: {self.failure}")
        return self._started()

    def _after_failed_sync(self, current: SegmentWriter, error: OSError) -> NoReturn:
        with suppress(OSError, StorageError):
            self.guard()  # a late owner must not touch what the next one has listed
            current.write_again()
        self._fail("a sync", error)

    def _fail(self, what: str, error: OSError) -> NoReturn:
        self.failure = f"{what} failed: {error}"
        raise QueueFailedError(f"the log in {self._place.path} accepts nothing: {self.failure}") from error


def _lies_in(position: Position, segment: Segment) -> bool:
    return HEADER_BYTES <= position.offset <= segment.length and position.offset % ALIGNMENT == 0


def _size(frames: Frames) -> int:
    return sum(FRAME_HEADER_BYTES + ALIGNMENT + sum(map(len, parts)) for _, parts in frames)
