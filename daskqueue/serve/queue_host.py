"""A process that serves one queue of a pool: the queue stays open while workers of Dask come and go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daskqueue import __version__
from daskqueue.actors.directory import Directory, hosted_id
from daskqueue.actors.door import Door
from daskqueue.actors.queue import QueueService
from daskqueue.actors.queue_spec import QueueSpec
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import FolderInUseError, QueueLostError, StorageError
from daskqueue.message import Durability
from daskqueue.serve.membership import Membership, Place
from daskqueue.serve.status_server import NotDrainableError

if TYPE_CHECKING:
    from distributed import Worker

logger = logging.getLogger(__name__)

OPEN_SECONDS = 5.0
# How long to wait between two looks at a folder that another process still holds.
HELD_SECONDS = 0.5
# How often a shard looks whether its pool has more of them than it knows.
FOLLOW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """What one queue host is told.

    Args:
        name: of the pool.
        shard: which of its queues.
        folder: where its files are.
        place: where its scheduler is.
        settings: how the queue keeps its messages.
        defaults: what clients take where their users say nothing: ``retries``, ``overflow``.
    """

    name: str
    shard: int
    folder: str
    place: Place
    settings: QueueSettings = field(default_factory=QueueSettings)
    defaults: Mapping[str, Any] = field(default_factory=dict)


class QueueHost:
    """Serves one queue until it is told to stop."""

    def __init__(self, options: QueueOptions) -> None:
        self._options = options
        self._membership = Membership(options.place, self._joined)
        self._joins = 0
        self._opened = asyncio.Event()
        self._service = QueueService(_spec_of(options), self._membership, asyncio.get_running_loop())

    async def run(self, stop: asyncio.Event) -> None:
        """Open the queue and serve it until *stop* is set; then flush and close it.

        Raises:
            StorageError: the folder cannot be used, or another process has taken it over.
        """
        stopped = asyncio.create_task(stop.wait())
        serving = asyncio.create_task(self._serve())
        self._membership.start()
        try:
            await asyncio.wait([stopped, serving], return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            serving.cancel()
            await self._service.close()
            await self._membership.leave()
            await asyncio.wait([serving])
            stopped.cancel()

    # What its status server says

    def ready(self) -> str:
        """Return why the queue cannot be used now, empty when it can."""
        if not self._opened.is_set():
            return f"shard {self._options.shard} is reading its log, or waits for its folder"
        return self._service.failure or self._membership.waiting

    def stats(self) -> dict[str, Any]:
        """Return what ``/stats`` shows."""
        reason = self.ready()
        reading = self._service.reading()
        return {
            "role": "queue",
            "name": self._options.name,
            "shard": self._options.shard,
            "ready": not reason,
            "reason": reason,
            **(reading.as_stats() if reading else {}),
            "version": __version__,
        }

    def drain(self, on: bool) -> None:
        """Refuse: a queue keeps its messages wherever it is.

        Raises:
            NotDrainableError: always.
        """
        raise NotDrainableError(
            "a queue has nothing to drain: its messages stay in its folder; drain its consumers"
        )

    # Inside

    async def _serve(self) -> None:
        """Open the queue; return only by an error, when the folder is another's."""
        await self._open()
        following = asyncio.create_task(self._follow())
        try:
            error = await self._service.ousted()
        finally:
            following.cancel()
        logger.error("Shard %d of %r ends: %s", self._options.shard, self._options.name, error)
        raise error

    async def _open(self) -> None:
        held = ""
        while True:
            try:
                while await self._service.open(OPEN_SECONDS) is None:
                    logger.info("Shard %d is still reading its log", self._options.shard)
            except FolderInUseError as error:
                if held != (held := str(error)):
                    logger.warning("Waiting for the folder: %s", error)
                await asyncio.sleep(HELD_SECONDS)
            else:
                break
        self._opened.set()
        logger.info("Shard %d of %r is open", self._options.shard, self._options.name)

    async def _follow(self) -> None:
        """See now and then how many queues the pool has."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            if not self._membership.waiting:
                # What fails now is done at the next look.
                with contextlib.suppress(QueueLostError, StorageError, OSError):
                    await self._service.count_queues()

    async def _joined(self, worker: Worker) -> None:
        """Put a door to the queue into the worker, and tell the directory under which key."""
        await self._opened.wait()
        self._joins += 1
        options = self._options
        key = f"{options.name}-queue-{options.shard}-e{self._service.epoch}-g{self._joins}"
        worker.state.actors[key] = Door(self._service, asyncio.get_running_loop(), owns=False)
        directory = Directory(self._membership)
        former = await directory.find(hosted_id(options.name), options.shard)
        await self._service.announce(key)
        if former is not None and former.address != worker.address:
            # Only one process can have the folder open, so the one before is dead, whether Dask knows it or not.
            logger.info("Shard %d was at %s before", options.shard, former.address)
            await directory.drop_worker(former.address)


def _spec_of(options: QueueOptions) -> QueueSpec:
    return QueueSpec(
        pool_id=hosted_id(options.name),
        pool_name=options.name,
        index=options.shard,
        key=f"{options.name}-queue-{options.shard}",
        durability=Durability.DURABLE,
        dirpath=options.folder,
        former_incarnation=0,
        settings=options.settings,
        hosted=True,
        defaults=options.defaults,
    )
