"""Walk over the frames of a segment in windows of bounded size, past damage, up to the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from daskqueue.storage.frame import (
    ALIGNMENT,
    COVERED,
    HEADER,
    HEADER_BYTES,
    MAX_KIND,
    Frame,
    decode,
    find,
    padded,
)
from daskqueue.storage.sums import Sums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int, int], bytes]  # offset, length -> bytes; fewer where the file ends

WINDOW_BYTES = 1 << 20
_SMALL = 4096  # bytes of a frame that is checked at once


class Found(NamedTuple):
    """A frame, or with ``frame=None`` bytes that are none; ``size`` bytes from ``offset``."""

    offset: int
    size: int
    frame: Frame | None


def scan(read: Read, start: int, end: int, mark: int) -> Iterator[Found]:
    """Yield all that lies in the bytes from *start* to *end*, each byte in one :class:`Found`.

    At most two windows are in memory, and what is yielded points into one; a window is 1 MiB, or one frame if
    that is larger. Bytes without a frame that reach up to *end* may be a torn tail: the caller knows. Whatever the
    bytes are, this takes no longer than a few times as long as reading them.

    Args:
        read: gives bytes of the segment.
        start: where a frame begins.
        end: how many bytes of the segment count.
        mark: the segment's mark.
    """
    window, base, position = b"", start, start
    search: _Search | None = None
    while position < end:
        if search is None or search.holds(position):
            outcome, size, frame = decode(window, position - base, mark, position)
        else:
            outcome, size, frame = "damaged", 0, None
        if frame is not None:
            yield Found(position, size, frame)
            position += size
        elif outcome == "torn" and base + len(window) < end and position + size <= end:
            base = position
            window = read(base, min(max(size, WINDOW_BYTES), end - base))
            if len(window) < size:
                end = base + len(window)  # the file is shorter than it should be
        else:
            search = search or _Search(read, position, end, mark)
            following = search.following(position + ALIGNMENT, end)
            yield Found(position, following - position, None)
            position = following
            if position >= base + len(window):
                window, base = b"", position


class _Search:
    """Looks for frames behind damage, where nothing that a header says can be believed.

    Args:
        read: gives bytes of the segment.
        start: where the damage begins.
        end: how many bytes of the segment count.
        mark: the segment's mark.
    """

    def __init__(self, read: Read, start: int, end: int, mark: int) -> None:
        self._read = read
        self._end = end
        self._mark = mark
        self._sums = Sums(read, start)
        self._window, self._base = b"", start

    def following(self, start: int, end: int) -> int:
        """Return the offset of the first whole frame from *start* on, or *end*."""
        while start < end:
            # Frames and windows begin at multiples of 8, so no mark ever lies across two windows.
            if start >= self._base + len(self._window):
                self._window, self._base = self._read(start, min(WINDOW_BYTES, end - start)), start
            window, base = self._window, self._base
            place = find(window, start - base, self._mark, base)
            while place >= 0:
                if self.holds(base + place):
                    return base + place
                place = find(window, place + 1, self._mark, base)
            start = base + len(window) if window else end
        return end

    def holds(self, offset: int) -> bool:
        """Return whether a whole frame begins at *offset*, at a cost that does not depend on its size."""
        header = self._bytes(offset, HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return False
        mark, length, stored, kind = HEADER.unpack(header)
        size = padded(length)
        if mark != self._mark or kind > MAX_KIND or offset + size > self._end:
            return False
        if size <= _SMALL:
            return decode(self._bytes(offset, size), 0, mark, offset).frame is not None
        first, last = offset + HEADER_BYTES, offset + HEADER_BYTES + length
        begun = crc32(COVERED.pack(length, kind), mark ^ offset >> 3)
        if any(self._bytes(last, offset + size - last)):
            return False
        return (self._sums.of(first, last, begun) or 1) == stored

    def _bytes(self, offset: int, length: int) -> bytes:
        place = offset - self._base
        if place >= 0 and place + length <= len(self._window):
            return self._window[place : place + length]
        return self._read(offset, length)
