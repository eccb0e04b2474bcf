"""A pool whose queues live in this process, for tests of code that uses queues."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from daskqueue.actors.handling import Equipment
from daskqueue.arguments import Duration, seconds_of
from daskqueue.clock import ManualClock
from daskqueue.connection import Connection
from daskqueue.consumer import ConsumerBaseClass, GeneralConsumer
from daskqueue.errors import QueueLostError
from daskqueue.message import Durability
from daskqueue.pool import QueuePool
from daskqueue.testing.hand import Hand
from daskqueue.testing.site import InProcessConnection, Site

if TYPE_CHECKING:
    from distributed import Client

    from daskqueue.actors.queues import PoolSpec
    from daskqueue.middleware import Middleware
    from daskqueue.submitting.options import SubmitOptions

CONSUMER = "by-hand"
# A full queue has room again only when somebody runs what is in it.
PUT_TIMEOUT = "5s"
# A task may be handed the pool that it is in; its pickle is only a name.
_open_pools: weakref.WeakValueDictionary[str, InProcessPool] = weakref.WeakValueDictionary()


class HandClock(ManualClock):
    """The time of one pool; it stands still until it is advanced.

    Args:
        start: its first moment, in epoch seconds; None for now.
    """

    def __init__(self, start: float | None = None) -> None:
        super().__init__(start)
        self.site: Site | None = None

    def advance(self, duration: Duration) -> Any:
        """Let time pass: what is due becomes ready, leases end, messages expire.

        Args:
            duration: seconds, a timedelta, or text such as ``"10s"``.

        Returns:
            None; with an asynchronous pool something to await.
        """
        super().advance(seconds_of("duration", duration))
        return self.site.sync(self.site.wind) if self.site is not None else None


class InProcessPool(QueuePool):
    """A :class:`~daskqueue.QueuePool` in this process: the same queues, and nothing runs before :meth:`run_all`.

    Args:
        n_queues: how many queues.
        dirpath: folder of a durable pool; None for one in memory.
        now: the first moment of its clock, in epoch seconds; None for now.
        asynchronous: whether it is used on the running event loop, with ``await`` and ``async with``.
        consumer_class: what is done with each message; the default calls the submitted functions.
        middleware, resources: as of ``ConsumerPool``; opened before the first message, closed with the pool.
        options: what else :class:`~daskqueue.QueuePool` takes, such as ``retries`` and ``max_messages``.

    Attributes:
        clock: the time of its queues, wound by hand.

    Raises:
        ValueError, TypeError: as ``QueuePool``.
        StorageError: the folder cannot be used, or somebody else uses it.
    """

    def __init__(
        self,
        n_queues: int = 1,
        *,
        dirpath: str | os.PathLike[str] | None = None,
        now: float | None = None,
        asynchronous: bool = False,
        consumer_class: type[ConsumerBaseClass] = GeneralConsumer,
        middleware: Sequence[Middleware] = (),
        resources: Mapping[str, Callable[[], Any]] | None = None,
        **options: Any,
    ) -> None:
        self.clock = HandClock(now)
        self._site = self.clock.site = Site(self.clock, asynchronous=asynchronous)
        self._equipment = Equipment(CONSUMER, consumer_class, tuple(middleware), resources or {})
        self._hands: list[Hand] = []  # one at most; all views of the pool share it
        durability = Durability.TRANSIENT if dirpath is None else Durability.DURABLE
        try:
            super().__init__(None, n_queues, durability, dirpath, **{"put_timeout": PUT_TIMEOUT, **options})
        except BaseException:
            self._site.close()
            raise
        _open_pools[self.pool_id] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return _found, (self.pool_id, self._options)

    def run_one(self) -> bool:
        """Run the message that is next, in this thread; return whether there was one.

        With an asynchronous pool, return something to await; the message runs in another thread.
        """
        if self._site.asynchronous:
            return cast("bool", self._run_later(1))
        return self._run_here(1) == 1

    def run_all(self, *, delayed: bool = False) -> int:
        """Run what is ready, in this thread, one message after the other, until nothing is.

        A message that is delayed, or waits for its retry, is not ready before :attr:`clock` is advanced.
        With an asynchronous pool, return something to await; the messages run in another thread.

        Args:
            delayed: advance the clock to whatever comes next, until nothing comes any more.

        Returns:
            How many ran; a message that was run again counts again.
        """
        if self._site.asynchronous:
            return cast("int", self._run_later(None, delayed=delayed))
        return self._run_here(None, delayed=delayed)

    def close(self) -> Any:
        """End the queues; what lies in a folder can be opened again.

        With an asynchronous pool, return something to await.
        """
        if self._site.asynchronous:
            return self._close_later()
        if self._site.status == "running":
            super().close()
            self._close_hands()
            self._site.sync(self._site.close_services)
            self._site.close()
        return None

    # Inside

    async def _open(self) -> None:
        if not self._opened:
            await self.queues.open()
            self._opened = True

    def _connect(self, client: Client | None, spec: PoolSpec) -> Connection:
        return InProcessConnection(self._site, spec)

    def _view(self, options: SubmitOptions) -> InProcessPool:
        view = InProcessPool.__new__(InProcessPool)
        view.__dict__.update(self.__dict__, _options=options)
        return view

    @property
    def _hand(self) -> Hand:
        if not self._hands:
            self._hands.append(Hand(self.queues, self._site, self._equipment))
        return self._hands[0]

    def _run_here(self, most: int | None, *, delayed: bool = False) -> int:
        with self._hand.lock:
            count = 0
            while count != most:
                work = self.sync(self._next, delayed)
                if work is None:
                    return count
                self._hand.run(work)
                count += 1
            self.sync(self._hand.report)
            return count

    async def _run_later(self, most: int | None, *, delayed: bool = False) -> int:
        count = 0
        while count != most:
            work = await self._next(delayed)
            if work is None:
                return count
            await asyncio.to_thread(self._hand.run, work)
            count += 1
        await self._hand.report()
        return count

    async def _next(self, delayed: bool) -> Any:
        """Lease the next message; with *delayed*, let time pass until there is one."""
        while (work := await self._hand.next()) is None and delayed:
            seconds = await self._site.seconds_to_next_event()
            if seconds is None:
                break
            ManualClock.advance(self.clock, seconds)
            await self._site.wind()
        return work

    def _close_hands(self) -> None:
        for hand in self._hands:
            hand.close()

    async def _close_later(self) -> None:
        if self._site.status == "running":
            await cast("Any", super().close())
            await asyncio.to_thread(self._close_hands)
            await self._site.close_services()
            self._site.close()


def _found(pool_id: str, options: SubmitOptions) -> InProcessPool:
    pool = _open_pools.get(pool_id)
    if pool is None:
        raise QueueLostError(
            "a pool of daskqueue.testing can be used only in its process, and while it is open"
        )
    return pool._view(options)  # noqa: SLF001  its constructor
