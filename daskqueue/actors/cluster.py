"""The Dask cluster of a client, as far as daskqueue uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

from distributed import Client, Future, Worker
from distributed.comm import CommClosedError

from daskqueue.actors.caller import CHECK_SECONDS, Caller
from daskqueue.actors.directory import READ_SECONDS, ActorRef, Directory
from daskqueue.actors.route import Route, route_of
from daskqueue.clock import Clock
from daskqueue.errors import QueueLostError

# How long a worker may take to make an actor: it may have to wait for a thread that runs a task.
MAKE_SECONDS = 60.0
# The pause before a short function is run again on another worker.
RUN_AGAIN_SECONDS = 0.1


class Held(NamedTuple):
    """An actor that lives at least as long as this is held: where it is, and Dask's claim on it.

    There is no claim on an actor that a host has put into its worker: Dask knows nothing of it.
    """

    ref: ActorRef
    future: Future[Any] | None

    @property
    def lost(self) -> bool:
        """Whether Dask has told this client that the actor is gone."""
        return self.future is not None and self.future.status not in {"pending", "finished"}

    def release(self) -> None:
        """Let go; Dask deletes an actor that nobody holds."""
        if self.future is not None:
            cast("Any", self.future).release()


class Cluster:
    """Finds workers, makes actors on them, runs short functions there; all on the client's event loop.

    Args:
        client: connects to the scheduler.
        route: how actors are called; by default as the client reaches its workers.
        read_seconds: how long the scheduler may take to answer.
    """

    def __init__(
        self, client: Client, route: Route | None = None, read_seconds: float = READ_SECONDS
    ) -> None:
        self.directory = Directory(client, read_seconds)
        self.caller = Caller(
            route or route_of(client, direct=bool(client.direct_to_workers)), self.directory.alive
        )
        self._client = client
        self._clock = Clock()

    @property
    def address(self) -> str:
        """The scheduler's address."""
        return str(cast("Any", self._client.scheduler).address)

    @property
    def closed(self) -> bool:
        """Whether the client is closed, or about to be."""
        return self._client.status in {"closing", "closed"}

    async def workers(self) -> list[str]:
        """Return the addresses of all workers, sorted.

        Raises:
            QueueLostError: there are none.
        """
        workers = await self.directory.workers()
        if not workers:
            raise QueueLostError("the cluster has no workers")
        return workers

    def hold(self, ref: ActorRef) -> Held:
        """Keep an actor that somebody else made."""
        return Held(ref, Future(ref.key, self._client))

    async def make(self, function: Callable[[Any], Any], spec: Any, ref: ActorRef) -> Held:
        """Make an actor with ``function(spec)``; whoever asks for the same key gets the same actor.

        Args:
            function: returns the actor; runs on the worker.
            spec: its argument.
            ref: the key to make it under, and the worker to make it on.

        Raises:
            QueueLostError: the worker did not make it, or was lost.
        """
        future = cast("Any", self._client).submit(
            function, spec, key=ref.key, workers=[ref.address], actor=True, pure=False, priority=100
        )
        try:
            actor = await self._while_alive(_result(future), ref.address)
        except QueueLostError:
            future.release()
            raise
        except RuntimeError as error:
            raise QueueLostError(f"{ref.key} was lost: {error}") from error
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise QueueLostError(f"{ref.key} was cancelled: the cluster restarts") from error
        return Held(ref._replace(address=actor._address), future)  # noqa: SLF001  where Dask put it

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a short function on the event loop of the first worker, past its queue of tasks.

        When that worker is lost meanwhile, another one runs it: it may have been run before.

        Raises:
            QueueLostError: there are no workers, or one after the other was lost.
        """
        give_up_at = self._clock.now() + MAKE_SECONDS
        while True:
            address = (await self.workers())[0]
            try:
                answers = await self._while_alive(
                    cast("Any", self._client).run(function, *args, workers=[address]), address
                )
            except QueueLostError:
                if self._clock.now() > give_up_at:
                    raise
                await asyncio.sleep(RUN_AGAIN_SECONDS)
            else:
                return answers[address]

    async def _while_alive(self, work: Awaitable[Any], address: str) -> Any:
        """Wait for something that a worker does as long as the worker exists; Dask waits far longer."""
        task = asyncio.ensure_future(work)
        try:
            async with asyncio.timeout(MAKE_SECONDS):
                while not task.done():
                    await asyncio.wait([task], timeout=CHECK_SECONDS)
                    if not task.done() and not await self.directory.alive([address]):
                        raise QueueLostError(f"worker {address} was lost")
            return task.result()
        except TimeoutError as error:
            raise QueueLostError(f"worker {address} has not answered for {MAKE_SECONDS:.0f} s") from error
        except CommClosedError as error:
            raise QueueLostError(f"worker {address} was lost: {error}") from error
        finally:
            task.cancel()


async def _result(future: Any) -> Any:
    return await future


def loop_of(node: Client | Worker) -> asyncio.AbstractEventLoop:
    """Return the event loop that a client's or a worker's coroutines run on."""
    return cast("asyncio.AbstractEventLoop", cast("Any", node.loop).asyncio_loop)
