"""Coroutines of tasks: awaited on an event loop while the task's thread waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Coroutine
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from daskqueue.actors.seat import SEAT
from daskqueue.running import FINDER, Interrupted

if TYPE_CHECKING:
    from daskqueue.actors.seat import Seat

# An end as it is handed to the thread: what was returned, and what was raised.
End = tuple[Any, BaseException | None]


class Flight:
    """One coroutine on its way; what it raises never reaches the event loop itself."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._task: asyncio.Task[End] | None = None
        self._cancelled = False
        # Neither takes a lock of Python's own, which an interrupted thread might never give back.
        self._end: SimpleQueue[End] = SimpleQueue()

    def wait(self, context: contextvars.Context) -> Any:
        """Return what it returns; called on the task's thread."""
        self._loop.call_soon_threadsafe(self._start, context)
        value, error = self._end.get()
        if error is not None:
            raise error
        return value

    def cancel(self) -> None:
        """Cancel it, from any thread; it may already have ended."""
        self._cancelled = True
        with contextlib.suppress(RuntimeError):  # the loop of a worker that ends
            self._loop.call_soon_threadsafe(self._cancel)

    # On the loop

    def _start(self, context: contextvars.Context) -> None:
        if self._cancelled:
            self._coroutine.close()
            self._end.put((None, asyncio.CancelledError()))
        else:
            self._task = self._loop.create_task(self._fly(), context=context)
            self._task.add_done_callback(self._land)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _fly(self) -> End:
        try:
            return await self._coroutine, None
        except BaseException as error:  # noqa: BLE001  whatever a task raises is its own failure
            return None, error

    def _land(self, task: asyncio.Task[End]) -> None:
        if task.cancelled():  # before its first step
            self._coroutine.close()
            self._end.put((None, asyncio.CancelledError()))
        else:
            self._end.put(task.result())


class Awaiting:
    """Awaits coroutines for task threads, which time out and are cancelled where they wait.

    Args:
        loop: where they run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return what a coroutine returns, and raise what it raises."""
        seat = SEAT.get(None)
        flight = Flight(coroutine, self._loop)
        context = contextvars.copy_context()
        if seat is None or seat.work is None:
            return flight.wait(context)
        return self._attended(seat, flight, context)

    def _attended(self, seat: Seat, flight: Flight, context: contextvars.Context) -> Any:
        current = seat.current()
        # What the coroutine leaves behind on the loop must not take the thread's next message for its own.
        context.run(FINDER.set, lambda: current)
        attempt = seat.attempt
        seat.flight = flight
        try:
            if attempt is not None:
                attempt.interrupt = flight.cancel
                if attempt.over:
                    raise Interrupted
            if current.cancelled:
                flight.cancel()
            return flight.wait(context)
        finally:
            seat.flight = None
            if attempt is not None:
                attempt.interrupt = None
