"""Whether the last bytes of a segment are a write that was cut off, or a frame that was whole once.

A write that a crash has cut off ends early, or lacks whole sectors, which read as zeros. A frame that has all
its bytes was written, and probably synced and answered: that it is not whole is damage, and is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from daskqueue.storage.frame import ALIGNMENT, COVERED, HEADER, HEADER_BYTES, padded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskqueue.storage.scan import Read

SECTOR_BYTES = 512
_WINDOW_BYTES = 1 << 20  # a multiple of a sector


def was_whole(read: Read, start: int, end: int, mark: int) -> bool:
    """Say whether what begins at *start*, and is no frame, was one.

    Args:
        read: gives bytes of the segment.
        start: where the frame should begin.
        end: how many bytes the segment has; no frame begins between.
        mark: the segment's mark.
    """
    header = read(start, HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return False
    length = HEADER.unpack(header)[1]
    if start + padded(length) <= end:
        return not _has_a_hole(read, start, start + HEADER_BYTES + length)
    return _fits_with_another_length(read, start, end, mark)


def _has_a_hole(read: Read, start: int, end: int) -> bool:
    """Say whether a sector has nothing but zeros of what lies from *start* to *end*."""
    first = start - start % SECTOR_BYTES
    for base in range(first, end, _WINDOW_BYTES):
        window = read(base, min(_WINDOW_BYTES, end - base))
        for place in range(0, len(window), SECTOR_BYTES):
            if not any(window[max(place, start - base) : place + SECTOR_BYTES]):
                return True
    return False


def _fits_with_another_length(read: Read, start: int, end: int, mark: int) -> bool:
    """Say whether the bytes up to *end* are a frame whose header tells a wrong length."""
    _, told, stored, kind = HEADER.unpack(read(start, HEADER_BYTES))
    longest = end - start - HEADER_BYTES
    tail = read(max(end - ALIGNMENT, start), ALIGNMENT)
    zeros = len(tail) - len(tail.rstrip(b"\0"))
    for length in range(longest, max(longest - min(zeros, ALIGNMENT - 1), 0) - 1, -1):
        value = crc32(COVERED.pack(length & 0xFFFF_FFFF, kind), mark ^ start >> 3)
        for window in _windows(read, start + HEADER_BYTES, length):
            value = crc32(window, value)
        if stored == (value or 1) and length != told:
            return True
    return False


def _windows(read: Read, start: int, length: int) -> Iterator[bytes]:
    for base in range(start, start + length, _WINDOW_BYTES):
        yield read(base, min(_WINDOW_BYTES, start + length - base))
