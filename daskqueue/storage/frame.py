"""One checksummed record: a header of 16 bytes, a payload, zeros up to a multiple of 8.

A frame is bound to its place. The *mark* in its header belongs to one segment of one queue, and the checksum
starts from the frame's offset: neither a copy of a frame inside another one's payload nor an old block of a
re-used disk can pass for a frame, which matters because :func:`find` looks for frames inside damaged bytes.
A mark and a checksum are never 0, so zeros, which is what torn tails are made of, are never a frame.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview

HEADER = struct.Struct("<IIII")  # mark, payload length, checksum, kind (one byte and three zeros)
HEADER_BYTES = HEADER.size
COVERED = struct.Struct("<II")  # what the checksum covers before the payload: length, kind
ALIGNMENT = 8
MAX_PAYLOAD = (1 << 32) - 1
MAX_KIND = 255
FIRST_CALLER_KIND = 16  # kinds below are storage's own
LENGTHS = 1  # the first frame of every segment: which older segments count, and how far

_CHUNK = 5 * 1024  # crc32 keeps the interpreter's lock up to this; giving it up can cost a switch interval
_ZEROS = tuple(bytes(n) for n in range(ALIGNMENT))


class Frame(NamedTuple):
    """A verified record: what kind it is and what it says."""

    kind: int
    payload: memoryview


class Decoded(NamedTuple):
    """What lies at a place: a frame, the start of one, or neither.

    ``size`` is the number of bytes of a whole frame with its padding, or what a torn one needs at least.
    """

    outcome: Literal["valid", "torn", "damaged"]
    size: int
    frame: Frame | None = None


def padded(length: int) -> int:
    """Return the bytes that a frame with a payload of *length* bytes takes."""
    return (HEADER_BYTES + length + ALIGNMENT - 1) & -ALIGNMENT


def checksum(start: int, kind: int, parts: Sequence[Buffer]) -> int:
    """Return the checksum over length, kind and payload, begun at *start*; never 0."""
    length = sum(map(len, parts))
    value = crc32(COVERED.pack(length, kind), start)
    for part in parts:
        if len(part) <= _CHUNK:
            value = crc32(part, value)
            continue
        view = memoryview(part)
        for offset in range(0, len(view), _CHUNK):
            value = crc32(view[offset : offset + _CHUNK], value)
    return value or 1


def encode(kind: int, parts: Sequence[Buffer], mark: int = 1, offset: int = 0) -> tuple[list[Buffer], int]:
    """Return the buffers of one frame for ``writev`` and their bytes: header, *parts* as they are, padding.

    Args:
        kind: what the payload is, 0 to 255.
        parts: the payload in pieces of bytes.
        mark: the segment's mark, 1 to 2**32-1.
        offset: the byte of the segment where the frame will start.

    Raises:
        ValueError: a payload of 4 GiB or more, or a memoryview of anything but bytes.
    """
    if not 0 <= kind <= MAX_KIND:
        raise ValueError(f"kind {kind} does not fit in a byte")
    for part in parts:
        if type(part) is memoryview and (part.itemsize != 1 or part.ndim != 1):
            raise ValueError("a payload is made of plain bytes; cast the memoryview to 'B'")
    length = sum(map(len, parts))
    if length > MAX_PAYLOAD:
        raise ValueError(f"a payload of {length} bytes; at most {MAX_PAYLOAD} fit in a frame")
    header = HEADER.pack(mark, length, checksum(mark ^ offset >> 3, kind, parts), kind)
    padding = -length % ALIGNMENT
    buffers = [header, *parts, _ZEROS[padding]] if padding else [header, *parts]
    return buffers, HEADER_BYTES + length + padding


def decode(window: Buffer, start: int = 0, mark: int = 1, offset: int = 0) -> Decoded:
    """Say what lies in *window* at *start*; *offset* is that place's byte in the segment."""
    available = len(window) - start
    if available < HEADER_BYTES:
        return Decoded("torn", HEADER_BYTES)
    found, length, stored, kind = HEADER.unpack_from(window, start)
    if found != mark:
        return Decoded("damaged", HEADER_BYTES)
    size = padded(length)
    if available < size:
        return Decoded("torn", size)
    end = start + HEADER_BYTES + length
    payload = memoryview(window)[start + HEADER_BYTES : end]
    if stored != checksum(mark ^ offset >> 3, kind, (payload,)) or any(window[end : start + size]):
        return Decoded("damaged", size)
    return Decoded("valid", size, Frame(kind, payload))


def find(window: bytes, start: int, mark: int, offset: int = 0) -> int:
    """Return the first place from *start* on where a frame may begin, or -1.

    It is only a candidate: :func:`decode` decides. *offset* is the byte of the segment where *window* begins;
    frames begin at multiples of 8 of the segment.
    """
    pattern = struct.pack("<I", mark)
    place = window.find(pattern, start)
    while place >= 0 and (offset + place) % ALIGNMENT:
        place = window.find(pattern, place + 1)
    return place
