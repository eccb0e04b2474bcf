"""Progress notes of tasks on their way to one queue."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from queue import Empty, SimpleQueue

from daskqueue.errors import QueueLostError

logger = logging.getLogger(__name__)

# Between two calls; what is said meanwhile shares the next one.
PAUSE_SECONDS = 0.1

Remark = tuple[int, int, int, bytes]


class Remarks:
    """Sends the last note of each message soon, and all of them when it is told to.

    Args:
        send: calls the queue with ``(lease, epoch, sequence, note)`` of several messages.
        loop: where it runs.
    """

    def __init__(
        self, send: Callable[[list[Remark]], Awaitable[object]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._send = send
        self._loop = loop
        # Filled by task threads, which take no lock of Python's own: they may be interrupted.
        self._said: SimpleQueue[Remark] = SimpleQueue()
        self._waiting: dict[int, Remark] = {}
        self._sending = asyncio.Lock()
        self._awake = False
        self._task: asyncio.Task[None] | None = None

    def put(self, receipt: tuple[int, int], sequence: int, note: bytes) -> None:
        """Take a note, from any thread."""
        self._said.put((*receipt, sequence, note))
        if not self._awake:
            self._awake = True
            with contextlib.suppress(RuntimeError):  # the loop of a worker that ends
                self._loop.call_soon_threadsafe(self._begin)

    async def flush(self) -> None:
        """Return when all notes so far are at the queue, which may refuse them.

        Raises:
            QueueLostError: it is not there; they are kept.
        """
        async with self._sending:
            self._gather()
            if self._waiting:
                waiting, self._waiting = self._waiting, {}
                try:
                    await self._send(list(waiting.values()))
                except (QueueLostError, asyncio.CancelledError):
                    self._waiting = {**waiting, **self._waiting}
                    raise
                except Exception:
                    # How far a task has come is not worth holding back how it ended.
                    logger.warning("A queue refuses notes of progress", exc_info=True)

    def close(self) -> None:
        """Send nothing more."""
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._send_on())

    def _gather(self) -> None:
        self._awake = False
        with contextlib.suppress(Empty):
            while True:
                remark = self._said.get_nowait()
                self._waiting[remark[2]] = remark

    async def _send_on(self) -> None:
        # Whoever finds a lost queue again tells it what came of its messages, and of these notes before that.
        with contextlib.suppress(QueueLostError):
            while self._awake or self._waiting:
                await self.flush()
                await asyncio.sleep(PAUSE_SECONDS)
        self._task = None
