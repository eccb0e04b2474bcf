"""A process that consumes from all queues of a pool, as many tasks at a time as it has slots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributed.worker import _worker_cvar

from daskqueue import __version__
from daskqueue.actors.consumer import ConsumerService
from daskqueue.actors.consumer_spec import ConsumerSpec
from daskqueue.actors.directory import Directory, hosted_id
from daskqueue.clock import jitter
from daskqueue.consumer import GeneralConsumer
from daskqueue.errors import QueueLostError
from daskqueue.serve.membership import Membership, Place

if TYPE_CHECKING:
    from distributed import Worker

logger = logging.getLogger(__name__)

# How often a consumer looks whether its pool has queues that it does not know.
FOLLOW_SECONDS = 5.0
FIRST_LOOK_SECONDS = 0.2
# A lease as long as a queue host's default, until the queues have said theirs.
LEASE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """What a consumer host is told.

    Args:
        name: whose queues it consumes.
        slots: tasks at a time.
        batch_size: most messages of one lease.
        drain_seconds: how long running tasks may go on after a stop.
        place: where its scheduler is.
        executor: ``threads`` or ``processes``.
        middleware: what is called around tasks, the outermost first.
        resources: what opens each resource that tasks find.
    """

    name: str
    slots: int
    batch_size: int
    drain_seconds: float
    place: Place
    executor: str = "threads"
    middleware: tuple[Any, ...] = ()
    resources: Mapping[str, Callable[[], Any]] = field(default_factory=dict)


class ConsumerHost:
    """Consumes until it is told to stop."""

    def __init__(self, options: ConsumerOptions) -> None:
        self._options = options
        self._pool_id = hosted_id(options.name)
        self._membership = Membership(options.place, self._joined)
        self._directory = Directory(self._membership)
        self._service: ConsumerService | None = None
        self._known: set[int] = set()
        self._draining = False

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until *stop* is set; then finish what runs within the drain time and give back the rest."""
        self._membership.start()
        following = asyncio.create_task(self._follow())
        try:
            await stop.wait()
        finally:
            following.cancel()
            if self._service is not None:
                logger.info("Stopping: what runs may finish within %g s", self._options.drain_seconds)
                finished = await self._service.stop(self._options.drain_seconds)
                logger.info("Stopped; %s", "all was finished" if finished else "what still ran is given back")
            await self._membership.leave()
            await asyncio.wait([following])

    # What its status server says

    def ready(self) -> str:
        """Return an empty string: a consumer is ready as soon as its process serves.

        If it depended on the scheduler or the shards, an outage there would make all consumers unready at once,
        and Kubernetes would then choose its victims by that instead of by what is idle.
        """
        return ""

    def stats(self) -> dict[str, Any]:
        """Return what ``/stats`` shows."""
        return {
            "role": "consumer",
            "name": self._options.place.name,
            "ready": True,
            "reason": self._membership.waiting,
            "draining": self._draining,
            **(self._service.meter.as_stats() if self._service else self._nothing_yet),
            "version": __version__,
        }

    @property
    def _nothing_yet(self) -> dict[str, int]:
        return {"slots": self._options.slots, "busy": 0, "held": 0, "finished": 0}

    def drain(self, on: bool) -> None:
        """Lease nothing more and finish what runs; or lease again."""
        self._draining = on
        if self._service is not None:
            self._service.drain(on)

    # Inside

    async def _joined(self, worker: Worker) -> None:
        if self._service is None:
            await self._start(worker)
        assert self._service is not None
        await self._directory.note_consumer(self._service.id)

    async def _start(self, worker: Worker) -> None:
        options = self._options
        spec = ConsumerSpec(
            name=options.place.name,
            pool_id=self._pool_id,
            queue_pool_id=self._pool_id,
            queues=(),
            homes=0,
            consumer_class=GeneralConsumer,
            batch_size=options.batch_size,
            threads=options.slots,
            early_ack=False,
            lease_seconds=LEASE_SECONDS,
            executor=options.executor,
            middleware=options.middleware,
            resources=options.resources,
        )
        service = ConsumerService(spec, self._membership, asyncio.get_running_loop(), self._on_thread)
        service.drain(self._draining)
        await service.start()
        self._service = service

    def _on_thread(self) -> None:
        """Let ``get_worker()`` in a task find the present worker."""
        worker = self._membership.worker
        if worker is not None:
            _worker_cvar.set(worker)

    async def _follow(self) -> None:
        while True:
            if self._service is not None:
                try:
                    await self._look_for_queues(self._service)
                except (QueueLostError, OSError) as error:
                    logger.debug("Cannot look for queues now: %s", error)
            await asyncio.sleep(FOLLOW_SECONDS if self._known else FIRST_LOOK_SECONDS)

    async def _look_for_queues(self, service: ConsumerService) -> None:
        found = await self._directory.hosted(self._pool_id)
        new = sorted(set(found.queues) - self._known, key=lambda _: jitter())
        for index in new:
            # In an order of its own, so that not all consumers begin with the same queue.
            service.add_queue(index, found.queues[index], home=True)
            logger.info("Consuming from queue %d of %r", index, self._options.name)
        self._known.update(new)
        if found.lease_seconds is not None:
            service.lease_seconds = found.lease_seconds
