"""A consumer on a worker: fetches slices, feeds its threads, acks what is finished."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from daskqueue.actors.awaiting import Awaiting
from daskqueue.actors.caller import Caller
from daskqueue.actors.consumer_spec import PROCESSES, ConsumerSpec
from daskqueue.actors.directory import ActorRef, Directory
from daskqueue.actors.door import Door, worker_loop
from daskqueue.actors.handling import Equipment, Handling
from daskqueue.actors.in_hand import ACK_SECONDS, InHand
from daskqueue.actors.interpreter import SwitchInterval
from daskqueue.actors.processes.runner import ProcessRunner
from daskqueue.actors.settlement import Pairs, consumer_id
from daskqueue.actors.source import CALL_SECONDS, Source
from daskqueue.actors.threads import ThreadRunner
from daskqueue.clock import Clock
from daskqueue.errors import DaskQueueError, QueueLostError
from daskqueue.metrics.consumers import CONSUMERS, ConsumerMeter

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskqueue.actors.node import Node
    from daskqueue.actors.runner import Runner
    from daskqueue.actors.work import Work

logger = logging.getLogger(__name__)

LEASE_BYTES = 4 << 20
# Pause after a queue has refused what it was told.
REFUSED_SECONDS = 1.0


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
        self._clock = Clock()
        self._sources: list[Source] = []
        self._in_hand = InHand(spec, self._sources, self._clock)
        self._homes = self._turn = 0
        for position, (index, ref) in enumerate(spec.queues):
            self.add_queue(index, ref, home=position < spec.homes)
        # In child processes, each has one of its own.
        self._handling: Handling | None = None
        self._runner: Runner | None = None
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = self._ending = False

    @property
    def meter(self) -> ConsumerMeter:
        """What there is to tell of it."""
        return self._in_hand.meter

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
            on_cancel=partial(self._cancel, len(self._sources)),
            loop=self._loop,
        )
        self._sources.append(source)
        self._homes += home
        self._wake.set()

    def drain(self, on: bool) -> None:
        """Lease nothing more and give back what is not started; or lease again."""
        self.draining = on
        if on and self._runner is not None:
            self._in_hand.give_back(self._runner)
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
        in_hand = self._in_hand
        return {"received": in_hand.received, "pending": in_hand.held, "running": self._runner is not None}

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
        if self._handling is not None:
            await asyncio.to_thread(self._handling.close)
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

    async def _start(self) -> None:
        await asyncio.gather(*(source.ping() for source in self._sources))
        self._runner = await self._open_runner()
        CONSUMERS.add(self.meter)
        SwitchInterval.shorten()
        self._tasks = [self._loop.create_task(self._run()), self._loop.create_task(self._renew())]

    async def _open_runner(self) -> Runner:
        spec = self._spec
        equipment = Equipment(spec.name, spec.consumer_class, spec.middleware, spec.resources)
        runner: Runner
        if spec.executor == PROCESSES:
            runner = ProcessRunner(
                equipment,
                spec.threads,
                self._on_end,
                self._on_note,
                late=spec.early_ack,
                settings=self._settings_of_children,
            )
        else:
            handling = Handling(equipment, Awaiting(self._loop))
            handler = await asyncio.to_thread(handling.open)
            self._handling = handling
            runner = threads = ThreadRunner(
                handler, spec.threads, self._loop, self._on_end, self._on_note, self._on_thread
            )
            self.meter.left_behind = lambda: threads.left_behind
        await runner.start()
        return runner

    def _settings_of_children(self) -> dict[str, Any]:
        """Let ``distributed.Client()`` in a child find the cluster."""
        scheduler = self._node.scheduler
        address = str(scheduler.address) if scheduler is not None else "inproc:"
        return {} if address.startswith("inproc:") else {"scheduler-address": address}

    def _on_end(self) -> None:
        """Called on the task threads, which may outlive the loop of a worker that ends."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    def _on_note(self, work: Work, index: int, note: bytes) -> None:
        """Called on the task threads when a task tells of its progress."""
        if not self._spec.early_ack:
            self._sources[work.source].remarks.put(work.receipt, work.first + index, note)

    def _cancel(self, position: int, pairs: Pairs) -> None:
        if self._runner is not None:
            self._in_hand.cancel(self._runner, position, pairs)
            self._wake.set()

    async def _run(self) -> None:
        assert self._runner is not None
        while not self._ending:
            self._in_hand.collect(self._runner)
            self._in_hand.listen()
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
        while self._in_hand and self._clock.now() < give_up_at:
            await asyncio.sleep(ACK_SECONDS)

    async def _rest(self) -> None:
        """Wait until a slice ends, a queue has work, or it is time to ack what is finished."""
        now, look_at = self._clock.now(), self._in_hand.look_at
        moments = [source.rests_until for source in self._sources if source.rests_until > now]
        if look_at is not None:
            moments.append(look_at + ACK_SECONDS)
        seconds = max(min(moments) - now, 0.0) if moments else None
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _exchange_with_all(self) -> bool:
        """Send what is finished, fetch from the first queue that has something; return whether one had."""
        resting = self._stopping or self.draining or self._in_hand.stalled
        want = wanted = 0 if resting else self._in_hand.wanted
        now = self._clock.now()
        for position, source in self._in_turn():
            if source.rests_until > now:
                continue
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
        assert self._runner is not None
        outbox, source.outbox = source.outbox, []
        try:
            if outbox:
                await source.remarks.flush()
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
            if isinstance(error, QueueLostError):
                source.look_for_it()
            elif isinstance(error, DaskQueueError):
                # Its disk may be full. What is finished is kept here, and its lease prolonged, until it is heard.
                source.rest(error, self._clock.now() + REFUSED_SECONDS)
            else:
                raise
            return False
        if want:
            # A call without a request leaves the number to the one before it: that one's reply may have been lost.
            source.request += 1
        source.heard()
        if reply is None:
            source.may_have_work = source.may_have_work and not want
            return False
        self._in_hand.take(self._runner, position, reply)
        return True

    async def _renew(self) -> None:
        """Prolong the leases of work in hand, whatever the task threads are doing."""
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            # At the same time: a queue that is away must not cost the leases of others.
            await asyncio.gather(*(self._extend(*place) for place in enumerate(self._sources)))

    async def _extend(self, position: int, source: Source) -> None:
        leases = self._in_hand.leases(position)
        if not leases or source.lost:
            return
        try:
            await source.call("extend", self.id, leases)
        except QueueLostError:
            source.look_for_it()
        except Exception:
            # The next time is soon enough: two of three may fail before a lease ends.
            logger.warning("%s: leases could not be prolonged", self._spec.name, exc_info=True)

    async def _say_good_bye(self) -> None:
        assert self._runner is not None
        self._in_hand.collect(self._runner, at_once=True)
        self._in_hand.let_go()
        for position, source in enumerate(self._sources):
            if source.outbox and not source.lost:
                await self._exchange(position, source, 0)
