"""Group commit: one sync for everything that arrived since the last one began."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, Future

from daskqueue.errors import QueueFailedError

# Acks and leases are in the page cache at once; this is how soon they are on the disk as well.
LAZY_SYNC_SECONDS = 0.1


class GroupCommit:
    """Syncs in *thread*, one sync at a time; whoever comes while one runs shares the next.

    Args:
        sync: blocking; makes everything in the log durable that was written before it.
        sync_all: blocking; the same for the results as well, which nobody waits for.
        covered: called on the event loop before a sync; its value is given to *synced* after it.
        verify: raises where nothing may be answered any more; asked where no sync asks.
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
        verify: Callable[[], object],
        thread: Executor,
        lazy_seconds: float | None,
    ) -> None:
        self._sync = sync
        self._sync_all = sync_all
        self._all = False
        self._covered = covered
        self._synced = synced
        self._verify = verify
        self._thread = thread
        self._lazy_seconds = lazy_seconds
        # Everybody who waits has a future of his own: one who gives up takes nothing from the others.
        self._waiters: list[asyncio.Future[None]] = []
        self._wanted = False
        self._running = False
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None

    async def durable(self) -> None:
        """Return once everything written so far is as durable as the queue's policy asks.

        Raises:
            QueueFailedError: the sync failed; nothing of what it covered counts as durable.
        """
        if self._lazy_seconds is not None:
            self._verify()
            self._synced(self._covered())
            self.soon()
            return
        await self._join_next()

    def soon(self) -> None:
        """See to it that all that is written so far is synced shortly, without waiting for it."""
        delay = LAZY_SYNC_SECONDS if self._lazy_seconds is None else self._lazy_seconds
        later = asyncio.get_running_loop().call_later
        if delay == float("inf"):
            if self._look is None:
                self._look = later(LAZY_SYNC_SECONDS, self._look_in_background)
        elif self._timer is None:
            self._timer = later(delay, self._sync_in_background)

    async def flush(self) -> None:
        """Sync all now, whatever the policy."""
        self._all = True
        await self._join_next()

    def close(self) -> None:
        """Forget the pending timers; the caller has flushed."""
        for timer in (self._timer, self._look):
            if timer is not None:
                timer.cancel()
        self._timer = self._look = None

    def _sync_in_background(self) -> None:
        self._timer = None
        self._all = True
        self._want()

    def _look_in_background(self) -> None:
        """Without syncs nothing else would tell a queue of which nobody waits for an answer."""
        self._look = None
        with contextlib.suppress(QueueFailedError):  # it is the log's failure from now on
            self._verify()

    def _join_next(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._want()
        return waiter

    def _want(self) -> None:
        if not self._wanted:
            self._wanted = True
            if not self._running:
                # Not at once: what else comes in this turn of the loop shares the sync.
                self._running = True
                asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        waiters, self._waiters, self._wanted = self._waiters, [], False
        sync = self._sync_all if self._all else self._sync
        self._all = False
        covered = self._covered()
        loop = asyncio.get_running_loop()

        def tell(done: Future[object]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                loop.call_soon_threadsafe(self._end, done, covered, waiters)

        try:
            running = self._thread.submit(sync)
        except RuntimeError as error:  # the engine's thread has ended
            running = Future()
            running.set_exception(error)
        running.add_done_callback(tell)

    def _end(self, done: Future[object], covered: int, waiters: list[asyncio.Future[None]]) -> None:
        error = done.exception()
        for waiter in waiters:
            if not waiter.done():
                _answer(waiter, error)
        try:
            # After the answers are on their way: who is woken now begins with work of his own.
            if error is None:
                self._synced(covered)
        finally:
            # Whatever that comes to: nobody who waits for the next sync shall wait for ever.
            if self._wanted:
                self._begin()
            else:
                self._running = False


def _answer(waiter: asyncio.Future[None], error: BaseException | None) -> None:
    """Tell who waits; the failure is the log's from now on, and every later command meets it there."""
    if error is None:
        waiter.set_result(None)
    elif isinstance(error, QueueFailedError):
        waiter.set_exception(error)
    else:
        waiter.set_exception(QueueFailedError(f"sync failed: {error!r}"))
