"""A pool of consumers: what users start, join and take results from."""

from __future__ import annotations

import asyncio
import itertools
import logging
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from daskqueue.actors.cluster import loop_of
from daskqueue.actors.consumer_spec import PROCESSES, THREADS
from daskqueue.actors.consumers import Consumers, CrewSpec
from daskqueue.actors.settlement import name_of
from daskqueue.arguments import Duration, check_choice, check_count, timeout_of
from daskqueue.batch import Broken
from daskqueue.clock import Clock, new_name
from daskqueue.consumer import ConsumerBaseClass, GeneralConsumer
from daskqueue.errors import ConsumersNotStartedError, MessagesLostError, WaitTimeoutError
from daskqueue.message import pack_id
from daskqueue.middleware import Middleware
from daskqueue.pool import QueuePool
from daskqueue.results import decode_results
from daskqueue.status import describe_consumers, pending_of

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 2.0
PAGE_BYTES = 1 << 20


Results = dict[str, "defaultdict[int, Any]"]


class _Part(NamedTuple):
    name: str
    base_id: int
    runs: Sequence[tuple[int, int]]
    blob: bytes


class ConsumerPool:
    """Consumers on the workers of a Dask cluster, at least one beside each queue.

    Args:
        client: a Dask client.
        queue_pool: the queues to consume from.
        consumer_class: what is done with each message; the default calls the submitted functions.
        n_consumers: how many consumers. Fewer than queues is fine: each then reads several.
        batch_size: the most messages that a consumer fetches at a time; slow tasks are fetched in fewer.
        max_concurrency: how many tasks one consumer runs at the same time. With threads one is best for Python
            code that computes; use more for tasks that wait. With processes it is how many of them there are.
        early_ack: ack messages before they run: each runs at most once, and is lost with its worker.
        executor: where tasks run: in ``"threads"`` of the Dask worker, or in ``"processes"`` that the consumer
            starts. Those are for tasks that compute in Python, hold the interpreter, or may crash: a crash costs
            one process and counts for one message, and a ``timeout`` can end anything.
        middleware: objects of :class:`~daskqueue.Middleware`, told before and after each message.
        resources: functions that open what tasks share, by name; called once per process at the start. Tasks find
            what they return, or give as context managers, in ``daskqueue.current().resources``.

    Raises:
        ValueError, TypeError: an argument that cannot be.
    """

    def __init__(
        self,
        client: Client,
        queue_pool: QueuePool,
        consumer_class: type[ConsumerBaseClass] = GeneralConsumer,
        n_consumers: int = 1,
        batch_size: int = 1000,
        max_concurrency: int = 1,
        *,
        early_ack: bool = False,
        executor: Literal["threads", "processes"] = "threads",
        middleware: Sequence[Middleware] = (),
        resources: Mapping[str, Callable[[], Any]] | None = None,
    ) -> None:
        if not isinstance(queue_pool, QueuePool):
            raise TypeError(f"queue_pool is {queue_pool!r:.80}; it must be a QueuePool")
        if queue_pool.hosted:
            raise ValueError(
                f"the queues of {queue_pool.name!r} are served by hosts, and consumed by hosts: start some with "
                f"`daskqueue serve consumer --name {queue_pool.name}`, or set the consumers of the DaskQueue"
            )
        if not (isinstance(consumer_class, type) and issubclass(consumer_class, ConsumerBaseClass)):
            raise TypeError(
                f"consumer_class is {consumer_class!r:.80}; it must be a subclass of ConsumerBaseClass"
            )
        counts = {"n_consumers": n_consumers, "batch_size": batch_size, "max_concurrency": max_concurrency}
        for what, value in counts.items():
            check_count(what, value)
        check_choice("executor", executor, (THREADS, PROCESSES))
        self.client = client
        self.queue_pool = queue_pool
        self.n_consumers = n_consumers
        self.pool_id = new_name()
        self._clock = Clock()
        self._losses_before = 0
        spec = CrewSpec(
            self.pool_id,
            n_consumers,
            consumer_class,
            batch_size,
            max_concurrency,
            early_ack,
            executor,
            _checked_middleware(middleware),
            _checked_resources(resources or {}),
        )
        self._consumers = Consumers(queue_pool.connection.cluster, queue_pool.queues, spec)
        weakref.finalize(self, _close_soon, self._consumers, loop_of(client))

    def start(self) -> None:
        """Start to consume; returns when every consumer does. A second call does nothing.

        Raises:
            QueueLostError: a worker or a queue does not answer.
            Exception: what ``setup`` of the consumer class, a resource or ``on_start`` of middleware raised.
        """
        return self._sync(self._start)

    def join(self, timeout: Duration | None = None, *, progress: bool = False) -> None:
        """Wait until nothing waits or runs in any queue, whoever put it; then stop the consumers.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.
            progress: log the state of queues and consumers every two seconds.

        Raises:
            ConsumersNotStartedError: nobody would ever consume anything.
            WaitTimeoutError: not done in time; the consumers go on.
            MessagesLostError: a transient queue was lost since the start, with the messages in it.
        """
        return self._sync(self._join, timeout_of(timeout), progress)

    def results(self) -> Results:
        """Return what the tasks returned: ``{consumer name: {hash(job): value}}``.

        Only successes of this consumer pool; failures are in ``job.exception()``. The queues keep results for
        a while (see ``result_ttl`` in the docs), also when a consumer is lost.
        """
        if self.client.asynchronous:
            return cast("Results", self._results_async())
        # Decoded here, not on the event loop: what the tasks returned may be much, and is the user's own code.
        return self._decoded(self._sync(self._fetch_results))

    def cancel(self, timeout: float = 30.0) -> None:
        """Stop the consumers: what runs is finished within *timeout* seconds, the rest goes back to the queues."""
        return self._sync(self._cancel, timeout)

    def reset(self) -> None:
        """Stop the consumers and forget their counts and results; the next start begins anew."""
        return self._sync(self._reset)

    @property
    def started(self) -> bool:
        """Whether the consumers consume now."""
        return self._consumers.running

    def nb_consumed(self) -> int:
        """Return how many messages the consumers have settled."""
        return self._sync(self._count)

    def __len__(self) -> int:
        return self.n_consumers

    def __getitem__(self, index: int) -> str:
        return self._consumers.names[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._consumers.names)

    def __repr__(self) -> str:
        if self.client.asynchronous:
            return f"Consumers : {self.n_consumers} Consumers(s)"
        try:
            return self._sync(self._describe)
        except Exception as error:  # noqa: BLE001  a repr is for debugging, also after the cluster is gone
            return f"Consumers : {self.n_consumers} Consumers(s), not to be reached: {error}"

    def _repr_html_(self) -> str:
        return f"<pre>{self!r}</pre>"

    # On the client's event loop

    def _sync(self, function: Any, *args: Any) -> Any:
        return cast("Any", self.client).sync(function, *args)

    async def _start(self) -> None:
        if self._consumers.running:
            return
        logger.info("Starting %d consumers", self.n_consumers)
        # What was lost before the start is no loss of this run.
        await self.queue_pool.statuses()
        self._losses_before = self.queue_pool.queues.lost_messages
        if self._consumers.was_started:
            self._consumers.forget()
        await self._consumers.start()

    async def _join(self, timeout: float | None, progress: bool) -> None:
        if not self._consumers.running:
            state = "were cancelled" if self._consumers.was_started else "were never started"
            raise ConsumersNotStartedError(
                f"the consumers {state}, so join() would wait for ever: call start() first"
            )
        logger.info("Waiting for the %d consumers to process all items in queue_pool...", self.n_consumers)
        finished = await self._wait_idle(None if timeout is None else self._clock.now() + timeout, progress)
        logger.info("All consumers are done ! %d items processed. ", finished)
        await self._cancel(30.0)
        logger.info("Consumer state : %s", None)
        lost = self.queue_pool.queues.lost_messages - self._losses_before
        if lost:
            raise MessagesLostError(
                f"{lost} transient queue(s) were lost with their workers since the start, and the messages in them"
            )

    async def _wait_idle(self, give_up_at: float | None, progress: bool) -> int:
        """Return how many messages the consumers have settled, once nothing waits or runs."""
        queues = self.queue_pool.queues
        while True:
            seconds = PROGRESS_SECONDS
            if give_up_at is not None:
                seconds = min(seconds, max(give_up_at - self._clock.now(), 0.0))
            calls = [queues.call(index, "wait_idle", seconds) for index in range(len(self.queue_pool))]
            await asyncio.gather(*calls)
            statuses = await self.queue_pool.statuses(self.pool_id)
            # A task may have put more into a queue that was already idle: all must be, at one look.
            if not any(pending_of(status) or "lost" in status for status in statuses):
                return sum(status["finished"] for status in statuses)
            if give_up_at is not None and self._clock.now() >= give_up_at:
                left = sum(map(pending_of, statuses))
                raise WaitTimeoutError(f"{left} messages were not settled in time; the consumers go on")
            if progress:
                logger.info(await self.queue_pool.describe())
                logger.info(await self._describe())

    async def _count(self) -> int:
        return sum(status["finished"] for status in await self.queue_pool.statuses(self.pool_id))

    async def _cancel(self, timeout: float) -> None:
        logger.info("Cancelling %d consumers.", self.n_consumers)
        await self._consumers.stop(timeout)

    async def _reset(self) -> None:
        await self._consumers.stop()
        self.pool_id = new_name()
        self._consumers.forget(self.pool_id)

    async def _results_async(self) -> Results:
        return self._decoded(await self._fetch_results())

    async def _fetch_results(self) -> list[_Part]:
        pages = [self._fetch_pages(index) for index in range(len(self.queue_pool))]
        return list(itertools.chain.from_iterable(await asyncio.gather(*pages)))

    async def _fetch_pages(self, index: int) -> list[_Part]:
        parts: list[_Part] = []
        after: tuple[int, int] | None = None
        while True:
            ref, (outcomes, after) = await self.queue_pool.queues.call_at(
                index, "results", self.pool_id, after, PAGE_BYTES, deadline=60.0, patience=60.0
            )
            base = pack_id(index, ref.incarnation, 0)
            parts += (_Part(name_of(consumer), base, runs, blob) for consumer, runs, blob in outcomes)
            if after is None:
                return parts

    def _decoded(self, parts: list[_Part]) -> Results:
        found: Results = {name: defaultdict(_nothing) for name in self._consumers.names}
        for name, base, runs, blob in parts:
            ids = itertools.chain.from_iterable(range(base + first, base + last) for first, last in runs)
            values = decode_results(blob)
            if Broken in set(map(type, values)):
                kept = [(i, value) for i, value in zip(ids, values, strict=True) if type(value) is not Broken]
                found[name].update(kept)
            else:
                deque(map(found[name].__setitem__, ids, values), maxlen=0)
        return found

    async def _describe(self) -> str:
        return describe_consumers(await self._consumers.statuses())


def _checked_middleware(middleware: Any) -> tuple[Middleware, ...]:
    if isinstance(middleware, Middleware):
        raise TypeError(f"middleware is {middleware!r:.80}; give a list: middleware=[...]")
    for layer in middleware:
        if not isinstance(layer, Middleware):
            hint = (
                "give an object of the class, not the class"
                if isinstance(layer, type)
                else "subclass Middleware"
            )
            raise TypeError(f"middleware has {layer!r:.80}, which is no daskqueue.Middleware; {hint}")
    return tuple(middleware)


def _checked_resources(resources: Any) -> dict[str, Callable[[], Any]]:
    if not isinstance(resources, Mapping):
        raise TypeError(
            f'resources is {resources!r:.80}; give functions by name: resources={{"db": open_db}}'
        )
    for name, factory in resources.items():
        if not isinstance(name, str):
            raise TypeError(f"resources has the name {name!r:.80}; names are text")
        if not callable(factory):
            raise TypeError(
                f"the resource {name!r} is {factory!r:.80}; give a function that opens it, because each process "
                "has to open its own"
            )
    return dict(resources)


def _nothing() -> None:
    """What a results dict says of a message that it has no result of."""


def _close_soon(consumers: Consumers, loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(consumers.close)
