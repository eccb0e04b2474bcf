"""A pool as one process holds it: what it is, how it is reached, how it is let go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, cast

from daskqueue.connection import Connection
from daskqueue.submitting.lingering import open_blocks

if TYPE_CHECKING:
    from distributed import Client

    from daskqueue.actors.queues import PoolSpec, Queues
    from daskqueue.message import Durability
    from daskqueue.submitting.lingering import Lingerer
    from daskqueue.submitting.options import SubmitOptions


class PoolHandle:
    """One handle of a pool; those of one process that came from each other share a connection."""

    _spec: PoolSpec
    _options: SubmitOptions
    _connection: Connection | None
    _opened: bool
    _origin: PoolHandle | None = None

    @classmethod
    def attach(cls, spec: PoolSpec, options: SubmitOptions) -> Self:
        """Return a handle of a pool that exists, for the client that is found here at its first use.

        Unpickling a handle does this; nothing is called before it is used.
        """
        pool = cls.__new__(cls)
        pool._spec, pool._options = spec, options  # noqa: SLF001  a constructor
        pool._connection, pool._opened = None, True  # noqa: SLF001
        return pool

    @classmethod
    def over(cls, connection: Connection, options: SubmitOptions) -> Self:
        """Return a handle of the pool that a connection reaches."""
        pool = cls.attach(connection.queues.spec, options)
        pool._connection = connection  # noqa: SLF001  a constructor
        return pool

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).attach, (self._settled_spec, self._options)

    def _view(self, options: SubmitOptions) -> Self:
        """Return another handle of the same pool."""
        pool = self.attach(self._settled_spec, options)
        pool._connection, pool._origin = self._connection, self  # noqa: SLF001  the same pool
        return pool

    # What the pool is

    @property
    def connection(self) -> Connection:
        """How this process reaches the pool; made at the first use."""
        if self._connection is None:
            origin = self._origin
            self._connection = origin.connection if origin is not None else self._connect(None, self._spec)
        return self._connection

    def _connect(self, client: Client | None, spec: PoolSpec) -> Connection:
        return Connection(client, spec)

    @property
    def client(self) -> Client:
        """The Dask client that the pool is reached with."""
        return self.connection.client

    @property
    def queues(self) -> Queues:
        """The pool's queues, as this process reaches them."""
        return self.connection.queues

    @property
    def _settled_spec(self) -> PoolSpec:
        """The spec with the id that the pool's folder may have given it."""
        return self._spec if self._connection is None else self._connection.queues.spec

    @property
    def pool_id(self) -> str:
        """The id that tells this pool from all others; a durable pool keeps it in its folder."""
        return self._settled_spec.pool_id

    @property
    def name(self) -> str:
        """The pool's name."""
        return self._spec.name

    @property
    def n_queues(self) -> int:
        """How many queues the pool has; hosts may add some, and a folder may have more that are not empty yet."""
        return self._settled_spec.n_queues

    @property
    def n_fed(self) -> int:
        """How many of its queues new messages go to; the others are only emptied."""
        return self._settled_spec.n_fed

    @property
    def durability(self) -> Durability:
        """Where the pool keeps its messages."""
        return self._spec.durability

    @property
    def hosted(self) -> bool:
        """Whether processes of their own serve the queues, and not workers that this client chose."""
        return self._spec.hosted

    @property
    def submit_options(self) -> SubmitOptions:
        """How messages are put through this handle; see :meth:`options`."""
        return self._options

    @property
    def dirpath(self) -> str | None:
        """The folder of a durable pool, absolute."""
        return self._spec.dirpath

    # Single submits that linger

    def _lingerer(self) -> Lingerer | None:
        """Return what single submits are to linger in, None if they are to leave at once."""
        if blocks := open_blocks():
            connection = self.connection
            for block in blocks:
                if block.connection is connection:
                    return block.lingerer
        return self.connection.lingerer if self._options.linger_seconds else None

    def _all_lingering(self) -> list[Lingerer]:
        """Return all that may hold single submits of this pool."""
        if self._connection is None:
            return []
        here = [block.lingerer for block in open_blocks() if block.connection is self._connection]
        return here if self._connection.lingering is None else [*here, self._connection.lingering]

    def flush(self) -> None:
        """Send the single submits that linger; return when all are as durable as the pool.

        With an asynchronous client, return an awaitable.

        Raises:
            Exception: the first of them that could not be put, since the last flush.
        """
        if self.client.asynchronous:
            return cast("None", self._flush_async())
        for lingerer in self._all_lingering():
            lingerer.settle()
        return None

    async def _flush_async(self) -> None:
        for lingerer in self._all_lingering():
            await lingerer.settle_async()

    # Life

    def close(self) -> None:
        """Let go of the pool, and close the Dask client that ``connect`` made for it.

        What was submitted stays, and what lingers is sent; queues that this client made end with their last
        handle. ``with`` does this. With an asynchronous client, return an awaitable.

        Raises:
            Exception: the first of the lingering submits that could not be put.
        """
        if self.client.asynchronous:
            return cast("None", self._close_async())
        try:
            if not self.queues.closed:
                self.flush()
        finally:
            self.connection.close()
        return None

    async def _close_async(self) -> None:
        try:
            if not self.queues.closed:
                await self._flush_async()
        finally:
            await cast("Any", self.connection.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sync(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a coroutine function on the client's loop; with an asynchronous client, return its awaitable."""
        return self.connection.sync(function, *args)
