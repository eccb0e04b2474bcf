"""A consumer that runs a message only when it is told to, in the thread that tells it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from daskqueue.actors.awaiting import Awaiting
from daskqueue.actors.handling import Equipment, Handling
from daskqueue.actors.settlement import Settlement, consumer_id
from daskqueue.actors.threads import ThreadRunner
from daskqueue.actors.work import Work, taken
from daskqueue.clock import new_name
from daskqueue.errors import QueueLostError
from daskqueue.message import pack_id
from daskqueue.testing.site import ADDRESS

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues
    from daskqueue.testing.site import Site

LEASE_BYTES = 64 << 20
CALL_SECONDS = 30.0
# How long one call waits to hear of messages that are to be cancelled.
HEAR_SECONDS = 600.0


class Hand:
    """Leases one message at a time, from each queue in turn, and runs it with the code of every consumer.

    Args:
        queues: where the messages are.
        site: where the queues are.
        equipment: what is done with a message.

    Attributes:
        lock: held by the thread that runs messages.
    """

    def __init__(self, queues: Queues, site: Site, equipment: Equipment) -> None:
        self.lock = threading.RLock()
        self._queues = queues
        self._site = site
        self._equipment = equipment
        self._id = consumer_id(equipment.name, ADDRESS)
        self._pool_id = new_name()
        self._handling: Handling | None = None
        self._runner: ThreadRunner | None = None
        self._outboxes: dict[int, list[Settlement]] = {}
        self._remarks: dict[int, list[tuple[int, int, int, bytes]]] = {}
        self._requests: dict[int, int] = {}
        self._hearing: list[asyncio.Task[None]] = []
        self._turn = 0

    async def next(self) -> Work | None:
        """Tell the queues how the last message ended, and lease the next; None if nothing is ready."""
        await self.report()
        count = self._queues.spec.n_queues
        for index in [(self._turn + step) % count for step in range(count)]:
            work = await self._exchange(index, 1)
            if work is not None:
                self._turn = index + 1
                self._hearing.append(asyncio.create_task(self._hear(work)))
                return work
        return None

    async def report(self) -> None:
        """Tell the queues how the last message ended."""
        while self._hearing:
            self._hearing.pop().cancel()
        for index in [index for index, remarks in self._remarks.items() if remarks]:
            await self._queues.call(index, "progress", self._id, self._remarks.pop(index))
        for index in [index for index, outbox in self._outboxes.items() if outbox]:
            await self._exchange(index, 0)

    def run(self, work: Work) -> None:
        """Run a message in this thread; how it ended is told with the next call of the queues."""
        self._site.running += 1
        try:
            runner = self._open()
            runner.run_here(work)
        finally:
            self._site.running -= 1
        outbox = self._outboxes.setdefault(work.source, [])
        for settlements, _ in runner.reports(work, late=False):
            outbox += settlements

    def close(self) -> None:
        """Close what the messages were handled with."""
        if self._handling is not None:
            self._handling.close()

    def _open(self) -> ThreadRunner:
        if self._runner is None:
            loop = self._site.loop.asyncio_loop
            handling = Handling(self._equipment, Awaiting(loop))
            handler = handling.open()
            self._handling = handling
            self._runner = ThreadRunner(handler, 1, loop, _nothing, self._note, clock=self._site.clock)
        return self._runner

    def _note(self, work: Work, index: int, note: bytes) -> None:
        remark = (*work.receipt, work.first + index, note)
        self._remarks.setdefault(work.source, []).append(remark)

    async def _hear(self, work: Work) -> None:
        """Let a task that runs know that its cancel was asked for."""
        try:
            asked = await self._queues.call(
                work.source, "cancels", self._id, HEAR_SECONDS, deadline=HEAR_SECONDS + CALL_SECONDS
            )
        except QueueLostError:
            return  # the pool is closed in the middle of a task
        if any(first <= work.first < last for first, last in asked):
            work.cancelled.add(0)
            if self._runner is not None:
                self._runner.tell_cancelled(work, [0])

    async def _exchange(self, index: int, want: int) -> Work | None:
        outbox = self._outboxes.pop(index, [])
        request = self._requests[index] = self._requests.get(index, 0) + 1
        said = [tuple(settlement) for settlement in outbox]
        args = (self._id, self._pool_id, said, request, want, 1, LEASE_BYTES, False)
        ref, reply = await self._queues.call_at(
            index, "exchange", *args, deadline=CALL_SECONDS, patience=CALL_SECONDS
        )
        if reply is None:
            return None
        (work,) = taken(Work, index, pack_id(index, ref.incarnation, 0), self._queues.spec.name, reply)
        return work


def _nothing() -> None:
    pass
