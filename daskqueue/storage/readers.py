"""Open segment files for reading: a bounded number of them, shared by threads."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskqueue.storage.segment import SegmentFolder

MAX_OPEN = 16


class _Reader:
    """An open file, how many threads read it now, and whether the last of them shall close it."""

    __slots__ = ("handle", "leaving", "users")

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.users = 0
        self.leaving = False


class Readers:
    """Reads segments by number; closes a file only when nobody reads it, so no read meets a reused handle."""

    def __init__(self, place: SegmentFolder) -> None:
        self._fs = place.fs
        self._place = place
        self._guard = Lock()
        self._readers: OrderedDict[int, _Reader] = OrderedDict()

    def read(self, number: int, offset: int, length: int) -> bytes:
        """Return bytes of a segment; fewer than *length* where its file ends.

        Raises:
            OSError: the file is gone or the disk fails.
        """
        reader = self._take(number)
        try:
            return self._fs.read(reader.handle, offset, length)
        finally:
            self._give_back(reader)

    def forget(self, number: int) -> None:
        """Close a segment's file as soon as nobody reads it."""
        with self._guard:
            self._dismiss(number)

    def close(self) -> None:
        """Close all files as soon as nobody reads them."""
        with self._guard:
            for number in list(self._readers):
                self._dismiss(number)

    def _take(self, number: int) -> _Reader:
        with self._guard:
            reader = self._readers.get(number)
            if reader is None:
                reader = self._readers[number] = _Reader(self._fs.open(self._place.file(number)))
                if len(self._readers) > MAX_OPEN:
                    self._dismiss(next(iter(self._readers)))
            else:
                self._readers.move_to_end(number)
            reader.users += 1
            return reader

    def _give_back(self, reader: _Reader) -> None:
        with self._guard:
            reader.users -= 1
            if reader.leaving and not reader.users:
                self._close(reader)

    def _dismiss(self, number: int) -> None:
        reader = self._readers.pop(number, None)
        if reader is None:
            return
        reader.leaving = True
        if not reader.users:
            self._close(reader)

    def _close(self, reader: _Reader) -> None:
        with suppress(OSError):  # nothing was written through it
            self._fs.close(reader.handle)
