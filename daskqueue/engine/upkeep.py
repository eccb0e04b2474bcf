"""Looking after the files: sealing full segments, checkpoints, and dropping what is settled."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from daskqueue.clock import Clock
from daskqueue.engine.batches import BatchReader
from daskqueue.engine.files import Files
from daskqueue.engine.reclaim import move_survivors
from daskqueue.errors import StorageError


class Upkeep:
    """Runs a round of upkeep when one is due; nothing is written to the log by others meanwhile."""

    def __init__(self, files: Files, reader: BatchReader, thread: Executor, clock: Clock) -> None:
        self._files = files
        self._reader = reader
        self._thread = thread
        self._clock = clock
        self._round: asyncio.Task[None] | None = None

    def start_if_due(self) -> None:
        """Begin a round if a segment is full or much was written since the last checkpoint."""
        if self._round is None and self._files.need_upkeep():
            self._round = asyncio.get_running_loop().create_task(self._run())

    async def wait(self) -> None:
        """Return when no round is running; what writes without waiting must follow it at once."""
        while self._round is not None:
            await asyncio.wait([self._round])

    async def _run(self) -> None:
        try:
            await self._do_round()
        except StorageError:
            # A failed log says so to every command that follows; a full disk leaves the round for later.
            pass
        finally:
            self._round = None

    async def _do_round(self) -> None:
        loop = asyncio.get_running_loop()
        now = self._clock.now()
        await loop.run_in_executor(self._thread, self._files.roll, now)
        await move_survivors(self._files, self._reader, now)
        taken = self._files.take_checkpoint(now)
        retired = self._files.outcomes.retire(now)
        await loop.run_in_executor(self._thread, self._files.write_checkpoint, taken)
        settled = self._files.settled_segments()
        self._reader.forget(settled)
        await loop.run_in_executor(self._thread, self._files.drop, settled, retired)
