"""Room on the disk that is kept for the day when there is no other.

A queue whose disk is full takes nothing more, but what it holds must still be handed out and settled: only
that empties it. The file ``reserve`` has the room for it. It is cut shorter, piece by piece, when a write that
matters finds none, and made whole again as soon as the disk has room; until then new messages are refused.
"""

from __future__ import annotations

import errno
import logging
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from daskqueue.errors import DiskFullError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeVar

    from daskqueue.storage.fs import FileSystem

    T = TypeVar("T")

logger = logging.getLogger(__name__)

NAME = "reserve"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# A new queue's: some openings, which make files of a block each, and a few hundred acks.
SMALLEST_BYTES = 32 << 10
# However much a queue holds: with so much, some segment becomes free.
LARGEST_BYTES = 16 << 20
# Disks give room by the block, and a new file takes one though it holds a few bytes.
BLOCK_BYTES = 4 << 10
# So much more must be free before a full disk counts as one with room again.
MARGIN_BYTES = 64 << 10
# Somebody else may take what was just given up: then a larger piece is.
_TRIES = (1, 4)


class Reserve:
    """The reserve of one queue; safe in any thread. All methods block.

    Args:
        fs: where the folder lies.
        folder: the queue's folder; None for a queue that has no disk to fill, and no reserve.

    Attributes:
        wanted: how many bytes it should have.
        size: how many it has.
        full: whether the disk was full when it was last asked for room; :meth:`fill` finds out anew.
    """

    def __init__(self, fs: FileSystem, folder: Path | None) -> None:
        self.wanted = self.size = 0
        self.full = False
        self._fs = fs
        self._path = folder / NAME if folder is not None else None
        self._handle: int | None = None
        self._closed = False
        self._guard = Lock()

    def open(self) -> None:
        """Take over what an earlier opening has left."""
        with self._guard:
            self._closed = False
            try:
                self._open()
            except OSError as error:
                logger.debug("No reserve at %s: %s", self._path, error)

    def close(self) -> None:
        """Leave the file to the next opening."""
        with self._guard:
            self._closed = True
            if self._handle is not None:
                handle, self._handle, self.size = self._handle, None, 0
                with suppress(OSError):
                    self._fs.close(handle)

    def draw(self, write: Callable[[], T], size_bytes: int, refusal: DiskFullError, part: float = 1.0) -> T:
        """Make room for *write*, which a full disk has just refused; return what it returns.

        Args:
            write: leaves nothing behind when it raises ``DiskFullError``.
            size_bytes: about how much it writes.
            refusal: what it has raised.
            part: how much of the reserve it may use up, from 0 (nothing) to 1.

        Raises:
            DiskFullError: the reserve does not suffice.
        """
        for times in _TRIES:
            if not self._give(times * size_bytes, part):
                break
            try:
                return write()
            except DiskFullError as error:
                refusal = error
        raise refusal

    def fill(self, wanted: int) -> bool:
        """Make the file *wanted* bytes long, or shorter; return whether there is room on the disk.

        A disk that knows no reserve does without: then a full one refuses all alike.
        """
        with self._guard:
            self.wanted = wanted
            if self._path is not None and not self._closed:
                self.full = not self._has_room(self._path, wanted)
            return not self.full

    def _has_room(self, path: Path, wanted: int) -> bool:
        try:
            self._make(wanted)
        except OSError as error:
            if error.errno in DISK_FULL:
                return False
            logger.debug("No reserve at %s: %s", path, error)
            with suppress(OSError):
                return not self.full or self._fs.volume(path.parent).free_bytes > MARGIN_BYTES
        return True

    def _open(self) -> None:
        if self._handle is not None or self._path is None:
            return
        try:
            handle = self._fs.lock(self._path)
        except BlockingIOError:
            # A former owner that is not quite gone holds it; the room comes back when it is.
            self._fs.remove(self._path)
            handle = self._fs.lock(self._path)
        try:
            self.size = self._fs.size(handle)
        except OSError:
            self._fs.close(handle)
            raise
        self._handle = handle

    def _make(self, wanted: int) -> None:
        self._open()
        assert self._handle is not None
        tried = wanted + MARGIN_BYTES if self.full else wanted
        try:
            self._fs.allocate(self._handle, max(tried, self.size))
        except OSError:
            # Some of it may have been taken before there was no more.
            self._fs.truncate(self._handle, self.size)
            raise
        self._fs.truncate(self._handle, wanted)
        self.size = wanted

    def _give(self, needed: int, part: float) -> bool:
        """Cut the file shorter by about *needed* bytes; return False if it has not so much to give."""
        with self._guard:
            self.full = True
            piece = (needed // BLOCK_BYTES + 1) * BLOCK_BYTES
            if self._handle is None or piece > self.size - (1 - part) * self.wanted:
                return False
            try:
                self._fs.truncate(self._handle, self.size - piece)
            except OSError as error:
                logger.warning("The reserve %s cannot be used: %s", self._path, error)
                return False
            self.size -= piece
            return True
