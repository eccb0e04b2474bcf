"""The segment that is being written."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING

from daskqueue.errors import DiskFullError, StorageError
from daskqueue.storage.frame import FIRST_CALLER_KIND, LENGTHS, MAX_KIND, encode
from daskqueue.storage.reserve import DISK_FULL
from daskqueue.storage.segment import (
    HEADER_BYTES,
    Header,
    Opening,
    Position,
    Segment,
    SegmentFolder,
    Stretch,
    encode_header,
    encode_opening,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskqueue.storage.frame import Buffer
    from daskqueue.storage.fs import FileSystem

    Frames = Sequence[tuple[int, Sequence[Buffer]]]  # kind and payload, the payload in pieces

# Of this process, or of the moment: they say nothing about the disk.
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)


class SegmentWriter:
    """Appends frames to one segment file; one thread at a time, while another may sync.

    Attributes:
        tail: where the next frame goes.
        synced: how far a sync has come.
    """

    def __init__(self, fs: FileSystem, handle: int, header: Header, mark: int) -> None:
        self.tail = self.synced = Position(header.number, 0)
        self._fs = fs
        self._handle = handle
        self._header = header
        self._mark = mark
        self._closed = False

    @classmethod
    def create(
        cls,
        place: SegmentFolder,
        header: Header,
        older: Sequence[Segment],
        frames: Frames,
        guard: Callable[[], object] = lambda: None,
    ) -> tuple[SegmentWriter, list[Stretch]]:
        """Return a new segment that lists *older* and holds *frames*, all on the disk; and where they lie.

        Args:
            place: where it lies.
            header: what stands at its beginning.
            older: the segments that count.
            frames: kinds and payloads.
            guard: raises where the folder is another's by now; all that is left then is an empty file.

        Raises:
            DiskFullError: nothing is left of the new file.
            StorageError: no file can be opened just now; nothing is left of the new one.
            OSError: anything else; the file may be there.
        """
        try:
            handle = place.fs.create(place.file(header.number))
        except OSError as error:
            raise _refusal(place, error) from error
        try:
            # Not before: whoever takes the folder from now on sees the file, and gives it up or takes another.
            guard()
        except BaseException:
            place.fs.close(handle)
            raise
        writer = cls(place.fs, handle, header, place.mark(header.queue_id, header.number))
        try:
            stretches = writer._begin(older, frames)
            place.fs.sync_folder(place.path)
        except OSError as error:
            _discard(place, header.number, handle)
            raise _refusal(place, error) from error
        except Exception:
            _discard(place, header.number, handle)
            raise
        return writer, stretches

    @property
    def segment(self) -> Segment:
        """This segment, as long as it is now."""
        number, first_sequence, epoch = self._header[1:]
        return Segment(number, first_sequence, self.tail.offset, epoch)

    def append(self, frames: Frames) -> list[Stretch]:
        """Write frames into the page cache with one call; return where they lie.

        Raises:
            DiskFullError: what was written was cut off again.
            OSError: the write failed, and where the file ends is not known.
        """
        try:
            return self._put(frames)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            self._fs.truncate(self._handle, self.tail.offset)
            raise DiskFullError(f"the disk is full: {error}") from error

    def sync(self) -> Position:
        """Return when all that was appended before the call is on the disk, and how far that is."""
        tail = self.tail
        if tail != self.synced:
            self._fs.sync(self._handle)
            self.synced = tail
        return tail

    def write_again(self) -> None:
        """Write once more what no sync covered.

        After a failed sync the system may take those bytes for written, and the next sync, whoever asks for
        it, would answer for bytes that never reached the disk.
        """
        if self._closed:
            return
        start, end = self.synced.offset, self.tail.offset
        data = self._fs.read(self._handle, start, end - start)
        self._fs.truncate(self._handle, start)
        self._fs.write(self._handle, [data])

    def close(self) -> None:
        """Close the file; what was not synced is left to the page cache."""
        self._closed = True
        self._fs.close(self._handle)

    def _begin(self, older: Sequence[Segment], frames: Frames) -> list[Stretch]:
        number, first_sequence, epoch = self._header[1:]
        opening = Opening(epoch, first_sequence, {s.number: (s.length, s.exact) for s in older})
        first, size = encode(LENGTHS, (encode_opening(opening),), self._mark, HEADER_BYTES)
        self._fs.write(self._handle, [encode_header(self._header), *first])
        self.tail = Position(number, HEADER_BYTES + size)
        stretches = self._put(frames)
        self.sync()
        return stretches

    def _put(self, frames: Frames) -> list[Stretch]:
        buffers: list[Buffer] = []
        stretches: list[Stretch] = []
        number, offset = self.tail
        for kind, parts in frames:
            pieces, size = encode(kind, parts, self._mark, offset)
            buffers += pieces
            stretches.append(Stretch(number, offset, size))
            offset += size
        self._fs.write(self._handle, buffers)
        self.tail = Position(number, offset)
        return stretches


def _discard(place: SegmentFolder, number: int, handle: int) -> None:
    """Remove a new segment for certain: left behind, it would cut what the old one gets from now on."""
    with suppress(OSError):
        place.fs.close(handle)
    place.fs.remove(place.file(number))
    place.fs.sync_folder(place.path)


def _refusal(place: SegmentFolder, error: OSError) -> Exception:
    """Return how a segment that could not be made, and of which nothing is left, is told."""
    if error.errno in DISK_FULL:
        return DiskFullError(f"no room for a new segment in {place.path}: {error}")
    if error.errno in PASSING:
        return StorageError(f"cannot make a segment in {place.path} now: {error}")
    return OSError(error.errno, f"cannot make a segment in {place.path}: {error}")


def checked(frames: Frames) -> Frames:
    """Return *frames* if the caller may write their kinds.

    Raises:
        ValueError: a kind is storage's own or does not fit in a byte.
    """
    for kind, _ in frames:
        if not FIRST_CALLER_KIND <= kind <= MAX_KIND:
            raise ValueError(f"kind {kind}; a caller's kinds are {FIRST_CALLER_KIND} to {MAX_KIND}")
    return frames
