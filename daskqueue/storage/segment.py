"""What a segment file is called, what its header and its first frame say, and how places in it are named."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from daskqueue.errors import FolderError, FormatError

if TYPE_CHECKING:
    from pathlib import Path

    from daskqueue.storage.fs import FileSystem

MAGIC = b"DASKQLOG"
VERSION = 1
HEADER = struct.Struct("<8sH6x16sQQQ4x")  # magic, version, queue id, number, first sequence, epoch
HEADER_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = HEADER.size + HEADER_CHECKSUM.size
QUEUE_ID_BYTES = 16
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
        """Return the numbers of the segments that are there, in order."""
        pattern = re.compile(rf"(\d{{20}}){re.escape(self.suffix)}")
        names = self.fs.names(self.path)
        return sorted(int(match[1]) for name in names if (match := pattern.fullmatch(name)))

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
    if not data.startswith(MAGIC):
        if any(data) and not MAGIC.startswith(data):
            raise FolderError(f"{name} is no segment of a queue; it begins with {data[:8]!r}")
        return None
    if len(data) < HEADER_BYTES or HEADER_CHECKSUM.unpack_from(data, HEADER.size)[0] != crc32(data[:-4]):
        return None
    _, version, queue_id, number, first_sequence, epoch = HEADER.unpack_from(data)
    if version != VERSION:
        raise FormatError(f"{name} has format version {version}; this daskqueue knows {VERSION}")
    return Header(queue_id, number, first_sequence, epoch)


def encode_opening(opening: Opening) -> bytes:
    """Return the payload of a segment's first frame."""
    rows = (LENGTH.pack(number, *length) for number, length in opening.lengths.items())
    return OPENING.pack(opening.epoch, opening.first_sequence) + b"".join(rows)


def decode_opening(payload: memoryview) -> Opening:
    """Return what the (verified) payload of a segment's first frame says."""
    epoch, first_sequence = OPENING.unpack_from(payload)
    rows = LENGTH.iter_unpack(payload[OPENING.size :])
    return Opening(epoch, first_sequence, {number: (length, bool(exact)) for number, length, exact in rows})
