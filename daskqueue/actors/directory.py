"""Where the queues of a pool are now: a note in the scheduler's metadata, written by each queue itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from daskqueue.errors import QueueLostError

if TYPE_CHECKING:
    from distributed import Client, Worker

_ROOT = "daskqueue"


class ActorRef(NamedTuple):
    """Where an actor is: its key, the address of its worker, and which incarnation of a queue it is."""

    key: str
    address: str
    incarnation: int = 0


class Directory:
    """Reads and writes the notes through a client's or a worker's connection to the scheduler."""

    def __init__(self, node: Client | Worker) -> None:
        self._node = node

    @property
    def _scheduler(self) -> Any:
        if self._node.scheduler is None:
            raise QueueLostError("the Dask client is closed, or has lost its scheduler")
        return self._node.scheduler

    async def find(self, pool_id: str, index: int) -> ActorRef | None:
        """Return where queue *index* of the pool was last opened, or None if nobody wrote it down."""
        note = await self._scheduler.get_metadata(keys=[_ROOT, pool_id, str(index)], default=None)
        return ActorRef(*note) if note else None

    async def note(self, pool_id: str, index: int, ref: ActorRef) -> None:
        """Write down that queue *index* of the pool is served at *ref*."""
        await self._scheduler.set_metadata(keys=[_ROOT, pool_id, str(index)], value=list(ref))

    async def workers(self) -> list[str]:
        """Return the addresses of all workers, sorted."""
        return sorted(await self._scheduler.ncores(workers=None))

    async def alive(self, addresses: list[str]) -> set[str]:
        """Return those worker addresses that the scheduler still knows."""
        return set(await self._scheduler.ncores(workers=addresses))
