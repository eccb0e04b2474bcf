"""A Dask cluster of this process alone, as far as queues and their clients use one: no network, no scheduler."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from distributed.protocol.serialize import Serialize

from daskqueue.actors import consumer, queue
from daskqueue.actors.cluster import Cluster, Held
from daskqueue.actors.consumer import ConsumerService
from daskqueue.actors.door import Door
from daskqueue.actors.queue import QueueService
from daskqueue.connection import Connection
from daskqueue.testing.loop_thread import LoopThread, Patience

if TYPE_CHECKING:
    from distributed import Client

    from daskqueue.actors.directory import ActorRef
    from daskqueue.actors.queues import PoolSpec
    from daskqueue.clock import ManualClock

ADDRESS = "inproc://daskqueue-testing"


class Notes:
    """Stands for the scheduler: keeps what queues write down about themselves, and knows the only worker."""

    address = ADDRESS

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}

    async def get_metadata(self, keys: list[str], default: Any = None) -> Any:
        """Return the note under a path of keys."""
        found: Any = self._root
        for key in keys:
            if not isinstance(found, Mapping) or key not in found:
                return default
            found = found[key]
        return found

    async def set_metadata(self, keys: list[str], value: Any) -> None:
        """Write a note."""
        place = self._root
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value

    async def ncores(self, workers: list[str] | None = None) -> dict[str, int]:
        """Return those of the workers that are there."""
        return {ADDRESS: 1} if workers is None or ADDRESS in workers else {}


class Site:
    """Stands for a Dask client and for the only worker: its actors are services on one event loop.

    Args:
        clock: what the queues take for the time.
        asynchronous: whether the event loop is the caller's.

    Attributes:
        loop: wraps the event loop as Dask's clients do.
        state: holds the actors by their keys, as a worker's does.
        services: what is behind the actors.
        patience: ends waits that would never end.
        running: how many threads run tasks by hand now.
    """

    address = ADDRESS
    direct_to_workers = True

    def __init__(self, clock: ManualClock, *, asynchronous: bool = False) -> None:
        self.clock = clock
        self.asynchronous = asynchronous
        self.status = "running"
        self.scheduler = Notes()
        self.state = SimpleNamespace(actors={})
        self.services: list[QueueService | ConsumerService] = []
        self.running = 0
        self._calls = 0
        self._consuming: set[str] = set()
        self.patience = Patience(self._steps)
        self._thread = None if asynchronous else LoopThread(self._steps)
        loop = self._thread.loop if self._thread is not None else asyncio.get_running_loop()
        self.loop = SimpleNamespace(asyncio_loop=loop)

    def rpc(self, address: str) -> _Rpc:
        """Return what calls the actors of a worker."""
        if address != ADDRESS:
            raise OSError(f"no worker at {address}")
        return _Rpc(self.state.actors, self._note_call)

    def sync(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Run a coroutine function on the loop; return its awaitable if the loop is the caller's."""
        return function(*args) if self._thread is None else self._thread.sync(function, *args)

    async def open(self, function: Callable[[Any], Any], spec: Any, key: str) -> None:
        """Make what an actor's function makes on a worker, unless it is there already."""
        if key in self.state.actors:
            return
        service: QueueService | ConsumerService
        node, loop = cast("Any", self), self.loop.asyncio_loop
        if function is queue.open_actor:
            service = QueueService(spec, node, loop, self.clock)
        elif function is consumer.open_actor:
            service = ConsumerService(spec, node, loop)
        else:
            raise TypeError(f"{function!r} makes no actor that a pool of daskqueue.testing knows")
        self.services.append(service)
        self.state.actors[key] = Door(service, loop, owns=False)

    @property
    def queues(self) -> list[QueueService]:
        """The queues, in the order they were made."""
        return [service for service in self.services if isinstance(service, QueueService)]

    async def wind(self) -> None:
        """Let the queues do what is due."""
        for service in self.queues:
            await service.wind()

    async def seconds_to_next_event(self) -> float | None:
        """Return how long it is until something is due in a queue by itself, None if nothing will be."""
        times = [seconds for service in self.queues if (seconds := await service.wind()) is not None]
        return min(times, default=None)

    async def close_services(self) -> None:
        """Close consumers, then queues."""
        for service in sorted(self.services, key=lambda service: isinstance(service, QueueService)):
            await service.close()
        self.services.clear()
        self.state.actors.clear()

    def close(self) -> None:
        """End the loop, if it is the site's own."""
        self.status = "closed"
        if self._thread is not None:
            self._thread.close()

    def _note_call(self, actor: str, method: str) -> None:
        self._calls += 1
        if method == "start":
            self._consuming.add(actor)
        elif method == "stop":
            self._consuming.discard(actor)

    def _steps(self) -> int | None:
        return None if self.running or self._consuming else self._calls


class _Rpc:
    """Calls actors as Dask does: arguments and answers travel as bytes."""

    def __init__(self, actors: Mapping[str, Door], on_call: Callable[[str, str], object]) -> None:
        self._actors = actors
        self._on_call = on_call

    async def actor_execute(self, actor: str, function: str, args: list[Any]) -> dict[str, Any]:
        assert function == "call"
        method, blob = args
        self._on_call(actor, method)
        door = self._actors[actor]
        if isinstance(blob, Serialize):
            blob = blob.data
        try:
            return {"status": "OK", "result": await door.call(method, blob)}
        except Exception as error:  # noqa: BLE001  the caller raises it
            return {"status": "error", "exception": pickle.loads(pickle.dumps(error))}


class InProcessCluster(Cluster):
    """The cluster of a :class:`Site`."""

    def __init__(self, site: Site) -> None:
        super().__init__(cast("Client", site))
        self._site = site

    def hold(self, ref: ActorRef) -> Held:
        return Held(ref, None)

    async def make(self, function: Callable[[Any], Any], spec: Any, ref: ActorRef) -> Held:
        await self._site.open(function, spec, ref.key)
        return Held(ref, None)

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


class InProcessConnection(Connection):
    """A pool on a :class:`Site`."""

    def __init__(self, site: Site, spec: PoolSpec) -> None:
        super().__init__(cast("Client", site), spec, cluster=InProcessCluster(site))
        self._site = site

    def check_waiting(self) -> None:
        super().check_waiting()
        self._site.patience.check()
