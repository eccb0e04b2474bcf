"""How a client's calls get to workers: straight, or through the scheduler where it cannot reach them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from daskqueue.errors import SchedulerLostError

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

# How long a worker may take to accept a connection before the client tries the other way.
PROBE_SECONDS = 1.0
# How long the scheduler may take to accept one before a call through it has failed.
CONNECT_SECONDS = 3.0
# A busy machine may be slow to accept one.
MOST_PROBES = 2

# Returns something with ``actor_execute`` for the address of a worker.
Route = Callable[[str], Any]


def route_of(client: Client, *, direct: bool | None) -> Route:
    """Return the way to the workers: straight, through the scheduler, or found out by trying with None."""
    if direct:
        return client.rpc
    if direct is None:
        return _Choice(client).to
    return lambda address: _ThroughScheduler(client.scheduler, address)


class _ThroughScheduler:
    """Stands for the rpc of a worker that only the scheduler can reach."""

    def __init__(self, scheduler: Any, address: str) -> None:
        self._scheduler = scheduler
        self._address = address

    async def actor_execute(self, **message: Any) -> Any:
        message["op"] = "actor_execute"
        # Left alone, Dask tries for 30 s, with pauses that grow to many seconds: longer than a scheduler is away.
        try:
            await _connect(self._scheduler.pool, self._scheduler.addr, CONNECT_SECONDS)
        except OSError as error:
            raise SchedulerLostError(f"the scheduler is away: {error}") from error
        try:
            return await self._scheduler.proxy(worker=self._address, msg=message)
        except Exception as error:
            # What the worker raised comes as its text alone: it has no such actor. A method's own error is an answer.
            if type(error) is not Exception:
                raise
            raise KeyError(str(error)) from error


class _Choice:
    """Goes straight once a worker could be reached so; through the scheduler if only that has worked."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._direct: bool | None = None
        self._probes = 0
        self._probing = asyncio.Lock()

    def to(self, address: str) -> Any:
        if self._direct:
            return self._client.rpc(address)
        through = _ThroughScheduler(self._client.scheduler, address)
        return through if self._direct is False else _Undecided(self, address, through)

    async def is_straight(self, address: str) -> bool:
        """Try to connect to a worker, unless it is known by now; one at a time."""
        async with self._probing:
            if self._direct is None and await self._connects(address):
                self._direct = True
            return bool(self._direct)

    def worked_through(self) -> None:
        """Note that the worker which did not accept a connection is there: the network is in the way."""
        self._probes += 1
        if self._direct is None and self._probes >= MOST_PROBES:
            self._direct = False
            logger.info("Workers cannot be reached from here directly: all calls go through the scheduler")

    async def _connects(self, address: str) -> bool:
        try:
            await _connect(self._client.rpc, address, PROBE_SECONDS)
        except OSError:
            return False
        return True


async def _connect(pool: Any, address: str, seconds: float) -> None:
    """Make sure that there is a connection to an address; the next call takes it."""
    pool.reuse(address, await pool.connect(address, timeout=seconds))


class _Undecided:
    def __init__(self, choice: _Choice, address: str, through: _ThroughScheduler) -> None:
        self._choice = choice
        self._address = address
        self._through = through

    async def actor_execute(self, **message: Any) -> Any:
        if await self._choice.is_straight(self._address):
            return await self._choice.to(self._address).actor_execute(**message)
        answer = await self._through.actor_execute(**message)
        self._choice.worked_through()
        return answer
