"""A pool of queues: what users submit to."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from distributed import Client

from daskqueue import every_queue
from daskqueue.actors.queues import PoolSpec, Queues
from daskqueue.arguments import Duration, check_count, check_name, folder_of, seconds_of, timeout_of
from daskqueue.batch import encode_calls, encode_items, encode_one
from daskqueue.clock import new_name
from daskqueue.connection import Connection
from daskqueue.engine.settings import QueueSettings
from daskqueue.functions import FunctionRecords
from daskqueue.gathering import Errors, decoded, fetch, wanted_of
from daskqueue.job import Job, Jobs
from daskqueue.message import MAX_QUEUES, Durability
from daskqueue.notices import show_notices
from daskqueue.queue_view import QueueView
from daskqueue.status import describe_queues
from daskqueue.submitting import Encode, SubmitOptions, batched

if TYPE_CHECKING:
    from concurrent.futures import Future

    from daskqueue.actors.producer import Placed

logger = logging.getLogger(__name__)

# What is settled in memory should be given back soon.
TRANSIENT_SEGMENT_BYTES = 8 << 20


class QueuePool:
    """A fixed number of queues on the workers of a Dask cluster, fed round robin.

    Args:
        client: a Dask client; None for the one of this task or process.
        n_queues: how many queues, spread over the workers.
        durability: ``"transient"`` (in the memory of a worker) or ``"durable"`` (in a folder).
        dirpath: folder of a durable pool, on a disk that all workers reach; relative to the working directory
            of this process. Default: ``~/.local/share/daskqueue/<name>``.
        name: names the pool, and the folders of its queues.
        maxsize: the most messages that a queue may hold; ``submit`` waits for room. None for no bound.
        retries: how often a task that raised is run again before it becomes a dead letter.
        backoff: pause before the first retry (seconds, or text such as ``"2s"``); it doubles with each one.
        lease: how long a message stays with a consumer that has gone silent.
        fsync: ``"always"`` (``submit`` returns when the message is on the disk), ``"interval:<ms>"`` or ``"never"``.

    Raises:
        ValueError: an argument that cannot be; the message names the choices.
        FolderError: the folder cannot be used, or is somebody else's.
        FolderInUseError: the folder is served from outside this cluster.
    """

    def __init__(
        self,
        client: Client | None = None,
        n_queues: int = 1,
        durability: Durability | str = Durability.TRANSIENT,
        dirpath: str | os.PathLike[str] | None = None,
        *,
        name: str = "default",
        maxsize: int | None = None,
        retries: int = 0,
        backoff: float | str = 1.0,
        lease: float | str = 60.0,
        fsync: str = "always",
    ) -> None:
        durability = Durability.parse(durability)
        check_count("n_queues", n_queues, most=MAX_QUEUES)
        check_name(name)
        if maxsize is not None:
            check_count("maxsize", maxsize)
        check_count("retries", retries, least=0)
        if dirpath is not None and durability is Durability.TRANSIENT:
            raise ValueError(
                'dirpath is given, but the pool is transient; did you mean durability="durable"?'
            )
        if client is not None and not isinstance(client, Client):
            raise TypeError(f"client is {client!r:.80}; it must be a distributed.Client, or None")
        settings = QueueSettings(
            fsync=fsync,
            max_messages=maxsize,
            backoff_seconds=seconds_of("backoff", backoff),
            lease_seconds=seconds_of("lease", lease, least=1.0),
        )
        if durability is Durability.TRANSIENT:
            settings = dataclasses.replace(settings, fsync="never", segment_bytes=TRANSIENT_SEGMENT_BYTES)
        folder = folder_of(dirpath, name) if durability is Durability.DURABLE else None
        spec = PoolSpec(new_name(), name, n_queues, durability, folder, settings)
        self._spec = spec
        self._options = SubmitOptions(retries=retries)
        self._connection: Connection | None = Connection(client, spec)
        self._opened = False
        if not self.client.asynchronous:
            self.sync(self._open)

    @classmethod
    def attach(cls, spec: PoolSpec, options: SubmitOptions) -> QueuePool:
        """Return a handle of a pool that exists, for the client that is found here at its first use.

        Unpickling a handle does this; nothing is called before it is used.
        """
        pool = cls.__new__(cls)
        pool._spec, pool._options = spec, options  # noqa: SLF001  a constructor
        pool._connection, pool._opened = None, True  # noqa: SLF001
        return pool

    @classmethod
    def over(cls, connection: Connection, options: SubmitOptions) -> QueuePool:
        """Return the handle of a pool that hosts serve; :meth:`reach` it before its use."""
        pool = cls.attach(connection.queues.spec, options)
        pool._connection = connection  # noqa: SLF001  a constructor
        return pool

    def __reduce__(self) -> tuple[Any, ...]:
        return QueuePool.attach, (self._settled_spec, self._options)

    # Submitting

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """Put one call into the next queue; return its job once the message is as durable as the pool.

        Raises:
            BatchError: the function or an argument cannot be pickled.
            QueueFullError: no room within the timeout set by :meth:`options`.
            QueueLostError: the queue was lost and did not come back.
            StorageError: the disk refused.
        """
        if not callable(function):
            raise TypeError(f"submit wants a function to call, not {function!r:.80}")
        data = encode_one(function, args, kwargs)
        return self._send(data)

    def batch_submit(
        self,
        calls: Iterable[Any],
        batch_size: int = 1000,
        *,
        kwargs: Mapping[str, Any] | None = None,
    ) -> Jobs:
        """Put many calls into the queues, *batch_size* after *batch_size* to each in turn.

        Args:
            calls: any iterable, taken lazily, of ``(function, *args)``, ``daskqueue.call(function, ...)`` or
                plain functions.
            batch_size: how many calls share a record batch.
            kwargs: keyword arguments for every call.

        Returns:
            The jobs, in the order of the calls, once all messages are as durable as the pool.

        Raises:
            TypeError, BatchError: a call that cannot be; batches before its own are submitted.
        """
        check_count("batch_size", batch_size)
        records = FunctionRecords()
        return self._send_all(calls, batch_size, lambda part: encode_calls(part, kwargs, records))

    def map(
        self, function: Callable[..., Any], *iterables: Iterable[Any], batch_size: int = 1000, **kwargs: Any
    ) -> Jobs:
        """Put ``function(*args, **kwargs)`` for each *args* of the zipped iterables; see :meth:`batch_submit`."""
        if not iterables:
            raise TypeError("map wants at least one iterable of arguments")
        calls = ((function, *args) for args in zip(*iterables, strict=False))
        return self.batch_submit(calls, batch_size, kwargs=kwargs or None)

    def put(self, item: Any) -> Job:
        """Put one raw item, for consumers with a ``process_item`` of their own."""
        return self._send(encode_items([item]))

    def put_many(self, items: Iterable[Any], batch_size: int = 1000) -> Jobs:
        """Put many raw items, *batch_size* after *batch_size* to each queue in turn."""
        check_count("batch_size", batch_size)
        return self._send_all(items, batch_size, encode_items)

    def gather(
        self, jobs: Iterable[Job] | Jobs, timeout: Duration | None = None, errors: Errors = "raise"
    ) -> list[Any]:
        """Wait for all jobs and return what their tasks returned, in the order of the jobs.

        Args:
            jobs: jobs of this pool.
            timeout: seconds to wait at most; None for as long as it takes.
            errors: ``"raise"`` what the first task that failed has raised, as soon as that is known, or
                ``"return"`` exceptions in the places of their results.

        Raises:
            WaitTimeoutError: not all were done in time.
            QueueLostError: a queue is gone and does not come back.
            Exception: what a task raised, or another error of :meth:`Job.result`.
        """
        if errors not in {"raise", "return"}:
            raise ValueError(f'errors is {errors!r}; choose "raise" or "return"')
        jobs = self._own(jobs)
        seconds = timeout_of(timeout)
        found = self.sync(fetch, self.queues, wanted_of(jobs), seconds, errors)
        if self.client.asynchronous:
            return cast("list[Any]", _decoded_later(jobs, found, errors))
        # Decoded here, not on the event loop: what the tasks returned may be much, and is the user's own code.
        return decoded(jobs, found, errors)

    def options(
        self,
        *,
        retries: int | None = None,
        delay: float | str | None = None,
        timeout: Duration | None = None,
    ) -> QueuePool:
        """Return the same pool with other options for what is submitted through it.

        Args:
            retries: how often a task that raised is run again.
            delay: seconds (or text such as ``"10s"``) before the messages may run.
            timeout: how long to wait for room in a full queue before ``QueueFullError``.
        """
        changes: dict[str, Any] = {}
        if retries is not None:
            check_count("retries", retries, least=0)
            changes["retries"] = retries
        if delay is not None:
            changes["delay_seconds"] = seconds_of("delay", delay)
        if timeout is not None:
            changes["timeout_seconds"] = seconds_of("timeout", timeout)
        view = QueuePool.attach(self._settled_spec, dataclasses.replace(self._options, **changes))
        view._connection = self.connection  # noqa: SLF001  the same pool
        return view

    # What the pool is

    @property
    def connection(self) -> Connection:
        """How this process reaches the pool; made at the first use."""
        if self._connection is None:
            self._connection = Connection(None, self._spec)
        return self._connection

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
        """How many queues the pool has; hosts may add some."""
        return self._settled_spec.n_queues

    @property
    def durability(self) -> Durability:
        """Where the pool keeps its messages."""
        return self._spec.durability

    @property
    def hosted(self) -> bool:
        """Whether processes of their own serve the queues, and not workers that this client chose."""
        return self._spec.hosted

    @property
    def dirpath(self) -> str | None:
        """The folder of a durable pool, absolute."""
        return self._spec.dirpath

    # Looking and changing

    def __len__(self) -> int:
        return self.n_queues

    def __getitem__(self, index: int) -> QueueView:
        if not -self.n_queues <= index < self.n_queues:
            raise IndexError(f"the pool has {self.n_queues} queues")
        return QueueView(self, index % self.n_queues)

    def __iter__(self) -> Iterator[QueueView]:
        return (self[index] for index in range(self.n_queues))

    def get_queue_size(self) -> dict[str, int]:
        """Return how many messages each queue has that are not settled: waiting or running.

        Raises:
            QueueLostError: a queue does not answer, so that nobody knows.
        """
        return self.sync(every_queue.sizes, self.queues)

    def cancel(self, jobs: Iterable[Job] | Jobs) -> int:
        """Drop those of the jobs that still wait; return how many were.

        Raises:
            ValueError: a job of another pool.
        """
        jobs = self._own(jobs)
        ids = jobs.ids() if isinstance(jobs, Jobs) else [job.id for job in jobs]
        return self.sync(every_queue.cancel, self.queues, ids)

    def _own(self, jobs: Iterable[Job] | Jobs) -> Jobs | list[Job]:
        jobs = jobs if isinstance(jobs, Jobs) else list(jobs)
        for job in [jobs] if isinstance(jobs, Jobs) else jobs:
            if not isinstance(job, Job | Jobs):
                raise TypeError(f"{job!r:.80} is no Job")
            if job.pool_id != self.pool_id:
                raise ValueError(f"jobs of another pool; they are not in {self.name!r}")
        return jobs

    def reset(self) -> int:
        """Drop all messages that wait, in all queues; return how many. What runs is finished."""
        return self.sync(every_queue.purge, self.queues)

    def __repr__(self) -> str:
        if self.client.asynchronous:
            return f"QueuePool : {self.n_queues} queue(s)"
        try:
            return self.sync(self.describe)
        except Exception as error:  # noqa: BLE001  a repr is for debugging, also after the cluster is gone
            return f"QueuePool : {self.n_queues} queue(s), not to be reached: {error}"

    def _repr_html_(self) -> str:
        return f"<pre>{self!r}</pre>"

    def close(self) -> None:
        """Let go of the pool, and close the Dask client that ``connect`` made for it.

        What was submitted stays; queues that this client made end with their last handle. ``with`` does this.
        With an asynchronous client, return an awaitable.
        """
        return self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await cast("Any", self.close())

    def __await__(self) -> Generator[Any, None, QueuePool]:
        return self._opened_pool().__await__()

    async def _opened_pool(self) -> QueuePool:
        await self._open()
        return self

    # On the client's event loop

    def sync(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a coroutine function on the client's loop; with an asynchronous client, return its awaitable."""
        return self.connection.sync(function, *args)

    async def _open(self) -> None:
        if self._opened:
            return
        show_notices()
        await self.queues.open()
        self._opened = True
        logger.info("Created %d queues in Cluster and one QueueManager.", self.n_queues)
        if self.dirpath is not None:
            logger.debug("The messages are in %s", self.dirpath)

    async def reach(self, seconds: float) -> None:
        """Find a pool that hosts serve; return when one of its queues has answered.

        Raises:
            NoSuchQueueError: the scheduler knows of no such pool.
            QueueLostError: none of its queues answers.
        """
        show_notices()
        await self.queues.reach(seconds)
        where = self.connection.cluster.address
        logger.info("Connected to queue %r at %s: %d shard(s)", self.name, where, self.n_queues)

    async def statuses(self, pool_id: str = "") -> list[dict[str, Any]]:
        """Return what each queue says of itself; one that does not answer is marked ``lost``."""
        return await every_queue.statuses(self.queues, pool_id)

    async def describe(self) -> str:
        """Return the pool's repr."""
        return describe_queues(await self.statuses())

    # Sending

    def _fitting(self, batch_size: int) -> int:
        """A record batch larger than its queue would never go in."""
        return min(batch_size, self._settled_spec.settings.max_messages or batch_size)

    def _send(self, data: bytes) -> Job:
        future = self.connection.submitter.send(data, self._options)
        if self.client.asynchronous:
            return cast("Job", self._job_of(future))
        return Jobs(self, [(future.result(), 1)])[0]

    async def _job_of(self, future: Future[Placed]) -> Job:
        return Jobs(self, [(await asyncio.wrap_future(future), 1)])[0]

    def _send_all(self, messages: Iterable[Any], batch_size: int, encode: Encode) -> Jobs:
        parts = batched(messages, self._fitting(batch_size))
        # Messages that may be long in coming, and those for a bounded queue, are sent as they come.
        at_hand = isinstance(messages, (list, tuple, range)) and not self._settled_spec.settings.max_messages
        if self.client.asynchronous:
            return cast("Jobs", self._jobs_of(parts, encode, at_hand))
        sent = self.connection.submitter.send_all(parts, encode, self._options, at_hand=at_hand)
        return Jobs(self, sent)

    async def _jobs_of(self, parts: Iterator[Sequence[Any]], encode: Encode, at_hand: bool) -> Jobs:
        submitter = self.connection.submitter
        return Jobs(self, await submitter.send_all_async(parts, encode, self._options, at_hand=at_hand))


async def _decoded_later(jobs: Jobs | list[Job], found: Any, errors: Errors) -> list[Any]:
    return decoded(jobs, await found, errors)
