"""Record batches on their way from a client to its queues."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple

from daskqueue.clock import Clock, new_id
from daskqueue.errors import DiskFullError, QueueFullError
from daskqueue.message import PutOptions

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
    """Where a record batch was put: the queue, its incarnation, the sequence of the first message.

    With *existing* nothing was put: the key of the message is taken by this one.
    """

    queue: int
    incarnation: int
    first: int
    existing: bool = False


class _Put(NamedTuple):
    number: int
    data: bytes
    options: PutOptions
    give_up_at: float | None
    placed: Future[Placed]


class Lane:
    """The puts of one client for one queue: two calls in flight at most, later puts share the next call.

    Calls may overtake each other, so only one with messages of groups, which have an order, is in flight.

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
        self._in_order = False  # a call with messages of groups is in flight
        self._woken = False
        self._clock = Clock()

    def put(
        self, data: bytes, options: PutOptions, timeout: float | None, placed: Future[Placed] | None = None
    ) -> Future[Placed]:
        """Send a record batch; callable from any thread.

        Args:
            data: the record batch.
            options: what was chosen for its messages.
            timeout: seconds to wait for room in a full queue, None for as long as it takes.
            placed: the future to return, if somebody waits for it already.

        Returns:
            A future of where it was put, done when it is as durable as the queue's policy says.
        """
        placed = Future() if placed is None else placed
        give_up_at = None if timeout is None else self._clock.now() + timeout
        with self._lock:
            self._waiting.append(_Put(self._number, data, options, give_up_at, placed))
            self._number += 1
            wake, self._woken = not self._woken, True
        if wake:
            self._loop.call_soon_threadsafe(self._pump)
        return placed

    def _pump(self) -> None:
        with self._lock:
            self._woken = False
        while self._waiting and self._in_flight < MAX_CALLS_IN_FLIGHT:
            if self._in_order and self._waiting[0].options.terms.group:
                break
            self._in_flight += 1
            puts = self._next_call()
            ordered = any(put.options.terms.group for put in puts)
            self._in_order = self._in_order or ordered
            task = self._loop.create_task(self._send(puts))
            task.add_done_callback(functools.partial(self._sent, ordered))

    def _sent(self, ordered: bool, _: asyncio.Task[None]) -> None:
        self._in_flight -= 1
        if ordered:
            self._in_order = False
        self._pump()

    def _next_call(self) -> list[_Put]:
        """Take what fits one call, in order."""
        puts = [self._waiting.popleft()]
        size = len(puts[0].data)
        while self._waiting and len(puts) < CALL_BATCHES:
            following = self._waiting[0]
            size += len(following.data)
            if size > CALL_BYTES or (self._in_order and following.options.terms.group):
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
        room = min(self._patience(put) for put in puts)
        told = [(put.number, put.data, tuple(put.options)) for put in puts]
        args = (self._producer, told, room)
        try:
            ref, firsts = await self._queues.call_at(
                self._index, "put", *args, deadline=room + 30.0, patience=LOST_SECONDS
            )
        except (QueueFullError, DiskFullError) as error:
            logger.debug("Queue %d is full: %s", self._index, error)
            late = [put for put in puts if self._is_late(put, error)]
            for put in late:
                put.placed.set_exception(error)
            return [put for put in puts if put not in late]
        for put, first in zip(puts, firsts, strict=False):
            existing = first < 0
            where = -1 - first if existing else first
            put.placed.set_result(Placed(self._index, ref.incarnation, where, existing))
        # A queue that became full on the way took the first ones only.
        return puts[len(firsts) :]

    def _is_late(self, put: _Put, error: QueueFullError | DiskFullError) -> bool:
        """Return whether a put has waited as long as it may: consumers make room in a queue, people on a disk."""
        endless = put.give_up_at is None and isinstance(error, DiskFullError)
        return endless or self._patience(put) <= 0

    def _patience(self, put: _Put) -> float:
        """Return how long a put still waits for room, at most for one call."""
        if put.give_up_at is None:
            return ROOM_SECONDS
        return min(max(put.give_up_at - self._clock.now(), 0.0), ROOM_SECONDS)
