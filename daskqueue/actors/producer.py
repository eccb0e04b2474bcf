"""Record batches on their way from a client to its queues."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple

from daskqueue.clock import Clock, new_id
from daskqueue.errors import QueueFullError

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues

logger = logging.getLogger(__name__)

MAX_CALLS_IN_FLIGHT = 2
CALL_BYTES = 1 << 20
CALL_BATCHES = 256
# How long one call waits for room in a full queue before it is made again.
ROOM_SECONDS = 5.0
LOST_SECONDS = 60.0


class Placed(NamedTuple):
    """Where a record batch was put: the queue, its incarnation, the sequence of the first message."""

    queue: int
    incarnation: int
    first: int


class _Put(NamedTuple):
    number: int
    data: bytes
    retries: int
    delay: float
    give_up_at: float | None
    placed: Future[Placed]


class Lane:
    """The puts of one client for one queue: two calls in flight at most, later puts share the next call.

    Args:
        queues: calls the queue.
        index: its number.
        loop: the client's event loop.
    """

    def __init__(self, queues: Queues, index: int, loop: asyncio.AbstractEventLoop) -> None:
        self._queues = queues
        self._index = index
        self._loop = loop
        self._producer = new_id()
        self._number = 0
        self._lock = threading.Lock()
        self._waiting: deque[_Put] = deque()
        self._in_flight = 0
        self._woken = False
        self._clock = Clock()

    def put(self, data: bytes, retries: int, delay: float, timeout: float | None) -> Future[Placed]:
        """Send a record batch; callable from any thread.

        Args:
            data: the record batch.
            retries: how often its messages are run again when they raise.
            delay: seconds they are held back.
            timeout: seconds to wait for room in a full queue, None for as long as it takes.

        Returns:
            A future of where it was put, done when it is as durable as the queue's policy says.
        """
        placed: Future[Placed] = Future()
        give_up_at = None if timeout is None else self._clock.now() + timeout
        with self._lock:
            self._waiting.append(_Put(self._number, data, retries, delay, give_up_at, placed))
            self._number += 1
            wake, self._woken = not self._woken, True
        if wake:
            self._loop.call_soon_threadsafe(self._pump)
        return placed

    def _pump(self) -> None:
        with self._lock:
            self._woken = False
        while self._waiting and self._in_flight < MAX_CALLS_IN_FLIGHT:
            self._in_flight += 1
            task = self._loop.create_task(self._send(self._next_call()))
            task.add_done_callback(self._sent)

    def _sent(self, _: asyncio.Task[None]) -> None:
        self._in_flight -= 1
        self._pump()

    def _next_call(self) -> list[_Put]:
        """Take what fits one call: puts with the same options, in order."""
        puts = [self._waiting.popleft()]
        size = len(puts[0].data)
        while self._waiting and len(puts) < CALL_BATCHES:
            following = self._waiting[0]
            size += len(following.data)
            if size > CALL_BYTES or following[2:4] != puts[0][2:4]:
                break
            puts.append(self._waiting.popleft())
        return puts

    async def _send(self, puts: list[_Put]) -> None:
        try:
            while puts:
                puts = await self._put_what_fits(puts)
        except BaseException as error:  # whoever waits for a put must hear of it
            for put in puts:
                put.placed.set_exception(error)
            if not isinstance(error, Exception):
                raise

    async def _put_what_fits(self, puts: list[_Put]) -> list[_Put]:
        """Make one call; return the puts that are still to be made."""
        data = [(put.number, put.data) for put in puts]
        room = min(self._patience(put) for put in puts)
        args = (self._producer, data, puts[0].retries, puts[0].delay, room)
        try:
            ref, firsts = await self._queues.call_at(
                self._index, "put", *args, deadline=room + 30.0, patience=LOST_SECONDS
            )
        except QueueFullError as error:
            logger.debug("Queue %d is full: waiting for room", self._index)
            late = [put for put in puts if self._patience(put) <= 0]
            for put in late:
                put.placed.set_exception(error)
            return [put for put in puts if put not in late]
        for put, first in zip(puts, firsts, strict=False):
            put.placed.set_result(Placed(self._index, ref.incarnation, first))
        # A queue that became full on the way took the first ones only.
        return puts[len(firsts) :]

    def _patience(self, put: _Put) -> float:
        """Return how long a put still waits for room, at most for one call."""
        if put.give_up_at is None:
            return ROOM_SECONDS
        return min(max(put.give_up_at - self._clock.now(), 0.0), ROOM_SECONDS)
