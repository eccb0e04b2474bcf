"""A consumer on a worker: fetches slices, feeds its threads, acks what is finished."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from daskqueue.actors.caller import Caller
from daskqueue.actors.directory import ActorRef, Directory
from daskqueue.actors.door import Door, worker_loop
from daskqueue.actors.interpreter import SwitchInterval
from daskqueue.actors.pace import STALLED_SECONDS, Pace
from daskqueue.actors.report import settlements_of
from daskqueue.actors.runner import Runner, Work
from daskqueue.actors.settlement import Settlement, consumer_id
from daskqueue.actors.source import CALL_SECONDS, Source
from daskqueue.actors.timing import timings
from daskqueue.clock import Clock
from daskqueue.errors import DaskQueueError, QueueLostError
from daskqueue.metrics.consumers import CONSUMERS, ConsumerMeter

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskqueue.actors.node import Node
    from daskqueue.consumer import ConsumerBaseClass

logger = logging.getLogger(__name__)

# Finished work is acked at the latest after this time, also in the middle of a slice.
ACK_SECONDS = 0.05
LEASE_BYTES = 4 << 20
# Pause after a queue has refused what it was told.
REFUSED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """All that a worker needs to run one consumer.

    Args:
        name: shown in ``results()`` and in the pool's repr.
        pool_id: the consumer pool's id; results are kept under it.
        queue_pool_id: whose queues it reads.
        queues: where they are, home first.
        homes: how many of the first queues are its own; the others it helps out.
        consumer_class: what it does with each message.
        batch_size: the most messages of one lease.
        threads: how many tasks run at the same time.
        early_ack: ack messages before they run.
        lease_seconds: how long a message stays a silent consumer's.
    """

    name: str
    pool_id: str
    queue_pool_id: str
    queues: tuple[tuple[int, ActorRef], ...]
    homes: int
    consumer_class: type[ConsumerBaseClass]
    batch_size: int
    threads: int
    early_ack: bool
    lease_seconds: float


def open_actor(spec: ConsumerSpec) -> Door:
    """Make a consumer's actor; runs on the worker."""
    loop = worker_loop()
    return Door(ConsumerService(spec, get_worker(), loop), loop)


