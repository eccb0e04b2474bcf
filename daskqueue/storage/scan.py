"""Walk over the frames of a segment in windows of bounded size, past damage, up to the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from daskqueue.storage.frame import HEADER_BYTES, Frame, decode, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int, int], bytes]  # offset, length -> bytes; fewer where the file ends

WINDOW_BYTES = 1 << 20


class Found(NamedTuple):
    """A frame, or with ``frame=None`` bytes that are none; ``size`` bytes from ``offset``."""

    offset: int
    size: int
    frame: Frame | None


def scan(read: Read, start: int, end: int, mark: int) -> Iterator[Found]:
    """Yield all that lies in the bytes from *start* to *end*, each byte in one :class:`Found`.

    At most one window is in memory, and what is yielded points into it; a window is 1 MiB, or one frame if
    that is larger. Bytes without a frame that reach up to *end* may be a torn tail: the caller knows.

    Args:
        read: gives bytes of the segment.
        start: where a frame begins.
        end: how many bytes of the segment count.
        mark: the segment's mark.
    """
    window, base, position = b"", start, start
    while position < end:
        outcome, size, frame = decode(window, position - base, mark, position)
        if frame is not None:
            yield Found(position, size, frame)
            position += size
        elif outcome == "torn" and base + len(window) < end and position + size <= end:
            base = position
            window = read(base, min(max(size, WINDOW_BYTES), end - base))
            if len(window) < size:
                end = base + len(window)  # the file is shorter than it should be
        else:
            following = _next_frame(read, position + 8, end, mark)
            yield Found(position, following - position, None)
            window, base, position = b"", following, following


def _next_frame(read: Read, start: int, end: int, mark: int) -> int:
    """Return the offset of the first whole frame from *start* on, or *end*."""
    # Frames and windows begin at multiples of 8, so no mark ever lies across two windows.
    for base in range(start, end, WINDOW_BYTES):
        window = read(base, min(WINDOW_BYTES, end - base))
        place = find(window, 0, mark, base)
        while place >= 0:
            if _is_frame(read, base + place, end, mark):
                return base + place
            place = find(window, place + 1, mark, base)
    return end


def _is_frame(read: Read, offset: int, end: int, mark: int) -> bool:
    size = decode(read(offset, HEADER_BYTES), 0, mark, offset).size
    return offset + size <= end and decode(read(offset, size), 0, mark, offset).frame is not None
