"""Where the queues of a pool are now: a note in the scheduler's metadata, written by each queue itself."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

from daskqueue.actors.settlement import address_of, name_of
from daskqueue.clock import new_name
from daskqueue.errors import SchedulerLostError

if TYPE_CHECKING:
    from distributed import Client

    from daskqueue.actors.node import Node

_ROOT = "daskqueue"
_POOL = "pool"
_CONSUMERS = "consumers"
_HOSTED = "hosted:"
# How long the scheduler may take to answer; without a bound, a vanished one is waited for for ever.
READ_SECONDS = 10.0


def hosted_id(name: str) -> str:
    """Return the pool id of the queues that hosts serve under *name*."""
    return f"{_HOSTED}{name}"


class Fate(Enum):
    """What the scheduler knows of a consumer."""

    ALIVE = auto()
    AWAY = auto()  # its worker is not there
    REPLACED = auto()  # another process has its place


class ActorRef(NamedTuple):
    """Where an actor is: its key, the address of its worker, and which incarnation of a queue it is."""

    key: str
    address: str
    incarnation: int = 0


class HostedPool(NamedTuple):
    """What hosts have written down of the pool that they serve.

    Attributes:
        queues: where they are.
        lease_seconds: how long a message stays a silent consumer's.
        max_messages: the most messages of one queue that wait or run; None for no bound.
        defaults: options of submits whose user says nothing else; none from hosts of an older version.
        n_queues: how many there are, as those that are there remember it; 0 from hosts of an older version.
    """

    queues: dict[int, ActorRef]
    lease_seconds: float | None
    max_messages: int | None
    defaults: Mapping[str, Any]
    n_queues: int = 0

    @property
    def size(self) -> int:
        """How many queues it has, as far as is known: one that has not come yet is counted, too."""
        return max(max(self.queues, default=-1) + 1, self.n_queues)


class Directory:
    """Reads and writes the notes through a client's or a worker's connection to the scheduler.

    Whatever is asked raises SchedulerLostError when the scheduler is away, or takes longer than *seconds*.
    """

    def __init__(self, node: Client | Node, seconds: float = READ_SECONDS) -> None:
        self._node = node
        self._seconds = seconds

    @property
    def _scheduler(self) -> Any:
        if self._node.scheduler is None:
            raise SchedulerLostError("the Dask client is closed, or has lost its scheduler")
        return self._node.scheduler

    async def _ask(self, method: str, **arguments: Any) -> Any:
        try:
            async with asyncio.timeout(self._seconds):
                return await getattr(self._scheduler, method)(**arguments)
        except SchedulerLostError:
            raise
        except TimeoutError as error:
            raise SchedulerLostError(f"the scheduler has not answered for {self._seconds:g} s") from error
        except (OSError, RuntimeError) as error:
            # What Dask raises when its own connections are closed is a RuntimeError.
            raise SchedulerLostError(f"the scheduler is away: {error}") from error

    async def find(self, pool_id: str, index: int) -> ActorRef | None:
        """Return where queue *index* of the pool was last opened, or None if nobody wrote it down."""
        note = await self._ask("get_metadata", keys=[_ROOT, pool_id, str(index)], default=None)
        return ActorRef(*note) if note else None

    async def hosted_names(self) -> list[str]:
        """Return the names of all pools that hosts serve, sorted."""
        notes = await self._ask("get_metadata", keys=[_ROOT], default={})
        return sorted(key.removeprefix(_HOSTED) for key in notes if key.startswith(_HOSTED))

    async def note(self, pool_id: str, index: int, ref: ActorRef) -> None:
        """Write down that queue *index* of the pool is served at *ref*."""
        await self._ask("set_metadata", keys=[_ROOT, pool_id, str(index)], value=list(ref))

    async def hosted(self, pool_id: str) -> HostedPool:
        """Return where the queues of a pool are that hosts serve, those of them that were ever there."""
        notes = await self._ask("get_metadata", keys=[_ROOT, pool_id], default={})
        about = notes.get(_POOL, {})
        queues = {int(index): ActorRef(*note) for index, note in notes.items() if index != _POOL}
        defaults = about.get("defaults", {})
        lease_seconds, max_messages = about.get("lease_seconds"), about.get("max_messages")
        return HostedPool(queues, lease_seconds, max_messages, defaults, about.get("n_queues", 0))

    async def note_pool(self, pool_id: str, settings: Mapping[str, Any]) -> None:
        """Write down what a client has to know of a pool that hosts serve."""
        await self._ask("set_metadata", keys=[_ROOT, pool_id, _POOL], value=dict(settings))

    async def note_consumer(self, consumer: str) -> None:
        """Write down which process has the place of a host's consumer now."""
        await self._ask("set_metadata", keys=[_ROOT, _CONSUMERS, address_of(consumer)], value=consumer)

    async def fates(self, consumers: Collection[str]) -> dict[str, Fate]:
        """Return what the scheduler knows of each consumer."""
        alive = await self.alive(sorted(set(map(address_of, consumers))))
        notes = await self._ask("get_metadata", keys=[_ROOT, _CONSUMERS], default={})
        return {consumer: _fate(consumer, alive, notes) for consumer in consumers}

    async def drop_worker(self, address: str) -> None:
        """Tell the scheduler that a worker is gone, long before its connection times out."""
        await self._ask("unregister", address=address, stimulus_id=f"daskqueue-successor-{new_name()}")

    async def workers(self) -> list[str]:
        """Return the addresses of all workers, sorted."""
        return sorted(await self._ask("ncores", workers=None))

    async def alive(self, addresses: list[str]) -> set[str]:
        """Return those worker addresses that the scheduler still knows."""
        return set(await self._ask("ncores", workers=addresses))


def _fate(consumer: str, alive: Collection[str], notes: Mapping[str, str]) -> Fate:
    noted = notes.get(address_of(consumer))
    if noted is not None and noted != consumer and name_of(noted) == name_of(consumer):
        return Fate.REPLACED
    return Fate.ALIVE if address_of(consumer) in alive else Fate.AWAY
