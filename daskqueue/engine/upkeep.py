"""Looking after the files: sealing full segments, checkpoints, and dropping what is settled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

from daskqueue.clock import Clock
from daskqueue.engine.batches import BatchReader
from daskqueue.engine.files import Files
from daskqueue.engine.reclaim import move_survivors
from daskqueue.errors import DiskFullError, StorageError

logger = logging.getLogger(__name__)


class Upkeep:
    """Runs a round of upkeep when one is due; nothing is written to the log by others meanwhile."""

    def __init__(self, files: Files, reader: BatchReader, thread: Executor, clock: Clock) -> None:
        self._files = files
        self._reader = reader
        self._thread = thread
        self._clock = clock
        self._round: asyncio.Task[None] | None = None
        # The disk was full, and most of what this queue has there is not needed any more, or will be so.
        self._pressed = False

    def start_if_due(self) -> None:
        """Begin a round if a segment is full or much was written since the last checkpoint."""
        files = self._files
        if files.reserve.full:
            self._pressed = True  # a round can do little now, and is begun by those who look for room
        elif self._round is None and (files.need_upkeep() or (self._pressed and files.is_spent())):
            self._round = asyncio.get_running_loop().create_task(self._run())

    def relieve(self) -> None:
        """Begin a round on a full disk, if it may give back room."""
        files = self._files
        self._pressed = True
        if self._round is None and (files.settled_segments() or files.is_spent() or files.need_upkeep()):
            self._round = asyncio.get_running_loop().create_task(self._run())

    async def wait(self) -> None:
        """Return when no round is running; what writes without waiting must follow it at once."""
        while self._round is not None:
            await asyncio.wait([self._round])

    async def _run(self) -> None:
        try:
            await self._do_round()
        except StorageError as error:
            # A failed log says so to every command that follows; all else is left for the next round.
            logger.debug("A round of upkeep was not finished: %s", error)
        finally:
            self._round = None

    async def _do_round(self) -> None:
        now, early = self._clock.now(), self._pressed and self._files.is_spent()
        with suppress(DiskFullError):
            await self._in_thread(self._files.roll, now, early)
            await move_survivors(self._files, self._reader, now, early)
        self._files.outcomes.retire(now)
        try:
            await self._write_checkpoint()
        except DiskFullError:
            # What is dropped now makes room for it; should the process end before that, the log knows all: it was
            # synced before the checkpoint was tried.
            await self._drop()
            await self._write_checkpoint()
        await self._drop()
        self._pressed = self._pressed and not early

    async def _write_checkpoint(self) -> None:
        await self._in_thread(self._files.write_checkpoint, self._files.take_checkpoint(self._clock.now()))

    async def _drop(self) -> None:
        settled = self._files.settled_segments()
        self._reader.forget(settled)
        await self._in_thread(self._files.drop, settled)

    async def _in_thread(self, work: Callable[..., object], *args: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
