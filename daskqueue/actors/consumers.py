"""The consumers of a pool as their client sees them: made, started, replaced when they are lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from daskqueue.actors.caller import DEADLINE_SECONDS
from daskqueue.actors.cluster import MAKE_SECONDS, Cluster, Held
from daskqueue.actors.consumer import open_actor
from daskqueue.actors.consumer_spec import THREADS, ConsumerSpec
from daskqueue.actors.directory import ActorRef
from daskqueue.actors.queues import WATCH_SECONDS
from daskqueue.clock import Clock, new_name
from daskqueue.errors import DaskQueueError, QueueLostError

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues
    from daskqueue.consumer import ConsumerBaseClass
    from daskqueue.middleware import Middleware

logger = logging.getLogger(__name__)

STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class CrewSpec:
    """What the consumers of one pool have in common; see ``ConsumerSpec``."""

    pool_id: str
    count: int
    consumer_class: type[ConsumerBaseClass]
    batch_size: int
    threads: int
    early_ack: bool
    executor: str = THREADS
    middleware: tuple[Middleware, ...] = ()
    resources: Mapping[str, Callable[[], Any]] = field(default_factory=dict)


class Consumers:
    """Makes and calls the consumers of one pool. All methods run on the client's event loop."""

    def __init__(self, cluster: Cluster, queues: Queues, spec: CrewSpec) -> None:
        self._cluster = cluster
        self._queues = queues
        self._spec = spec
        self._held: dict[str, Held] = {}
        self._clock = Clock()
        self._watch: asyncio.Task[None] | None = None
        self.running = False
        self.was_started = False

    @property
    def names(self) -> list[str]:
        """The consumers' names, which are also their keys in ``results()``."""
        return [f"{self._spec.consumer_class.__name__}-{index}" for index in range(self._spec.count)]

    async def make(self) -> None:
        """Make those consumers that are not there, beside the queues first."""
        await self._queues.find_all()
        missing = [index for index, name in enumerate(self.names) if name not in self._held]
        placed = await self._placement()
        await asyncio.gather(*(self._make(index, placed[index]) for index in missing))

    async def start(self) -> None:
        """Start the consumers; returns when all of them consume. Does nothing when they do already."""
        if self.running:
            return
        await self.make()
        await asyncio.gather(*(self._start(name) for name in self.names))
        self.running = self.was_started = True
        self._watch = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop the consumers; what runs is finished, what was only fetched is given back."""
        self.running = False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        await asyncio.gather(*(self._stop(name, seconds) for name in self.names))

    async def statuses(self) -> dict[str, dict[str, Any] | None]:
        """Return what each consumer says of itself, None for one that does not answer."""
        return dict(zip(self.names, await asyncio.gather(*map(self._status, self.names)), strict=True))

    def forget(self, pool_id: str | None = None) -> None:
        """Let go of all consumers, so that the next start makes new ones; under *pool_id*, if it is given."""
        if pool_id is not None:
            self._spec = replace(self._spec, pool_id=pool_id)
            self.was_started = False
        for held in self._held.values():
            held.release()
        self._held.clear()

    def close(self) -> None:
        """Let go of all consumers for good."""
        if self._watch is not None:
            self._watch.cancel()
        self.forget()

    # Inside

    async def _keep(self) -> None:
        """Replace consumers whose worker was lost."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._cluster.closed:
                return
            for name in self.names:
                held = self._held.get(name)
                if held is None or held.lost:
                    try:
                        await self._replace(name)
                    except Exception as error:  # noqa: BLE001
                        # Whatever it is (a database that is away, say), the next round may have more luck.
                        logger.warning("%s could not be replaced: %r", name, error)

    async def _replace(self, name: str) -> None:
        if (lost := self._held.pop(name, None)) is not None:
            logger.info("%s was lost with its worker: starting it on another", name)
            lost.release()
        index = self.names.index(name)
        placed = await self._placement()
        await self._make(index, placed[index])
        try:
            await self._start(name)
        except BaseException:
            self._held.pop(name).release()
            raise

    async def _placement(self) -> list[str]:
        """Return a worker for each consumer: beside its home queue, then where the fewest are."""
        workers = await self._cluster.workers()
        load = dict.fromkeys(workers, 0)
        homes = [ref.address for _, ref in self._queues.refs]
        placed = []
        for index in range(self._spec.count):
            fewest = min(workers, key=lambda address: load[address])
            address = homes[index] if index < len(homes) and homes[index] in load else fewest
            load[address] += 1
            placed.append(address)
        return placed

    async def _make(self, index: int, address: str) -> None:
        name = self.names[index]
        give_up_at = self._clock.now() + MAKE_SECONDS
        while True:
            key = f"{name}-{self._spec.pool_id[:8]}-{new_name()[:8]}"
            spec = self._consumer_spec(index)
            try:
                self._held[name] = await self._cluster.make(open_actor, spec, ActorRef(key, address))
            except QueueLostError:
                # The worker died meanwhile: another will do.
                if self._clock.now() > give_up_at:
                    raise
                address = (await self._placement())[index]
            else:
                return

    def _consumer_spec(self, index: int) -> ConsumerSpec:
        spec, queues = self._spec, self._queues.refs
        count = len(queues)
        own = list(range(index % count, count, spec.count)) if index < count else [index % count]
        others = [(index + step) % count for step in range(count) if (index + step) % count not in own]
        return ConsumerSpec(
            name=self.names[index],
            pool_id=spec.pool_id,
            queue_pool_id=self._queues.spec.pool_id,
            queues=tuple(queues[number] for number in own + others),
            homes=len(own),
            consumer_class=spec.consumer_class,
            batch_size=spec.batch_size,
            threads=spec.threads,
            early_ack=spec.early_ack,
            lease_seconds=self._queues.spec.settings.lease_seconds,
            executor=spec.executor,
            middleware=spec.middleware,
            resources=spec.resources,
        )

    async def _start(self, name: str) -> None:
        await self._cluster.caller.call(self._held[name].ref, "start", deadline=MAKE_SECONDS)

    async def _stop(self, name: str, seconds: float) -> None:
        if name in self._held:
            with contextlib.suppress(DaskQueueError):
                await self._cluster.caller.call(
                    self._held[name].ref, "stop", seconds, deadline=seconds + 2 * DEADLINE_SECONDS
                )

    async def _status(self, name: str) -> dict[str, Any] | None:
        if name not in self._held:
            return None if self.was_started else {"received": 0, "pending": 0}
        try:
            status: dict[str, Any] = await self._cluster.caller.call(self._held[name].ref, "status")
        except DaskQueueError:
            return None
        return status
