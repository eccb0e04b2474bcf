"""One queue as a consumer sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from daskqueue.actors.caller import DEADLINE_SECONDS, Caller
from daskqueue.actors.directory import ActorRef, Directory
from daskqueue.actors.remarks import Remarks
from daskqueue.actors.settlement import Pairs, Settlement
from daskqueue.errors import DaskQueueError, QueueLostError
from daskqueue.message import pack_id

logger = logging.getLogger(__name__)

PARK_SECONDS = 20.0
# How long a call that may have to read or sync a lot is waited for.
CALL_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.2


class Source:
    """Calls one queue, waits for it to have work, and finds it again when it has moved.

    Args:
        caller: makes the calls.
        directory: where the queue's present place is written down.
        pool_id: its pool.
        index: its number there.
        consumer: who calls.
        ref: where it was last.
        home: whether it should wake this consumer before others.
        on_work: called when it may have work, and when it is found again.
        on_cancel: called with pairs of sequences whose cancel was asked for while this consumer has them.
        loop: where all of this happens.
    """

    def __init__(
        self,
        caller: Caller,
        directory: Directory,
        pool_id: str,
        index: int,
        consumer: str,
        ref: ActorRef,
        *,
        home: bool,
        on_work: Callable[[], object],
        on_cancel: Callable[[Pairs], object],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        # A consumer begins at home; elsewhere it waits to be asked for help.
        self.may_have_work = home
        self.lost = False
        self.rests_until = 0.0
        self.outbox: list[Settlement] = []
        self.request = 0
        self._caller = caller
        self._directory = directory
        self._pool_id = pool_id
        self._index = index
        self._consumer = consumer
        self._ref = ref
        self.home = home
        self._on_work = on_work
        self._on_cancel = on_cancel
        self.remarks = Remarks(partial(self.call, "progress", consumer), loop)
        self._parked: asyncio.Task[None] | None = None
        self._search: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def base_id(self) -> int:
        """The id of the queue's message with sequence 0."""
        return pack_id(self._index, self._ref.incarnation, 0)

    @property
    def name(self) -> str:
        """The queue's name: its pool's and its number."""
        return f"{self._ref.key.rpartition('-queue-')[0]}-{self._index}"

    async def call(self, method: str, *args: Any) -> Any:
        """Call the queue where it was last; raises QueueLostError when it is not there."""
        return await self._caller.call(self._ref, method, *args, deadline=CALL_SECONDS)

    async def ping(self) -> None:
        """Return when the queue has answered, wherever it is now."""
        try:
            await self._caller.call(self._ref, "ping")
        except QueueLostError:
            found = await self._directory.find(self._pool_id, self._index)
            if found is None or found == self._ref:
                raise
            self._ref = found
            await self._caller.call(self._ref, "ping")

    def park(self) -> None:
        """Wait in the background until the queue has work."""
        if not self.may_have_work and not self.lost and self._parked is None:
            self._parked = asyncio.get_running_loop().create_task(self._wait_for_work())

    def listen(self) -> None:
        """Hear in the background, for a while at least, which messages that run here are to be cancelled."""
        if not self.lost and self._listening is None:
            self._listening = asyncio.get_running_loop().create_task(self._hear_cancels())

    def look_for_it(self) -> None:
        """Find out in the background where the queue is now."""
        self.lost = True
        if self._search is None:
            self._search = asyncio.get_running_loop().create_task(self._find())

    def rest(self, refusal: DaskQueueError, until: float) -> None:
        """Leave a queue alone for a while that refuses what it is told; said once in the log."""
        told = logger.debug if self.rests_until else logger.warning
        told("%s refuses what %s says, which is kept and said again: %s", self.name, self._consumer, refusal)
        self.rests_until = until

    def heard(self) -> None:
        """Note that the queue has taken what it was told."""
        if self.rests_until:
            self.rests_until = 0.0
            logger.info("%s hears %s again", self.name, self._consumer)

    def close(self) -> None:
        """Stop what runs in the background."""
        self.remarks.close()
        for task in (self._parked, self._search, self._listening):
            if task is not None:
                task.cancel()

    async def _wait_for_work(self) -> None:
        deadline = PARK_SECONDS + DEADLINE_SECONDS
        arguments = (self.home, PARK_SECONDS, self._consumer)
        try:
            while not await self._caller.call(self._ref, "park", *arguments, deadline=deadline):
                pass
        except DaskQueueError:
            self._parked = None
            self.look_for_it()
            return
        self._parked = None
        self.may_have_work = True
        self._on_work()

    async def _hear_cancels(self) -> None:
        deadline = PARK_SECONDS + DEADLINE_SECONDS
        try:
            told = await self._caller.call(
                self._ref, "cancels", self._consumer, PARK_SECONDS, deadline=deadline
            )
        except DaskQueueError:
            self.look_for_it()
        else:
            if told:
                self._on_cancel(told)
        finally:
            self._listening = None

    async def _find(self) -> None:
        while True:
            try:
                found = await self._directory.find(self._pool_id, self._index)
                if found is not None:
                    await self._caller.call(found, "ping")
                    self._ref = found
                    break
            except (QueueLostError, OSError):
                pass
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        self._search = None
        self.lost = False
        self.may_have_work = True
        self._on_work()
