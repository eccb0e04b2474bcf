"""Calls of actor methods, each with a deadline.

Dask's own actor handles can wait for ever: a call to an actor whose worker was killed, or that was
re-created elsewhere, may get no answer at all. Everything here goes through :class:`Caller`, which answers
within its deadline with the result, the method's own exception, or a typed error.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import Awaitable, Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from distributed.protocol import to_serialize

from daskqueue.actors.directory import ActorRef, Directory
from daskqueue.errors import QueueLostError, QueueSilentError, SchedulerLostError

if TYPE_CHECKING:
    from daskqueue.actors.node import Node
    from daskqueue.actors.route import Route

DEADLINE_SECONDS = 5.0
# How often the scheduler is asked whether the workers of long calls still exist.
CHECK_SECONDS = 1.0
# Above this size a copy through msgpack costs more than a frame of its own.
_FRAME_BYTES = 1 << 20


Alive = Callable[[list[str]], Awaitable[set[str]]]


class Caller:
    """Calls actors from one process.

    Args:
        connect: the way to the workers; see ``route_of`` for a client's.
        alive: tells which workers the scheduler knows.
        own: finds actors of this process.
    """

    def __init__(self, connect: Route, alive: Alive, own: Callable[[ActorRef], Any] | None = None) -> None:
        self._connect = connect
        self._own = own
        self._watchdog = _Watchdog(alive)

    @classmethod
    def of_node(cls, node: Node) -> Caller:
        """Return a caller for code on a worker's event loop; its own actors are called directly."""

        def own(ref: ActorRef) -> Any:
            return node.state.actors.get(ref.key) if ref.address == node.address else None

        def connect(address: str) -> Any:
            return node.rpc(address)  # its pool of connections may be another one each time

        return cls(connect, Directory(node).alive, own)

    async def call(self, ref: ActorRef, method: str, *args: Any, deadline: float = DEADLINE_SECONDS) -> Any:
        """Call a method of an actor and return what it returns.

        Args:
            ref: the actor.
            method: the name of an ``async def`` method of its service.
            args: plain data.
            deadline: seconds after which the actor counts as lost. A long poll's deadline is its own
                waiting time and :data:`DEADLINE_SECONDS` more.

        Raises:
            QueueLostError: no such actor, or no such worker.
            QueueSilentError: no answer from a worker that lives.
            Exception: whatever the method raised.
        """
        if self._own is not None and (actor := self._own(ref)) is not None:
            return await attrgetter(method)(actor)(*args)
        try:
            async with asyncio.timeout(deadline) as bound:
                with self._watchdog.on(ref.address, bound):
                    answer = await self._connect(ref.address).actor_execute(
                        actor=ref.key, function="call", args=[method, _packed(args)]
                    )
        except TimeoutError as error:
            if self._watchdog.has_lost(ref.address):
                raise QueueLostError(f"{ref.key} was lost with its worker {ref.address}") from error
            raise QueueSilentError(f"{ref.key} at {ref.address} does not answer") from error
        except SchedulerLostError:
            raise
        except (OSError, KeyError, AttributeError, RuntimeError) as error:
            # RuntimeError is what Dask raises while it closes its own connections; a host opens new ones later.
            raise QueueLostError(f"{ref.key} is not at {ref.address} any more ({error!r})") from error
        if answer["status"] == "OK":
            return pickle.loads(answer["result"])
        raise answer["exception"]


class _Watchdog:
    """Ends calls to workers that the scheduler has lost.

    Dask tries for 30 s to connect to an address where nobody listens; the scheduler knows at once.
    """

    def __init__(self, alive: Alive) -> None:
        self._alive = alive
        self._bounds: dict[str, set[asyncio.Timeout]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._check: asyncio.Task[None] | None = None
        self._lost: set[str] = set()

    @contextlib.contextmanager
    def on(self, address: str, bound: asyncio.Timeout) -> Iterator[None]:
        """Watch a call to a worker; *bound* is ended early when the worker is gone."""
        bounds = self._bounds.setdefault(address, set())
        bounds.add(bound)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._tick)
        try:
            yield
        finally:
            bounds.discard(bound)
            if not bounds and self._bounds.get(address) is bounds:
                del self._bounds[address]

    def has_lost(self, address: str) -> bool:
        """Return whether the scheduler did not know a worker any more when it was last asked."""
        return address in self._lost

    def _tick(self) -> None:
        self._timer = None
        if self._bounds:
            loop = asyncio.get_running_loop()
            self._check = loop.create_task(self._end_lost_calls())
            self._timer = loop.call_later(CHECK_SECONDS, self._tick)

    async def _end_lost_calls(self) -> None:
        addresses = list(self._bounds)
        try:
            alive = await self._alive(addresses)
        except (OSError, QueueLostError):
            return
        now = asyncio.get_running_loop().time()
        self._lost = (self._lost - alive) | (set(addresses) - alive)
        for address in set(addresses) - alive:
            for bound in self._bounds.get(address, ()):
                with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                    bound.reschedule(now)


def _packed(args: tuple[Any, ...]) -> Any:
    """Return the arguments as one blob: Dask would spend 170 us more on a few of them one by one."""
    blob = pickle.dumps(args, 5)
    return to_serialize(blob) if len(blob) > _FRAME_BYTES else blob
