"""Verified frames of any segment of a log."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from daskqueue.errors import CorruptionError, StorageError
from daskqueue.storage.frame import FIRST_CALLER_KIND, Frame, decode
from daskqueue.storage.readers import Readers
from daskqueue.storage.scan import Found, scan
from daskqueue.storage.segment import SegmentFolder, Stretch
from daskqueue.storage.tail import was_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    OnDamage = Callable[[Path, int, int], object]


class SegmentReader:
    """Reads and verifies frames; any number of threads at a time.

    Args:
        place: where the segments lie.
        queue_id: 16 bytes that they carry.
        on_damage: called with the file, the first byte and the length of each damaged place that is met.
    """

    def __init__(self, place: SegmentFolder, queue_id: bytes, on_damage: OnDamage | None = None) -> None:
        self._place = place
        self._queue_id = queue_id
        self._on_damage = on_damage
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
                self.on_damage(Stretch(number, start + place, size))
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
                self.on_damage(damaged[-1])
            elif frame.kind >= FIRST_CALLER_KIND:
                frames.append(frame)
        return frames, damaged

    def walk(self, number: int, start: int, end: int) -> Iterator[Found]:
        """Yield all that lies between two bytes of a segment, whole and damaged.

        Raises:
            StorageError: the segment is gone, or the disk fails.
        """
        return scan(partial(self._bytes, number), start, end, self._mark(number))

    def was_whole(self, stretch: Stretch) -> bool:
        """Say whether bytes at the end of a segment that are no frame were one; see :mod:`.tail`.

        Raises:
            StorageError: the segment is gone, or the disk fails.
        """
        number, start, length = stretch
        return was_whole(partial(self._bytes, number), start, start + length, self._mark(number))

    def on_damage(self, stretch: Stretch) -> None:
        """Tell whoever wants to know that a place is damaged."""
        if self._on_damage is not None:
            self._on_damage(self._place.file(stretch.segment), stretch.offset, stretch.length)

    def _bytes(self, number: int, offset: int, length: int) -> bytes:
        try:
            return self._readers.read(number, offset, length)
        except FileNotFoundError as error:
            raise StorageError(f"{self._place.file(number)} is gone") from error
        except OSError as error:
            raise StorageError(f"cannot read {self._place.file(number)}: {error}") from error

    def _mark(self, number: int) -> int:
        return self._place.mark(self._queue_id, number)
