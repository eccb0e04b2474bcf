"""What a segment file is called, what its header and its first frame say, and how places in it are named."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from daskqueue.errors import CorruptionError, FolderError, FormatError

if TYPE_CHECKING:
    from pathlib import Path

    from daskqueue.storage.fs import FileSystem

MAGIC = b"DASKQLOG"
VERSION = 1
HEADER = struct.Struct("<8sH6x16sQQQ4x")  # magic, version, queue id, number, first sequence, epoch
HEADER_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = HEADER.size + HEADER_CHECKSUM.size
QUEUE_ID_BYTES = 16
MOST = 1 << 62  # numbers and epochs are below, and may grow from there
OPENING = struct.Struct("<QQ")  # epoch, first sequence
LENGTH = struct.Struct("<QQQ")  # number, length, whether the length is exact


class Stretch(NamedTuple):
    """Where bytes lie: the segment's number, the first byte, how many."""

    segment: int
    offset: int
    length: int


class Position(NamedTuple):
    """A place between two frames: the segment's number and the byte."""

    segment: int
    offset: int


class Segment(NamedTuple):
    """A segment that counts.

    ``length`` is how many of its bytes count; ``exact`` is false while they were never scanned, so that the
    last of them may be a torn tail.
    """

    number: int
    first_sequence: int
    length: int
    epoch: int
    exact: bool = True


class SegmentFolder(NamedTuple):
    """Where the segments of one log lie: the folder, and how their names end."""

    fs: FileSystem
    path: Path
    suffix: str

    def file(self, number: int) -> Path:
        """Return the path of a segment's file."""
        return self.path / f"{number:020d}{self.suffix}"

    def numbers(self) -> list[int]:
        """Return the numbers of the segments that are there, in order; other names are left alone."""
        pattern = re.compile(rf"([0-9]{{20}}){re.escape(self.suffix)}")
        names = self.fs.names(self.path)
        numbers = [int(match[1]) for name in names if (match := pattern.fullmatch(name))]
        return sorted(number for number in numbers if number <= MOST)

    def mark(self, queue_id: bytes, number: int) -> int:
        """Return the number, never 0, that the headers of one segment's frames carry."""
        return crc32(number.to_bytes(8, "little"), crc32(self.suffix.encode(), crc32(queue_id))) or 1


class Header(NamedTuple):
    """What the first 64 bytes of a segment file say."""

    queue_id: bytes
    number: int
    first_sequence: int
    epoch: int


class Opening(NamedTuple):
    """What the first frame of a segment says; it repeats the header, so that either may be damaged.

    ``lengths`` has, for each older segment that counts, its length and whether that length is exact.
    """

    epoch: int
    first_sequence: int
    lengths: dict[int, tuple[int, bool]]


def newer(name: str, version: int, known: int) -> str:
    """Return what is said of a file of a version that this one does not know."""
    return (
        f"{name} has format version {version}; this daskqueue knows {known}: a newer daskqueue has had this "
        "folder open. Nothing was changed. Open it with that version, or a later one"
    )


def encode_header(header: Header) -> bytes:
    """Return the 64 bytes at the start of a segment file."""
    packed = HEADER.pack(MAGIC, VERSION, *header)
    return packed + HEADER_CHECKSUM.pack(crc32(packed))


def decode_header(data: bytes, name: str) -> Header | None:
    """Return what a segment's header says; None when it is damaged, or was never wholly written.

    Args:
        data: the first 64 bytes of the file, or all it has.
        name: how errors call the file.

    Raises:
        FolderError: the file was not written by daskqueue.
        FormatError: it was written by a newer version.
    """
    if not _is_whole(data):
        if _is_whole(MAGIC + data[len(MAGIC) :]) or not any(data) or MAGIC.startswith(data[: len(MAGIC)]):
            return None
        raise FolderError(f"{name} is no segment of a queue; it begins with {data[:8]!r}")
    _, version, queue_id, number, first_sequence, epoch = HEADER.unpack_from(data)
    if version != VERSION:
        raise FormatError(newer(name, version, VERSION))
    if max(number, first_sequence, epoch) > MOST:
        return None  # nobody counts that far: who wrote it was not in his right mind
    return Header(queue_id, number, first_sequence, epoch)


def _is_whole(header: bytes) -> bool:
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        return False
    return bool(HEADER_CHECKSUM.unpack_from(header, HEADER.size)[0] == crc32(header[: HEADER.size]))


def encode_opening(opening: Opening) -> bytes:
    """Return the payload of a segment's first frame."""
    rows = (LENGTH.pack(number, *length) for number, length in opening.lengths.items())
    return OPENING.pack(opening.epoch, opening.first_sequence) + b"".join(rows)


def decode_opening(payload: memoryview) -> Opening:
    """Return what the (verified) payload of a segment's first frame says.

    Raises:
        CorruptionError: nothing that makes sense.
    """
    if len(payload) < OPENING.size or (len(payload) - OPENING.size) % LENGTH.size:
        raise CorruptionError(f"{len(payload)} bytes are no first frame of a segment")
    epoch, first_sequence = OPENING.unpack_from(payload)
    if max(epoch, first_sequence) > MOST:
        raise CorruptionError(f"no segment has epoch {epoch} and begins with message {first_sequence}")
    rows = LENGTH.iter_unpack(payload[OPENING.size :])
    return Opening(epoch, first_sequence, {number: (length, bool(exact)) for number, length, exact in rows})
