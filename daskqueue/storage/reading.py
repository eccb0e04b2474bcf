"""Verified frames of any segment of a log."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from daskqueue.errors import CorruptionError, StorageError
from daskqueue.storage.frame import FIRST_CALLER_KIND, Frame, decode
from daskqueue.storage.readers import Readers
from daskqueue.storage.scan import Found, scan
from daskqueue.storage.segment import SegmentFolder, Stretch

if TYPE_CHECKING:
    from collections.abc import Iterator


class SegmentReader:
    """Reads and verifies frames; any number of threads at a time."""

    def __init__(self, place: SegmentFolder, queue_id: bytes) -> None:
        self._place = place
        self._queue_id = queue_id
        self._readers = Readers(place)
        self.forget = self._readers.forget
        self.close = self._readers.close

    def read(self, stretch: Stretch) -> list[Frame]:
        """Return the frames that lie in a stretch, in order.

        Raises:
            CorruptionError: one of them is damaged.
            StorageError: the segment is gone, or the disk fails.
        """
        number, start, length = stretch
        data = self._bytes(number, start, length)
        mark, place, frames = self._mark(number), 0, []
        while place < length:
            _, size, frame = decode(data, place, mark, start + place)
            if frame is None:
                raise CorruptionError(f"{self._place.file(number)} is damaged at byte {start + place}")
            if frame.kind >= FIRST_CALLER_KIND:
                frames.append(frame)
            place += size
        return frames

    def salvage(self, stretch: Stretch) -> tuple[list[Frame], list[Stretch]]:
        """Return the whole frames of a stretch, and the stretches in it that are damaged.

        Raises:
            StorageError: the segment is gone, or the disk fails.
        """
        number, start, length = stretch
        frames, damaged = [], []
        for offset, size, frame in self.walk(number, start, start + length):
            if frame is None:
                damaged.append(Stretch(number, offset, size))
            elif frame.kind >= FIRST_CALLER_KIND:
                frames.append(frame)
        return frames, damaged

    def walk(self, number: int, start: int, end: int) -> Iterator[Found]:
        """Yield all that lies between two bytes of a segment, whole and damaged.

        Raises:
            StorageError: the segment is gone, or the disk fails.
        """
        return scan(partial(self._bytes, number), start, end, self._mark(number))

    def _bytes(self, number: int, offset: int, length: int) -> bytes:
        try:
            return self._readers.read(number, offset, length)
        except FileNotFoundError as error:
            raise StorageError(f"{self._place.file(number)} is gone") from error
        except OSError as error:
            raise StorageError(f"cannot read {self._place.file(number)}: {error}") from error

    def _mark(self, number: int) -> int:
        return self._place.mark(self._queue_id, number)
