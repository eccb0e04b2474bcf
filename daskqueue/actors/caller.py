"""Calls of actor methods, each with a deadline.

Dask's own actor handles can wait for ever: a call to an actor whose worker was killed, or that was
re-created elsewhere, may get no answer at all. Everything here goes through :class:`Caller`, which answers
within its deadline with the result, the method's own exception, or a typed error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed.protocol import to_serialize

from daskqueue.errors import QueueLostError

if TYPE_CHECKING:
    from distributed import Client, Worker

DEADLINE_SECONDS = 5.0
# Above this size a copy through msgpack costs more than a frame of its own.
_FRAME_BYTES = 1 << 20


class ActorRef(NamedTuple):
    """Where an actor is: its key, the address of its worker, and which incarnation of a queue it is."""

    key: str
    address: str
    incarnation: int = 0


class Caller:
    """Calls actors from one process; made by :meth:`of_client` or :meth:`of_worker`."""

    def __init__(self, connect: Callable[[str], Any], own: Callable[[ActorRef], Any] | None = None) -> None:
        self._connect = connect
        self._own = own

    @classmethod
    def of_client(cls, client: Client) -> Caller:
        """Return a caller for *client*: straight to the workers, or through the scheduler."""
        if client.direct_to_workers:
            return cls(client.rpc)
        return cls(lambda address: _ThroughScheduler(client.scheduler, address))

    @classmethod
    def of_worker(cls, worker: Worker) -> Caller:
        """Return a caller for code on *worker*'s event loop; its own actors are called directly."""

        def own(ref: ActorRef) -> Any:
            return worker.state.actors.get(ref.key) if ref.address == worker.address else None

        return cls(worker.rpc, own)

    def is_local(self, ref: ActorRef) -> bool:
        """Return whether a call of *ref* stays in this process."""
        return self._own is not None and self._own(ref) is not None

    async def call(
        self, ref: ActorRef, method: str, *args: Any, deadline: float = DEADLINE_SECONDS, **kwargs: Any
    ) -> Any:
        """Call a method of an actor and return what it returns.

        Args:
            ref: the actor.
            method: the name of an ``async def`` method.
            deadline: seconds after which the actor counts as lost. A long poll's deadline is its own
                waiting time and :data:`DEADLINE_SECONDS` more.

        Raises:
            QueueLostError: no answer, no such actor, or no such worker.
            Exception: whatever the method raised.
        """
        if self._own is not None and (actor := self._own(ref)) is not None:
            return await getattr(actor, method)(*args, **kwargs)
        try:
            async with asyncio.timeout(deadline):
                answer = await self._connect(ref.address).actor_execute(
                    actor=ref.key,
                    function=method,
                    args=[_frame(arg) for arg in args],
                    kwargs={name: _frame(value) for name, value in kwargs.items()},
                )
        except TimeoutError as error:
            raise QueueLostError(f"{ref.key} at {ref.address} did not answer in {deadline:g} s") from error
        except (OSError, KeyError, AttributeError) as error:
            raise QueueLostError(f"{ref.key} is not at {ref.address} any more ({error!r})") from error
        if answer["status"] == "OK":
            return answer["result"]
        raise answer["exception"]


class _ThroughScheduler:
    """Stands for the rpc of a worker that only the scheduler can reach."""

    def __init__(self, scheduler: Any, address: str) -> None:
        self._scheduler = scheduler
        self._address = address

    async def actor_execute(self, **message: Any) -> Any:
        message["op"] = "actor_execute"
        return await self._scheduler.proxy(worker=self._address, msg=message)


def _frame(value: Any) -> Any:
    if isinstance(value, (bytes, int, float, str, bool, type(None))):
        return to_serialize(value) if isinstance(value, bytes) and len(value) > _FRAME_BYTES else value
    return to_serialize(value)
