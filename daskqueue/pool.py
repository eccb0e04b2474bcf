"""A pool of queues: what users submit to."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack, cast, overload

from distributed import Client

from daskqueue.actors.queues import PoolSpec
from daskqueue.arguments import Duration, check_count, check_name, folder_of
from daskqueue.batch import encode_calls, encode_items, encode_one
from daskqueue.chunk import MAX_PAYLOAD_BYTES
from daskqueue.clock import new_name
from daskqueue.functions import FunctionRecords
from daskqueue.jobs.executor import QueueExecutor
from daskqueue.jobs.handles import Jobs
from daskqueue.jobs.job import Job
from daskqueue.jobs.windowed import Windowed
from daskqueue.message import MAX_QUEUES, Call, Durability
from daskqueue.notices import show_notices
from daskqueue.operations import Operations
from daskqueue.submitting.conflict import checked, checked_later, refuse_one_key
from daskqueue.submitting.lingering import Batching
from daskqueue.submitting.options import (
    NAMELESS,
    Backoff,
    Choices,
    Names,
    Overflow,
    SubmitOptions,
    Types,
    changed,
)
from daskqueue.submitting.pool_settings import settings_of
from daskqueue.submitting.sending import Coding, arguments_of, batched
from daskqueue.submitting.task import task_of

if TYPE_CHECKING:
    from concurrent.futures import Future

    from daskqueue.actors.producer import Placed
    from daskqueue.submitting.lingering import Lingerer
    from daskqueue.submitting.task import AsyncTask, Decorator, Task

    P = ParamSpec("P")
    R = TypeVar("R")

logger = logging.getLogger(__name__)


class QueuePool(Operations):
    """A fixed number of queues on the workers of a Dask cluster, fed round robin.

    Args:
        client: a Dask client; None for the one of this task or process.
        n_queues: how many queues, spread over the workers. A folder that has fewer gets more; the surplus of one
            that has more gets no new messages, and is consumed until it is empty.
        durability: ``"transient"`` (in the memory of a worker) or ``"durable"`` (in a folder).
        dirpath: folder of a durable pool, on a disk that all workers reach; relative to the working directory
            of this process. Default: ``~/.local/share/daskqueue/<name>``.
        name: names the pool, and the folders of its queues.
        max_messages: the most messages that a queue may hold, waiting or running; None for no bound.
        max_bytes: the most bytes that they may have together; None for no bound. A larger message goes in alone.
        overflow: what a submit to a full queue does: ``"block"`` waits for room, ``"raise"`` raises
            ``QueueFullError``, ``"drop_oldest"`` drops what waits longest.
        put_timeout: how long ``"block"`` waits before ``QueueFullError``; None for as long as it takes.
        retries: how often a task that raised is run again before it becomes a dead letter.
        backoff: pause before the first retry (seconds, or text such as ``"2s"``); it doubles with each one. Or a
            ``Backoff(first, most)``.
        backoff_max: the longest pause before a retry.
        retry_on: the only exception types that are retried, one or a tuple; none is all.
        no_retry_on: exception types that are not retried.
        timeout: how long one attempt may take; None for as long as it takes.
        max_deliveries: how often a message may be lost with the process that ran it before it is a dead letter.
        lease: how long a message stays with a consumer that has gone silent.
        fsync: ``"always"`` (``submit`` returns when the message is on the disk), ``"interval:<ms>"`` or ``"never"``.
        results: where results are kept: ``"durable"`` (with the ack), ``"memory"`` or ``"none"``.
        result_ttl: how long they are kept.
        result_bytes: how many bytes of results each queue keeps.
        result_count: how many results each queue keeps; None for no bound.
        max_payload_bytes: how many bytes the arguments of one message may take (a result may take 1 GiB); arrays
            from 1 MiB on travel without copies and arrive read-only.
        linger: how long a single submit may wait for others to share its record batch; ``submit`` returns at once
            then, and the job's methods wait for it. None: no submit lingers.

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
        max_messages: int | None = None,
        max_bytes: int | None = None,
        overflow: Overflow = "block",
        put_timeout: Duration | None = None,
        retries: int = 0,
        backoff: Duration | Backoff = "1s",
        backoff_max: Duration | None = None,
        retry_on: Types = (),
        no_retry_on: Types = (),
        timeout: Duration | None = None,
        max_deliveries: int = 5,
        lease: Duration = "60s",
        fsync: str = "always",
        results: str = "durable",
        result_ttl: Duration = "7d",
        result_bytes: int = 1 << 30,
        result_count: int | None = None,
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
        linger: Duration | None = None,
    ) -> None:
        durability = Durability.parse(durability)
        check_count("n_queues", n_queues, most=MAX_QUEUES)
        check_name(name)
        if dirpath is not None and durability is Durability.TRANSIENT:
            raise ValueError(
                'dirpath is given, but the pool is transient; did you mean durability="durable"?'
            )
        if client is not None and not isinstance(client, Client):
            raise TypeError(f"client is {client!r:.80}; it must be a distributed.Client, or None")
        settings = settings_of(
            durability,
            max_messages=max_messages,
            max_bytes=max_bytes,
            backoff=backoff,
            backoff_max=backoff_max,
            max_deliveries=max_deliveries,
            lease=lease,
            fsync=fsync,
            results=results,
            result_ttl=result_ttl,
            result_bytes=result_bytes,
            result_count=result_count,
            max_payload_bytes=max_payload_bytes,
        )
        options = changed(
            SubmitOptions(),
            {
                "overflow": overflow,
                "put_timeout": put_timeout,
                "retries": retries,
                "retry_on": retry_on,
                "no_retry_on": no_retry_on,
                "timeout": timeout,
                "linger": linger,
            },
        )
        folder = folder_of(dirpath, name) if durability is Durability.DURABLE else None
        self._spec = PoolSpec(new_name(), name, n_queues, durability, folder, settings)
        self._options = options
        self._connection = self._connect(client, self._spec)
        self._opened = False
        if not self.client.asynchronous:
            self.sync(self._open)

    # Submitting

    @overload
    def submit(
        self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...
    @overload
    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """Put one call into the next queue; return its job once the message is as durable as the pool.

        With ``linger=``, and in a ``batching`` block, return at once; the job's methods wait for the message.

        Raises:
            BatchError: the function or an argument cannot be pickled.
            DuplicateKeyError: the key is taken, and ``on_conflict="raise"`` was chosen.
            QueueFullError: no room within ``put_timeout``.
            QueueLostError: the queue was lost and did not come back.
            StorageError: the disk refused.
        """
        if not callable(function):
            raise TypeError(f"submit wants a function to call, not {function!r:.80}")
        lingerer = self._lingerer()
        if lingerer is None:
            return self._send(self._encoded(function, args, kwargs), self._options.names(args, kwargs))
        job = self._linger(lingerer, function, args, kwargs)
        if lingerer.asynchronous:
            return cast("Job", _when_room(lingerer, job))
        if lingerer.crowded:
            lingerer.make_room()
        return job

    def submit_soon(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Job:
        """Put one call; return its job at once, whose methods wait for the message. Never waits for anything.

        Raises:
            BatchError: the function or an argument cannot be pickled.
        """
        lingerer = self._lingerer()
        if lingerer is not None:
            return self._linger(lingerer, function, args, kwargs)
        names = self._options.names(args, kwargs)
        data = self._encoded(function, args, kwargs)
        return self._coming(self.connection.submitter.send(data, self._options, names), 0)

    def _encoded(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> bytes:
        return encode_one(function, args, kwargs, max_bytes=self._settled_spec.settings.max_payload_bytes)

    def _linger(
        self,
        lingerer: Lingerer,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Job:
        future, place = lingerer.add(function, args, kwargs, self._options, self.connection)
        return Job.later(self, future, place) if self._options.key is None else self._coming(future, place)

    def _coming(self, future: Future[Placed], place: int) -> Job:
        if self._options.key is not None and self._options.on_conflict == "raise":
            future = checked_later(self, future)
        return Job.later(self, future, place)

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
            DuplicateKeyError: a key is taken, and ``on_conflict="raise"`` was chosen; all others are submitted.
            QueueFullError: no room within ``put_timeout``; what fitted is submitted.
        """
        check_count("batch_size", batch_size)
        records = FunctionRecords()
        most = self._settled_spec.settings.max_payload_bytes
        coding = Coding(
            lambda part: encode_calls(part, kwargs, records, max_bytes=most),
            partial(arguments_of, kwargs=kwargs or {}),
        )
        return self._send_all(calls, batch_size, coding)

    @overload
    def map(
        self,
        function: Callable[..., R],
        *iterables: Iterable[Any],
        batch_size: int = ...,
        window: None = ...,
        **kwargs: Any,
    ) -> Jobs[R]: ...
    @overload
    def map(
        self,
        function: Callable[..., R],
        *iterables: Iterable[Any],
        batch_size: int = ...,
        window: int,
        **kwargs: Any,
    ) -> Windowed: ...
    def map(
        self,
        function: Callable[..., Any],
        *iterables: Iterable[Any],
        batch_size: int = 1000,
        window: int | None = None,
        **kwargs: Any,
    ) -> Jobs | Windowed:
        """Put ``function(*args, **kwargs)`` for each *args* of the zipped iterables; see :meth:`batch_submit`.

        Args:
            function: what is to be called.
            iterables: its arguments, taken lazily.
            batch_size: how many calls share a record batch.
            window: submit nothing now; return a lazy iterable of jobs that submits while it is consumed, and
                keeps at most so many jobs unsettled. The iterables may have no end then.
            kwargs: keyword arguments for every call.
        """
        if not iterables:
            raise TypeError("map wants at least one iterable of arguments")
        calls: Iterator[Any] = ((function, *args) for args in zip(*iterables, strict=False))
        if window is None:
            return self.batch_submit(calls, batch_size, kwargs=kwargs or None)
        check_count("window", window)
        check_count("batch_size", batch_size)
        if kwargs:
            # The window's calls carry what batch_submit would have been given for all of them.
            calls = (Call(call[0], call[1:], kwargs) for call in calls)
        return Windowed(self, calls, window)

    def put(self, item: Any) -> Job:
        """Put one raw item, for consumers with a ``process_item`` of their own."""
        most = self._settled_spec.settings.max_payload_bytes
        return self._send(encode_items([item], max_bytes=most), self._options.names((item,), {}))

    def put_many(self, items: Iterable[Any], batch_size: int = 1000) -> Jobs:
        """Put many raw items, *batch_size* after *batch_size* to each queue in turn."""
        check_count("batch_size", batch_size)
        encode = partial(encode_items, max_bytes=self._settled_spec.settings.max_payload_bytes)
        return self._send_all(items, batch_size, Coding(encode, lambda item: ((item,), {})))

    def options(self, **choices: Unpack[Choices]) -> QueuePool:
        """Return the same pool with other options for what is submitted through it.

        Durations are seconds, a timedelta, or text such as ``"10s"``. What is left out stays as it is.

        Args:
            retries: how often a task that raised is run again.
            backoff: pause before the first retry; it doubles with each one. Or a ``Backoff(first, most)``.
            backoff_max: the longest pause before a retry.
            retry_on: the only exception types that are retried, one or a tuple; ``()`` is all.
            no_retry_on: exception types that are not retried.
            delay: how long the messages are held back.
            not_before: a datetime (local, unless it has a time zone) or epoch seconds before which they do not run.
            expires: after so long messages that have not begun to run are dropped.
            timeout: how long one attempt may take.
            priority: larger is sooner, from -1000 to 1000; 0 unless chosen.
            key: text, or a function of a call's arguments that returns it: while a message with this key is
                pending, another submit returns its job and puts nothing.
            key_window: how long after the end of that message its key is still taken.
            on_conflict: what a taken key does: ``"return"`` the job, or ``"raise"`` ``DuplicateKeyError`` with it.
            group: text, or a function of a call's arguments that returns it: messages of one group run one at
                a time and in order.
            put_timeout: how long to wait for room in a full queue before ``QueueFullError``.
            overflow: ``"block"``, ``"raise"`` or ``"drop_oldest"``; see ``QueuePool``.
            linger: how long a single submit may wait for others to share its record batch; 0 not at all.

        Raises:
            TypeError, ValueError: a choice that cannot be; the message names what it may be.
        """
        return self._view(changed(self._options, choices))

    def batching(self) -> Batching:
        """Gather the single submits of a ``with`` (or ``async with``) block into record batches.

        In the block, ``submit`` returns at once, in this thread or asyncio task; the end of the block returns when
        all is as durable as the pool, and raises the first error of a message that could not be put.
        """
        return Batching(self)

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, **choices: Unpack[Choices]) -> Decorator: ...
    def task(self, function: Callable[..., Any] | None = None, /, **choices: Unpack[Choices]) -> Any:
        """Make a function a task of this pool: ``@pool.task`` or ``@pool.task(retries=3, ...)``.

        Called, it runs here; its ``submit``, ``map`` and ``options`` are those of the pool, with its signature.

        Args:
            function: what is decorated.
            choices: what :meth:`options` takes.
        """
        if function is not None:
            return task_of(function, self, choices)
        self.options(**choices)  # a mistake is to be heard here
        return lambda decorated: task_of(decorated, self, choices)

    def get_executor(self, **choices: Unpack[Choices]) -> QueueExecutor:
        """Return a ``concurrent.futures.Executor`` whose futures are messages of this pool.

        Args:
            choices: what :meth:`options` takes; submits linger for 1 ms unless you say otherwise.
        """
        return QueueExecutor(self.options(**cast("Choices", {"linger": "1ms", **choices})))

    # Opening

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await cast("Any", self.close())

    def __await__(self) -> Generator[Any, None, Self]:
        return self._opened_pool().__await__()

    async def _opened_pool(self) -> Self:
        await self._open()
        return self

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

    # Sending

    def _send(self, data: bytes, names: Names = NAMELESS) -> Job:
        future = self.connection.submitter.send(data, self._options, names)
        if self.client.asynchronous:
            return cast("Job", self._job_of(future))
        return checked(self, [(future.result(), 1)])[0]

    async def _job_of(self, future: Future[Placed]) -> Job:
        return checked(self, [(await asyncio.wrap_future(future), 1)])[0]

    def _send_all(self, messages: Iterable[Any], batch_size: int, coding: Coding) -> Jobs:
        refuse_one_key(self._options)
        if (lingerer := self._lingerer()) is not None:
            lingerer.send()  # what was submitted before is to be there before
        settings = self._settled_spec.settings
        parts = batched(messages, min(batch_size, settings.max_messages or batch_size))
        bounded = settings.max_messages is not None or settings.max_bytes is not None
        # Messages that may be long in coming, and those for a bounded queue, are sent as they come.
        at_hand = isinstance(messages, (list, tuple, range)) and not bounded
        if self.client.asynchronous:
            return cast("Jobs", self._jobs_of(parts, coding, at_hand))
        return checked(
            self, self.connection.submitter.send_all(parts, coding, self._options, at_hand=at_hand)
        )

    async def _jobs_of(self, parts: Iterator[Sequence[Any]], coding: Coding, at_hand: bool) -> Jobs:
        submitter = self.connection.submitter
        return checked(self, await submitter.send_all_async(parts, coding, self._options, at_hand=at_hand))


async def _when_room(lingerer: Lingerer, job: Job) -> Job:
    if lingerer.crowded:
        await lingerer.make_room_async()
    return job