class ConsumerService:
    """The verbs of one consumer, as its actor offers them.

    Args:
        spec: what it does.
        node: the worker it is on.
        loop: the worker's event loop.
        on_thread: called on a task thread before it runs something.

    Attributes:
        id: what it calls itself to queues.
        lease_seconds: how long a message stays its own while it is silent.
        draining: whether it leases nothing more, until it is told otherwise.
        meter: what there is to tell of it.
    """

    def __init__(
        self,
        spec: ConsumerSpec,
        node: Node,
        loop: asyncio.AbstractEventLoop,
        on_thread: Callable[[], object] = lambda: None,
    ) -> None:
        self.id = consumer_id(spec.name, node.address)
        self.lease_seconds = spec.lease_seconds
        self.draining = False
        self._spec = spec
        self._node = node
        self._loop = loop
        self._on_thread = on_thread
        self._wake = asyncio.Event()
        self._caller = Caller.of_node(node)
        self._sources: list[Source] = []
        self._homes = self._turn = 0
        for position, (index, ref) in enumerate(spec.queues):
            self.add_queue(index, ref, home=position < spec.homes)
        self._handler: ConsumerBaseClass = spec.consumer_class()
        self._runner: Runner | None = None
        self._pace = Pace(spec.batch_size, spec.threads)
        self._works: list[Work] = []
        self.meter = ConsumerMeter(
            spec.threads, lambda: self._held, lambda: sum(work.unended for work in self._works)
        )
        self._received = 0
        self._clock = Clock()
        self._ended_at = self._clock.now()
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = self._ending = False

    def add_queue(self, index: int, ref: ActorRef, *, home: bool) -> None:
        """Consume from one more queue of the pool, home queues first; those ask this consumer before others."""
        pool_id = self._spec.queue_pool_id
        source = Source(
            self._caller,
            Directory(self._node),
            pool_id,
            index,
            self.id,
            ref,
            home=home,
            on_work=self._wake.set,
        )
        self._sources.append(source)
        self._homes += home
        self._wake.set()

    def drain(self, on: bool) -> None:
        """Lease nothing more and give back what is not started; or lease again."""
        self.draining = on
        if on and not self._spec.early_ack and self._runner is not None:
            self._give_back()
        self._wake.set()

    async def start(self) -> None:
        """Begin to consume; returns when every queue has answered. A second call does nothing.

        Raises:
            QueueLostError: a queue does not answer.
            Exception: what ``setup`` of the consumer class raised.
        """
        if self._starting is None or (self._starting.done() and self._starting.exception() is not None):
            self._starting = self._loop.create_task(self._start())
        await asyncio.shield(self._starting)

    async def status(self) -> dict[str, Any]:
        """Return how many messages were received, and how many of them are not finished."""
        return {"received": self._received, "pending": self._held, "running": self._runner is not None}

    async def stop(self, seconds: float) -> bool:
        """Fetch nothing more, finish what runs within *seconds*, give back the rest.

        Returns:
            Whether everything that ran was finished.
        """
        if self._stopping or self._runner is None:
            self._stopping = True
            return True
        self._stopping = True
        if self._spec.early_ack:
            # Nobody else would ever run what is acked already.
            await self._idle(seconds)
        self._runner.stop()
        finished = await self._runner.wait_stopped(seconds)
        CONSUMERS.remove(self.meter)
        SwitchInterval.restore()
        await self._end_tasks()
        for source in self._sources:
            source.close()
        await self._say_good_bye()
        return finished

    async def close(self) -> None:
        """Stop at once; the service's actor is gone."""
        await self.stop(0.0)

    # Inside

    @property
    def _held(self) -> int:
        return sum(work.unfinished for work in self._works)

    async def _start(self) -> None:
        await asyncio.gather(*(source.ping() for source in self._sources))
        await asyncio.to_thread(self._handler.setup)
        self._runner = Runner(
            self._handler, self._spec.threads, self._loop, self._progressed, self._on_thread
        )
        self._runner.start()
        CONSUMERS.add(self.meter)
        SwitchInterval.shorten()
        self._tasks = [self._loop.create_task(self._run()), self._loop.create_task(self._renew())]

    def _progressed(self) -> None:
        """Called on the task threads, which may outlive the loop of a worker that ends."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _run(self) -> None:
        while not self._ending:
            self._collect()
            try:
                fetched = await self._exchange_with_all()
            except Exception as error:
                # A consumer that stopped here would leave its queues to themselves, and nobody would know.
                known = isinstance(error, DaskQueueError)
                logger.warning("%s: a queue refuses: %s", self._spec.name, error, exc_info=not known)
                fetched = False
                await asyncio.sleep(REFUSED_SECONDS)
            if not fetched and not self._ending:
                await self._rest()

    async def _end_tasks(self) -> None:
        """Let an exchange that is on its way come home: it may bring a lease, and has taken the acks along."""
        self._ending = True
        self._wake.set()
        running, renewing = self._tasks
        renewing.cancel()
        await asyncio.wait([running], timeout=CALL_SECONDS)
        running.cancel()
        await asyncio.wait(self._tasks)

    async def _idle(self, seconds: float) -> None:
        give_up_at = self._clock.now() + seconds
        while self._works and self._clock.now() < give_up_at:
            await asyncio.sleep(ACK_SECONDS)

    async def _rest(self) -> None:
        """Wait until a slice ends, a queue has work, or it is time to ack what is finished."""
        seconds = None
        if self._works:
            seconds = max(min(work.cut_at for work in self._works) + ACK_SECONDS - self._clock.now(), 0.0)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _collect(self, *, at_once: bool = False) -> None:
        now = self._clock.now()
        for work in self._works:
            if not at_once and self._pace.quick and not work.ended and now < work.cut_at + ACK_SECONDS:
                continue
            work.cut_at = now
            outbox = self._sources[work.source].outbox
            for part in work.cuts():
                settlements = list(settlements_of(part, late=self._spec.early_ack))
                outbox.extend(settlements)
                self._ended_at = now
                for timing in timings(part, settlements):
                    self.meter.ended(*timing)
            self._pace.learn(work)
        others_may_help = self._held > self._spec.threads and not self._spec.early_ack
        if others_may_help and self._stalled:
            self._give_back()
        self._works = [work for work in self._works if work.unfinished]

    @property
    def _stalled(self) -> bool:
        """Whether all threads have been busy with what they run for long."""
        return self._held >= self._spec.threads and self._clock.now() - self._ended_at > STALLED_SECONDS

    def _give_back(self) -> None:
        """Let others have what waits here behind tasks that take long."""
        assert self._runner is not None
        for work in self._works:
            unstarted = [(work.first + start, work.first + end) for start, end in self._runner.withdraw(work)]
            if unstarted:
                self._sources[work.source].outbox.append(Settlement(*work.receipt, released=unstarted))

    async def _exchange_with_all(self) -> bool:
        """Send what is finished, fetch from the first queue that has something; return whether one had."""
        resting = self._stopping or self.draining or self._stalled
        want = wanted = 0 if resting else self._pace.want(self._held)
        for position, source in self._in_turn():
            if want and source.may_have_work and not source.lost:
                if await self._exchange(position, source, want):
                    self._turn, want = position + 1, 0
            elif source.outbox and not source.lost:
                await self._exchange(position, source, 0)
        fetched = want < wanted
        for source in self._sources if wanted else ():
            # A home that is empty is watched, too, while there is work elsewhere.
            if source.home or not fetched:
                source.park()
        return fetched

    def _in_turn(self) -> list[tuple[int, Source]]:
        """Return the queues in the order to ask them: homes in turn, so that none of them starves, then others."""
        places = list(enumerate(self._sources))
        homes = self._homes
        turn = self._turn % homes if homes else 0
        return places[turn:homes] + places[:turn] + places[homes:]

    async def _exchange(self, position: int, source: Source, want: int) -> bool:
        outbox, source.outbox = source.outbox, []
        try:
            reply = await source.call(
                "exchange",
                self.id,
                self._spec.pool_id,
                [tuple(settlement) for settlement in outbox],
                source.request,
                want,
                self._spec.batch_size,
                LEASE_BYTES,
                self._spec.early_ack,
            )
        except BaseException as error:
            # What is sent again counts once: acks by their receipt, the lease by its request.
            source.outbox = outbox + source.outbox
            if not isinstance(error, QueueLostError):
                raise
            source.look_for_it()
            return False
        source.request += 1
        if reply is None:
            source.may_have_work = source.may_have_work and not want
            return False
        self._take(position, source, reply)
        return True

    def _take(self, position: int, source: Source, reply: tuple[int, int, Sequence[Any]]) -> None:
        lease, epoch, slices = reply
        self.meter.fetched_at = self._clock.now()
        assert self._runner is not None
        if not self._works:
            self._ended_at = self._clock.now()
        for first, parts in _joined(slices):
            work = Work(position, (lease, epoch), source.base_id, first, parts)
            work.cut_at = self._clock.now()
            self._received += work.count
            self._works.append(work)
            self._runner.feed(work)

    async def _renew(self) -> None:
        """Prolong the leases of work in hand, whatever the task threads are doing."""
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            for position, source in enumerate(self._sources):
                leases = sorted({work.receipt[0] for work in self._works if work.source == position})
                if leases and not source.lost:
                    try:
                        await source.call("extend", self.id, leases)
                    except QueueLostError:
                        source.look_for_it()

    async def _say_good_bye(self) -> None:
        self._collect(at_once=True)
        for work in self._works:
            # What has been acked of it stays so; what still runs, or never did, is for others.
            whole = (work.first, work.first + work.count)
            self._sources[work.source].outbox.append(
                Settlement(*work.receipt, released=[whole], late=self._spec.early_ack)
            )
        for position, source in enumerate(self._sources):
            if source.outbox and not source.lost:
                await self._exchange(position, source, 0)


def _joined(slices: Sequence[tuple[int, int, bytes]]) -> list[tuple[int, list[tuple[int, bytes]]]]:
    """Return slices that follow each other as one: small batches are run and acked together."""
    joined: list[tuple[int, list[tuple[int, bytes]]]] = []
    end = -1
    for first, count, data in slices:
        if first == end:
            joined[-1][1].append((count, data))
        else:
            joined.append((first, [(count, data)]))
        end = first + count
    return joined
