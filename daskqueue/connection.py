"""What a pool's handles in one process share: the client, the queues, the puts and the waits on their way."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, cast

from daskqueue.actors.cluster import Cluster, loop_of
from daskqueue.actors.queues import PoolSpec, Queues
from daskqueue.actors.route import route_of
from daskqueue.actors.waiting import Waiting
from daskqueue.arguments import told_scheduler
from daskqueue.clients import client_here, close_client, close_soon, shared_client
from daskqueue.submitting.lingering import LARGE_BYTES, MOST_MESSAGES, Lingerer
from daskqueue.submitting.sending import Submitter

if TYPE_CHECKING:
    from distributed import Client

# A scheduler that is being replaced does not answer; to ask it again soon is to find the new one soon.
HOSTED_READ_SECONDS = 3.0


class Connection:
    """A pool as this process reaches it; the queues are let go when the last handle here is dropped.

    Args:
        client: a Dask client; None for the one of this task or process.
        spec: the pool.
        direct: whether a hosted pool is reached without its scheduler; None to find out.
        owns_client: whether the client ends with the connection.
        cluster: where the queues are, if that is no cluster of Dask's; *client* then only stands for one.
    """

    def __init__(
        self,
        client: Client | None,
        spec: PoolSpec,
        *,
        direct: bool | None = None,
        owns_client: bool = False,
        cluster: Cluster | None = None,
    ) -> None:
        self.client = client if client is not None else _client_for(spec)
        if cluster is not None:
            self.cluster = cluster
        elif spec.hosted:
            straight = direct if direct is not None else self.client.direct_to_workers
            self.cluster = Cluster(self.client, route_of(self.client, direct=straight), HOSTED_READ_SECONDS)
        else:
            self.cluster = Cluster(self.client)
        self.queues = Queues(self.cluster, spec)
        self.waiting = Waiting(self.queues)
        self._owned = self.client if owns_client else None
        loop = loop_of(self.client)
        self._submitter = Submitter(self.queues, loop)
        self._loop = loop
        self.lingering: Lingerer | None = None
        self._dropped = weakref.finalize(self, _drop, self.queues, self.waiting, loop, self._owned)

    @property
    def submitter(self) -> Submitter:
        """Sends to the queues.

        Raises:
            QueueLostError: the pool or its client is closed.
        """
        self.queues.check_open()
        return self._submitter

    @property
    def lingerer(self) -> Lingerer:
        """Gathers the single submits of handles that let them linger; made at its first use."""
        if self.lingering is None:
            self.lingering = self.new_lingerer()
        return self.lingering

    def new_lingerer(self) -> Lingerer:
        """Return a gatherer of single submits of its own."""
        settings = self.queues.spec.settings
        most = min(MOST_MESSAGES, settings.max_messages or MOST_MESSAGES)
        large_bytes = min(LARGE_BYTES, settings.max_payload_bytes // 2)
        return Lingerer(self._submitter, self._loop, most, large_bytes, asynchronous=self.client.asynchronous)

    def sync(self, function: Any, *args: Any) -> Any:
        """Run a coroutine function on the client's loop; with an asynchronous client, return its awaitable.

        Raises:
            QueueLostError: the pool or its client is closed.
        """
        self.queues.check_open()
        return cast("Any", self.client).sync(function, *args)

    def check_waiting(self) -> None:
        """Make sure that what somebody waits for may still come; to be asked about every second.

        Raises:
            QueueLostError: the pool or its client is closed.
        """
        self.queues.check_open()

    def close(self) -> Any:
        """Let go of the queues, and close the client if it is this connection's own.

        With an asynchronous client, return an awaitable.
        """
        self._dropped.detach()
        if self.client.asynchronous:
            return self._close_here()
        if not self.queues.closed:
            self.sync(self._let_go)
        if self._owned is not None:
            close_client(self._owned)
        return None

    async def _close_here(self) -> None:
        await self._let_go()
        if self._owned is not None:
            await cast("Any", self._owned).close()

    async def _let_go(self) -> None:
        self.waiting.close()
        self.queues.close()


def _client_for(spec: PoolSpec) -> Client:
    if spec.hosted and spec.scheduler is not None:
        # The handle may come from where the scheduler has another address: outside of the cluster, say.
        return shared_client(told_scheduler(spec.name) or spec.scheduler)
    return client_here()


def _drop(queues: Queues, waiting: Waiting, loop: asyncio.AbstractEventLoop, owned: Client | None) -> None:
    closing = []  # a task that nobody refers to may be dropped

    def close() -> None:
        waiting.close()
        queues.close()
        if owned is not None and owned.asynchronous:
            closing.append(asyncio.ensure_future(cast("Any", owned).close()))

    if not loop.is_closed():
        loop.call_soon_threadsafe(close)
        if owned is not None and not owned.asynchronous:
            close_soon(owned)
