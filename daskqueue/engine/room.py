"""A disk that is full: who may still write, and when there is room again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from daskqueue.errors import DiskFullError
from daskqueue.storage.reserve import LARGEST_BYTES, SMALLEST_BYTES

if TYPE_CHECKING:
    from daskqueue.engine.files import Files

# Leases, acks and small results of messages take about this part of the messages' own bytes.
SHARE = 4
# How often a full disk is asked whether it has room again: nothing else tells.
LOOK_SECONDS = 1.0


class Room:
    """Sees to the reserve of one queue, and looks for room while its disk is full.

    Args:
        files: of the queue.
        thread: the engine's own, where the disk is asked.
        relieve: called again and again while the disk is full.
        on_room: called when there is room again.
    """

    def __init__(
        self, files: Files, thread: Executor, relieve: Callable[[], object], on_room: Callable[[], object]
    ) -> None:
        self._files = files
        self._thread = thread
        self._relieve = relieve
        self._on_room = on_room
        self._look: asyncio.Future[bool] | None = None
        self._watch: asyncio.Task[None] | None = None

    async def refusal(self) -> DiskFullError | None:
        """Return why nothing can be put now; None where there is room, or is again."""
        if not self._files.reserve.full or await self._look_now():
            return None
        self.start_if_due()
        return disk_full(self._files)

    def start_if_due(self) -> None:
        """Begin to look for room, if the disk is full or the reserve has become too small."""
        if self._watch is None and (self._files.reserve.full or is_short(self._files)):
            self._watch = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Look no more."""
        if self._watch is not None:
            self._watch.cancel()

    async def _run(self) -> None:
        was_full = self._files.reserve.full
        try:
            while not await self._look_now():
                if self._files.log.failure is not None:
                    return
                was_full = True
                self._relieve()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._watch = None
        if was_full:
            self._on_room()

    async def _look_now(self) -> bool:
        """Return whether there is room; who asks while somebody else does shares the answer."""
        if self._look is None:
            loop = asyncio.get_running_loop()
            self._look = loop.run_in_executor(self._thread, fill, self._files)
            self._look.add_done_callback(self._looked)
        await asyncio.wait([self._look])
        return not self._files.reserve.full

    def _looked(self, look: asyncio.Future[bool]) -> None:
        self._look = None
        if not look.cancelled():
            look.exception()  # a queue that has failed or is closed says so to all who come


def is_short(files: Files) -> bool:
    """Return whether the reserve has become too small for what the queue holds."""
    return _needed(files) > files.reserve.wanted


def fill(files: Files) -> bool:
    """Give the reserve the size that the queue needs now; return whether the disk has room. Blocking."""
    files.verify()
    wanted = SMALLEST_BYTES
    while wanted < _needed(files):
        wanted *= 2
    if wanted < files.reserve.wanted <= 2 * wanted:
        wanted = files.reserve.wanted  # it may be needed again soon
    return files.reserve.fill(wanted)


def _needed(files: Files) -> int:
    """Return about what it takes to settle messages until a segment is free, and to write a checkpoint."""
    return min(files.book.sizes.total // SHARE, LARGEST_BYTES) + files.checkpoint_bytes


def disk_full(files: Files) -> DiskFullError:
    """Return the error that tells why nothing can be put, and what can be done."""
    volume = files.volume()
    free = f"{volume.free_bytes:,} of {volume.size_bytes:,} bytes are free" if volume else "nothing is free"
    return DiskFullError(
        f"the disk of {files.folder} is full ({free}): new messages are refused, those in the queue are "
        "handed out and settled as long as the reserve lasts. Delete something on that disk, enlarge it, or "
        "let the consumers work the queue off; it takes messages again by itself as soon as there is room"
    )
