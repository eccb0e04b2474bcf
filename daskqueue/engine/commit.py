"""Group commit: one sync for everything that arrived since the last one began."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from daskqueue.errors import QueueFailedError

# Acks and leases are in the page cache at once; this is how soon they are on the disk as well.
LAZY_SYNC_SECONDS = 0.1


class GroupCommit:
    """Syncs in *thread*, one sync at a time; whoever comes while one runs shares the next.

    Args:
        sync: blocking; makes everything in the log durable that was written before it.
        sync_all: blocking; the same for the results as well, which nobody waits for.
        covered: called on the event loop before a sync; its value is given to *synced* after it.
        thread: runs the syncs.
        lazy_seconds: None when callers of :meth:`durable` wait for the disk; otherwise they do not, and
            the disk follows after this time.
    """

    def __init__(
        self,
        sync: Callable[[], object],
        sync_all: Callable[[], object],
        covered: Callable[[], int],
        synced: Callable[[int], object],
        thread: Executor,
        lazy_seconds: float | None,
    ) -> None:
        self._sync = sync
        self._sync_all = sync_all
        self._all = False
        self._covered = covered
        self._synced = synced
        self._thread = thread
        self._lazy_seconds = lazy_seconds
        self._next: asyncio.Future[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def durable(self) -> None:
        """Return once everything written so far is as durable as the queue's policy asks.

        Raises:
            QueueFailedError: the sync failed; nothing of what it covered counts as durable.
        """
        if self._lazy_seconds is not None:
            self._synced(self._covered())
            self.soon()
            return
        await asyncio.shield(self._join_next())

    def soon(self) -> None:
        """See to it that all that is written so far is synced shortly, without waiting for it."""
        if self._timer is None:
            delay = LAZY_SYNC_SECONDS if self._lazy_seconds is None else self._lazy_seconds
            if delay != float("inf"):
                self._timer = asyncio.get_running_loop().call_later(delay, self._sync_in_background)

    async def flush(self) -> None:
        """Sync all now, whatever the policy."""
        self._all = True
        await asyncio.shield(self._join_next())

    def close(self) -> None:
        """Forget the pending timer; the caller has flushed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sync_in_background(self) -> None:
        self._timer = None
        self._all = True
        # The failure is the log's from now on, and every later command meets it there.
        self._join_next().add_done_callback(lambda future: future.cancelled() or future.exception())

    def _join_next(self) -> asyncio.Future[None]:
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())
        return self._next

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while (waiters := self._next) is not None:
            self._next = None
            sync = self._sync_all if self._all else self._sync
            self._all = False
            covered = self._covered()
            try:
                await loop.run_in_executor(self._thread, sync)
            except Exception as error:  # noqa: BLE001  whatever it was, nobody may take it for durable
                _fail(waiters, error)
            else:
                self._synced(covered)
                waiters.set_result(None)
        self._running = None


def _fail(waiters: asyncio.Future[None], error: Exception) -> None:
    if not isinstance(error, QueueFailedError):
        error = QueueFailedError(f"sync failed: {error!r}")
    waiters.set_exception(error)
    waiters.exception()  # also when nobody is left to ask
