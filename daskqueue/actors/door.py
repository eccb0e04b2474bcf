"""What Dask holds of a queue or a consumer: a door that closes the service behind it when Dask lets go."""

from __future__ import annotations

import asyncio
import pickle
import weakref
from collections.abc import Coroutine, Mapping
from operator import attrgetter
from typing import Any, Protocol, Self

from distributed import get_worker

from daskqueue.actors.cluster import loop_of

# How soon it is noticed that Dask has deleted an actor while calls are parked at it.
LOOK_SECONDS = 0.5
# How soon it is noticed that Dask has entered it; and that it never will, because it was deleted even before.
FIRST_LOOK_SECONDS = 0.05
NEVER_SECONDS = 3.0


class Service(Protocol):
    """Something that runs on a worker's event loop until it is closed."""

    def close(self) -> Coroutine[Any, Any, None]:
        """Stop, and give up what is held."""
        ...


class Door:
    """An actor whose methods are those of its service.

    Dask deletes an actor without a word when its last handle is dropped. The service's own tasks would keep
    it alive for ever if it were the actor itself; this object has no other owner than Dask, so that its end
    is the service's. A host keeps its service itself and opens a new door whenever it has joined a scheduler.
    """

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop, *, owns: bool = True) -> None:
        self._service = service
        if owns:
            weakref.finalize(self, _close_soon, service, loop)

    def guard(self, actors: Mapping[Any, Any], loop: asyncio.AbstractEventLoop) -> Self:
        """Close the service also when a parked call keeps the door alive that Dask has deleted.

        Args:
            actors: the actors that Dask has here.
            loop: the worker's event loop.
        """
        door: weakref.ref[Door] = weakref.ref(self)
        loop.call_soon_threadsafe(_look_after, door, actors, loop)
        return self

    async def call(self, method: str, blob: bytes) -> bytes:
        """Call a method of the service (``put``, ``dead.list``); arguments and answer are one pickle each."""
        return pickle.dumps(await attrgetter(method)(self._service)(*pickle.loads(blob)), 5)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._service, name)


def _look_after(
    door: weakref.ref[Door],
    actors: Mapping[Any, Any],
    loop: asyncio.AbstractEventLoop,
    looks: int = int(
        NEVER_SECONDS / FIRST_LOOK_SECONDS
    ),  # how often it may not be there before it counts as deleted
) -> None:
    there = door()
    if there is None:
        return
    if any(actor is there for actor in actors.values()):
        loop.call_later(LOOK_SECONDS, _look_after, door, actors, loop, 0)
    elif looks:
        loop.call_later(FIRST_LOOK_SECONDS, _look_after, door, actors, loop, looks - 1)
    else:
        _close_soon(there._service, loop)  # noqa: SLF001  its own


def worker_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of the worker that runs this code, whichever thread asks."""
    return loop_of(get_worker())


def _close_soon(service: Service, loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(lambda: loop.create_task(service.close()))
