"""What a pool's handles in one process share: the client, the queues, the puts and the waits on their way."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, cast

from distributed import Client, default_client, get_client

from daskqueue.actors.cluster import Cluster, loop_of
from daskqueue.actors.queues import PoolSpec, Queues
from daskqueue.actors.waiting import Waiting
from daskqueue.submitting import Submitter


class Connection:
    """A pool as this process reaches it; the queues are let go when the last handle here is dropped.

    Args:
        client: a Dask client; None for the one of this task or process.
        spec: the pool.
    """

    def __init__(self, client: Client | None, spec: PoolSpec) -> None:
        self.client = client if client is not None else _client_here()
        self.cluster = Cluster(self.client)
        self.queues = Queues(self.cluster, spec)
        self.waiting = Waiting(self.queues)
        loop = loop_of(self.client)
        self.submitter = Submitter(self.queues, loop)
        weakref.finalize(self, _close_soon, self.queues, self.waiting, loop)

    def sync(self, function: Any, *args: Any) -> Any:
        """Run a coroutine function on the client's loop; with an asynchronous client, return its awaitable."""
        return cast("Any", self.client).sync(function, *args)


def _client_here() -> Client:
    try:
        return get_client()
    except ValueError:
        return cast("Client", cast("Any", default_client)())


def _close_soon(queues: Queues, waiting: Waiting, loop: asyncio.AbstractEventLoop) -> None:
    def close() -> None:
        waiting.close()
        queues.close()

    if not loop.is_closed():
        loop.call_soon_threadsafe(close)
