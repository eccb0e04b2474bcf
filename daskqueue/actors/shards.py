"""The queues that hosts serve under one name: looked up and counted, never made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from daskqueue.actors.cluster import Cluster, Held
from daskqueue.actors.directory import hosted_id
from daskqueue.clock import Clock
from daskqueue.errors import DaskQueueError, NoSuchQueueError, QueueError, QueueLostError, SchedulerLostError

if TYPE_CHECKING:
    from daskqueue.actors.directory import ActorRef, Directory, HostedPool

logger = logging.getLogger(__name__)

# How often a pool in use looks whether there are more queues by now.
LOOK_SECONDS = 3.0
# A queue that is away longer than this is worth a line in the log.
TELL_SECONDS = 1.0
# How long one search goes on when nobody may be waiting for it any more.
SEARCH_SECONDS = 20.0
# How long one call waits for a queue that reads its log.
OPEN_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 0.2


class Shards:
    """Knows what the scheduler knows of one hosted pool. All methods run on the client's event loop.

    Args:
        cluster: whose scheduler is asked.
        name: the pool's name.
        on_news: called with what the hosts wrote down, whenever it was read.
    """

    def __init__(self, cluster: Cluster, name: str, on_news: Callable[[HostedPool], object]) -> None:
        self._cluster = cluster
        self._name = name
        self._on_news = on_news
        self._clock = Clock()
        self._looked_at = self._clock.now()
        self._looking: asyncio.Task[None] | None = None
        self._away_since: dict[int, float] = {}
        self._told: set[int] = set()
        self._reasons: dict[int, DaskQueueError] = {}

    async def appear(self, seconds: float) -> None:
        """Return when the scheduler knows of the pool.

        Raises:
            NoSuchQueueError: it did not within *seconds*.
            SchedulerLostError: the scheduler does not answer.
        """
        give_up_at = self._clock.now() + seconds
        told = False
        while True:
            error = await self._why_not_there()
            if error is None:
                return
            if self._clock.now() >= give_up_at or self._cluster.closed:
                raise error
            if not told:
                logger.info("Waiting up to %.0f s for queue %r: %s", seconds, self._name, error)
                told = True
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _why_not_there(self) -> QueueError | None:
        try:
            if await self._look():
                return None
            others = ", ".join(await self._directory.hosted_names()) or "none"
        except SchedulerLostError as error:
            return error
        return NoSuchQueueError(
            f"there is no queue {self._name!r} at {self._cluster.address}; there are: {others}. Check the name, and "
            f"that its hosts run: `kubectl get dq {self._name}`, or the processes `daskqueue serve queue --name "
            f"{self._name}`"
        )

    def look_soon(self) -> None:
        """See in the background whether there are more queues now, unless that was done just now."""
        now = self._clock.now()
        if self._looking is None and now - self._looked_at > LOOK_SECONDS:
            self._looked_at = now
            self._looking = asyncio.get_running_loop().create_task(self._look_quietly())

    async def attach(self, index: int) -> Held:
        """Return a queue once it answers.

        Raises:
            QueueLostError: it does not for a while.
        """
        give_up_at = self._clock.now() + SEARCH_SECONDS
        while True:
            try:
                held = Held(await self._find(index), None)
            except DaskQueueError as error:
                self._tell_away(index, error)
                if self._clock.now() > give_up_at or self._cluster.closed:
                    raise self.gone(index, SEARCH_SECONDS, error) from error
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            else:
                self._tell_back(index, held.ref)
                return held

    def gone(self, index: int, seconds: float, error: DaskQueueError) -> QueueLostError:
        """Return the error of a queue that was waited for in vain, with what to look at."""
        name, reason = self._name, self._reasons.get(index, error)
        return QueueLostError(
            f"shard {index} of queue {name!r} could not be reached for {seconds:.0f} s: {reason}. Look at "
            f"`kubectl get dq {name}` and the pod {name}-shard-{index}; without Kubernetes, at the process "
            f"`daskqueue serve queue --name {name} --shard {index}`, and at the scheduler"
        )

    def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()

    @property
    def _directory(self) -> Directory:
        return self._cluster.directory

    async def _find(self, index: int) -> ActorRef:
        ref = await self._directory.find(hosted_id(self._name), index)
        if ref is None:
            raise QueueLostError("its host has not come yet")
        if not await self._directory.alive([ref.address]):
            raise QueueLostError(f"its host at {ref.address} is gone, and no other has come yet")
        while await self._cluster.caller.call(ref, "open", OPEN_SECONDS) is None:
            logger.info("Shard %d of queue %r is still reading its log", index, self._name)
        return ref

    def _tell_away(self, index: int, reason: DaskQueueError) -> None:
        """Log a queue that cannot be called, once, when that lasts."""
        self._reasons[index] = reason
        now = self._clock.now()
        since = self._away_since.setdefault(index, now)
        if index not in self._told and now - since > TELL_SECONDS:
            self._told.add(index)
            logger.warning("Shard %d of queue %r is away, waiting for it: %s", index, self._name, reason)

    def _tell_back(self, index: int, ref: ActorRef) -> None:
        self._reasons.pop(index, None)
        since = self._away_since.pop(index, 0.0)
        if index in self._told:
            self._told.discard(index)
            seconds = self._clock.now() - since
            logger.info(
                "Shard %d of queue %r is back after %.1f s, at %s", index, self._name, seconds, ref.address
            )

    async def _look(self) -> bool:
        pool = await self._directory.hosted(hosted_id(self._name))
        if pool.size:
            self._on_news(pool)
        return pool.size > 0

    async def _look_quietly(self) -> None:
        try:
            with contextlib.suppress(QueueLostError):  # the scheduler is away; calls find out for themselves
                await self._look()
        finally:
            self._looking = None
