"""The queues of a pool as one client sees them: made, adopted, called, and opened again when they are lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from daskqueue.actors import pool_folder
from daskqueue.actors.caller import DEADLINE_SECONDS
from daskqueue.actors.cluster import Cluster, Held
from daskqueue.actors.directory import ActorRef
from daskqueue.actors.pool_folder import PoolRecord, queue_folder
from daskqueue.actors.queue import open_actor
from daskqueue.actors.queue_spec import DURABLE_INCARNATION, QueueSpec
from daskqueue.actors.shards import Shards
from daskqueue.actors.surplus import open_surplus
from daskqueue.clock import Clock
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import (
    DaskQueueError,
    FolderInUseError,
    QueueLostError,
    QueueSilentError,
    SchedulerLostError,
)
from daskqueue.message import Durability
from daskqueue.storage.folder import read_owner
from daskqueue.storage.fs import LocalFileSystem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskqueue.actors.directory import HostedPool

logger = logging.getLogger(__name__)

# How often the client looks (at what it already knows) whether a queue's worker is still there.
WATCH_SECONDS = 0.5
# How long a lost queue's folder may still be held by its dying worker.
HANDOVER_SECONDS = 20.0
# How long one call waits for a queue that reads its log.
OPEN_SECONDS = 2.0
# A call that meets its queue lost more often than this may be what kills it.
MOST_LOSSES = 20
_RETRY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """What makes a pool the pool it is; enough to find or re-open its queues from any process.

    Attributes:
        n_queues: how many queues are open.
        fed: how many of them new messages go to, the first ones; 0 is all. The others are only emptied.
        known: how many the folder ever had; those that are not open are empty, but may have results.
        hosted: whether processes of their own serve its queues (``daskqueue serve queue``); clients only find
            them, and there may be more than *n_queues* by now.
        scheduler: the address of a hosted pool's scheduler.
    """

    pool_id: str
    name: str
    n_queues: int
    durability: Durability
    dirpath: str | None
    settings: QueueSettings = field(default_factory=QueueSettings)
    hosted: bool = False
    scheduler: str | None = None
    fed: int = 0
    known: int = 0

    @property
    def n_known(self) -> int:
        """How many queues may have results of old jobs; more than are open, if the pool has become smaller."""
        return max(self.known, self.n_queues)

    @property
    def n_fed(self) -> int:
        """How many queues new messages go to."""
        return self.fed or self.n_queues


class Queues:
    """Calls the queues of a pool by number. All methods run on the client's event loop.

    Attributes:
        lost_messages: how many transient queues were lost, with what was in them.
        clock: reads the time.
    """

    def __init__(self, cluster: Cluster, spec: PoolSpec) -> None:
        self.spec = spec
        self.lost_messages = 0
        self._cluster = cluster
        self.clock = Clock()
        self._held: dict[int, Held] = {}
        self._tried: dict[int, int] = {}
        self._attaching: dict[int, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._shards = Shards(cluster, spec.name, self._learn) if spec.hosted else None
        self._closed = False

    # Life

    async def open(self) -> None:
        """Find the pool's queues, or make them; returns when all are open.

        Raises:
            StorageError: the folder cannot be used, or somebody else uses it.
            QueueLostError: the cluster has no workers.
        """
        spec = self.spec
        if spec.dirpath is not None:
            self.spec = replace(spec, pool_id=(await self._claim()).pool_id)
        await asyncio.gather(*(self._attach(index, create=True) for index in range(spec.n_queues)))
        if spec.dirpath is None:
            return
        known = await self._cluster.run(pool_folder.count_folders, spec.dirpath, spec.name)
        n_open = await open_surplus(self, known)
        self.spec = replace(self.spec, n_queues=n_open, fed=spec.n_queues, known=known)
        await self._cluster.run(pool_folder.resize, spec.dirpath, n_open)

    async def reach(self, seconds: float) -> None:
        """Find a hosted pool; returns when one of its queues answers.

        Raises:
            NoSuchQueueError: the scheduler knows of none, for *seconds*.
            QueueLostError: none of them answers, for *seconds*.
        """
        assert self._shards is not None
        give_up_at = self.clock.now() + seconds
        await self._shards.appear(seconds)
        left = max(give_up_at - self.clock.now(), 1.0)
        calls = {
            asyncio.create_task(self.call(index, "ping", deadline=left, patience=left))
            for index in range(self.spec.n_queues)
        }
        try:
            while calls:
                done, calls = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                if any(call.exception() is None for call in done):
                    return
            done.pop().result()
        finally:
            for call in calls:
                call.cancel()

    async def find_all(self) -> None:
        """Find or re-open those queues that this client does not know the place of yet."""
        missing = [index for index in range(self.spec.n_queues) if index not in self._held]
        await asyncio.gather(*(self._attach_again(index, None, HANDOVER_SECONDS) for index in missing))

    async def is_open(self, index: int) -> bool:
        """Return whether a queue is open somewhere, whoever holds it."""
        found, _ = await self._find(index)
        return found is not None

    async def adopt(self, index: int) -> bool:
        """Find or open a queue that exists already; return whether it was open."""
        was_open = await self.is_open(index)
        await self._attach(index, create=False)
        return was_open

    def let_go(self, index: int) -> None:
        """Hold a queue no longer; it ends with its last holder, and is opened again if it is called."""
        self._held.pop(index).release()

    def close(self) -> None:
        """Let go of the queues; they end with their last holder, durable ones after a flush."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._shards is not None:
            self._shards.close()
        for task in self._attaching.values():
            task.cancel()
        for held in self._held.values():
            held.release()
        self._held.clear()

    @property
    def closed(self) -> bool:
        """Whether this object or its client is closed."""
        return self._closed or self._cluster.closed

    def check_open(self) -> None:
        """Make sure that the queues can still be called.

        Raises:
            QueueLostError: they cannot.
        """
        if self.closed:
            what = "this handle" if self._closed else "the Dask client"
            again = "connect to it again" if self.spec.hosted else "make a QueuePool with another client"
            raise QueueLostError(f"{what} of pool {self.spec.name!r} is closed: {again}")

    # Calls

    @property
    def refs(self) -> list[tuple[int, ActorRef]]:
        """Where the queues are, by number."""
        return [(index, held.ref) for index, held in sorted(self._held.items())]

    async def call(
        self, index: int, method: str, *args: Any, deadline: float = 30.0, patience: float = 60.0
    ) -> Any:
        """Call a queue, finding or re-opening it first if it is lost; see :meth:`call_at`."""
        _, value = await self.call_at(index, method, *args, deadline=deadline, patience=patience)
        return value

    async def call_at(
        self, index: int, method: str, *args: Any, deadline: float, patience: float
    ) -> tuple[ActorRef, Any]:
        """Call a queue; return where it answered, and what.

        Args:
            index: its number.
            method: a verb of ``QueueService``.
            deadline: seconds that one call may take.
            patience: seconds in which a lost queue may come back, each time it is lost.

        Raises:
            QueueLostError: it did not come back in time, or was lost again and again.
        """
        losses = 0
        give_up_at = self.clock.now() + patience
        if self._shards is not None:
            self._shards.look_soon()
        while True:
            held = self._held.get(index)
            try:
                return await self._call_held(index, held, method, *args, deadline=deadline)
            except QueueLostError as error:
                left = give_up_at - self.clock.now()
                self.check_open()
                if left <= 0 or losses > MOST_LOSSES:
                    raise self._gone(index, patience, error) from error.__cause__
                silent = isinstance(error, QueueSilentError)
                if silent and self._shards is None:
                    continue  # it may only be slow: nothing is made in its place while its worker lives
                # A silent queue of hosts may be elsewhere by now; if it is not, its time goes on running.
                if await self._attach_again(index, held, left) and not silent:
                    losses += 1
                    give_up_at = self.clock.now() + patience

    async def _call_held(
        self, index: int, held: Held | None, method: str, *args: Any, deadline: float
    ) -> tuple[ActorRef, Any]:
        self.check_open()
        if held is None or held.lost:
            raise QueueLostError(f"queue {index} of pool {self.spec.name!r} is not open")
        return held.ref, await self._cluster.caller.call(held.ref, method, *args, deadline=deadline)

    def _gone(self, index: int, seconds: float, error: QueueLostError) -> QueueLostError:
        return error if self._shards is None else self._shards.gone(index, seconds, error)

    def _learn(self, pool: HostedPool) -> None:
        """Take in what hosts wrote down; the number of queues never shrinks, or messages would be out of sight."""
        known, spec = self.spec.settings, self.spec
        settings = replace(
            known,
            lease_seconds=pool.lease_seconds or known.lease_seconds,
            max_messages=pool.max_messages,
        )
        count = max(spec.n_queues, pool.size)
        if 0 < spec.n_queues < count:
            logger.info("Queue %r has %d shards now", spec.name, count)
        self.spec = replace(spec, n_queues=count, settings=settings)

    # Finding and making

    async def _keep(self) -> None:
        """Re-open queues whose worker was lost, also when nobody calls them."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._cluster.closed:
                return
            for index, held in list(self._held.items()):
                if held.lost:
                    with contextlib.suppress(DaskQueueError):
                        await self._attach_again(index, held, HANDOVER_SECONDS)

    async def _attach_again(self, index: int, failed: Held | None, seconds: float) -> bool:
        """Return whether the queue is back."""
        if self._held.get(index) is not failed:
            return True
        task = self._attaching.get(index)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._attach(index, create=False))
            self._attaching[index] = task
            task.add_done_callback(lambda done: self._attached(index, done))
        done, _ = await asyncio.wait([task], timeout=seconds)
        if not done:
            what = f"queue {index} of pool {self.spec.name!r}"
            raise self._gone(index, seconds, QueueLostError(f"{what} did not come back in {seconds:.0f} s"))
        if (error := task.exception()) is not None:
            if not isinstance(error, QueueLostError):
                raise error
            await asyncio.sleep(_RETRY_SECONDS)
        return error is None

    def _attached(self, index: int, task: asyncio.Task[None]) -> None:
        del self._attaching[index]
        if not task.cancelled():
            task.exception()  # whoever waited has heard of it, and nobody else is to

    async def _attach(self, index: int, *, create: bool) -> None:
        """Find queue *index* where it is, or open it on one of the workers."""
        if self._shards is not None:
            self._held[index] = await self._shards.attach(index)
            return
        give_up_at = self.clock.now() + HANDOVER_SECONDS
        while True:
            try:
                ref, generation = await self._find(index)
                if ref is None:
                    # Dask remembers how a key ended: what fails under it once fails for ever.
                    self._tried[index] = generation
                    self._held[index] = await self._make(index, generation, create=create)
                else:
                    self._held[index] = self._cluster.hold(ref)
            except (FolderInUseError, QueueLostError) as error:
                # Its last holder may still be dying, or another client was quicker and is found next time.
                foreign = isinstance(error, FolderInUseError) and self._is_foreign(error.owner)
                if foreign or self.clock.now() > give_up_at or self._cluster.closed:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                if self._watch is None and not self._closed:
                    self._watch = asyncio.get_running_loop().create_task(self._keep())
                return

    async def _find(self, index: int) -> tuple[ActorRef | None, int]:
        """Return where the queue answers, if anywhere, and the generation to make if not."""
        noted = await self._cluster.directory.find(self.spec.pool_id, index)
        if noted is not None and await self._answers(noted):
            return noted, 0
        known = self._held.get(index)
        generations = [self._tried.get(index, 0)]
        generations += [generation_of(ref.key) for ref in (noted, known.ref if known else None) if ref]
        if self.spec.dirpath is not None:
            owner = await self._owner(index)
            held = ActorRef(str(owner.get("key", "")), str(owner.get("host", "")), DURABLE_INCARNATION)
            if held.key and not self._is_foreign(owner) and await self._answers(held):
                return held, 0
            generations.append(int(owner.get("epoch") or 0))
        return None, 1 + max(generations, default=0)

    async def _make(self, index: int, generation: int, *, create: bool) -> Held:
        spec = self._queue_spec(index, generation, create=create)
        workers = await self._cluster.workers()
        address = workers[(index + generation - 1) % len(workers)]
        held = await self._cluster.make(open_actor, spec, ActorRef(spec.key, address))
        caller, deadline = self._cluster.caller, OPEN_SECONDS + 2 * DEADLINE_SECONDS
        try:
            while (answer := await caller.call(held.ref, "open", OPEN_SECONDS, deadline=deadline)) is None:
                logger.info("%s is still reading its log", spec.key)
        except BaseException:
            held.release()
            raise
        if not create and self.spec.dirpath is None:
            self.lost_messages += 1
            logger.warning(
                "Transient queue %d of pool %r was lost with its worker, and what was in it is gone",
                index,
                self.spec.name,
            )
        return held._replace(ref=held.ref._replace(incarnation=answer["incarnation"]))

    def _queue_spec(self, index: int, generation: int, *, create: bool) -> QueueSpec:
        spec = self.spec
        durable = spec.durability is Durability.DURABLE
        known = self._held.get(index)
        return QueueSpec(
            pool_id=spec.pool_id,
            pool_name=spec.name,
            index=index,
            key=f"{spec.name}-queue-{index}-{spec.pool_id[:8]}-g{generation}",
            durability=spec.durability,
            dirpath=spec.dirpath,
            former_incarnation=known.ref.incarnation if known else 0,
            settings=spec.settings,
            create=create or not durable,
        )

    def _is_foreign(self, owner: Mapping[str, Any]) -> bool:
        """Whether a folder's owner belongs to another cluster."""
        return owner.get("cluster") != self._cluster.address

    async def _answers(self, ref: ActorRef) -> bool:
        try:
            if not await self._cluster.directory.alive([ref.address]):
                return False
            while await self._cluster.caller.call(ref, "open", OPEN_SECONDS) is None:
                logger.info("%s is still reading its log", ref.key)
        except (QueueSilentError, SchedulerLostError):
            raise
        except DaskQueueError:
            return False
        return True

    async def _claim(self) -> PoolRecord:
        spec = self.spec
        record: PoolRecord = await self._cluster.run(
            pool_folder.claim, spec.dirpath, spec.name, spec.n_queues
        )
        return record

    async def _owner(self, index: int) -> Mapping[str, Any]:
        spec = self.spec
        owner: dict[str, Any] | None = await self._cluster.run(owner_of, spec.dirpath, spec.name, index)
        return owner or {}


def owner_of(dirpath: str, name: str, index: int) -> dict[str, Any] | None:
    """Return who has a queue's folder, or had it last; runs on a worker."""
    folder = queue_folder(dirpath, name, index)
    fs = LocalFileSystem()
    return read_owner(fs, folder) if fs.exists(folder) else None


def generation_of(key: str) -> int:
    """Return the generation in a queue's key."""
    digits = key.rpartition("-g")[2]
    return int(digits) if digits.isdigit() else 0
