"""What a child process has in hand, as its threads share it, and the task of the message that runs."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any

from daskqueue.actors.processes.memory import Memory
from daskqueue.actors.work import Work
from daskqueue.clock import Clock, ticks
from daskqueue.errors import NotInTaskError, TaskTimeoutError
from daskqueue.running import Current


class Hand:
    """The portion that runs, and what was said about it and others.

    Args:
        memory: says which message of it runs.

    Attributes:
        number: of the portion that runs, or ran last.
        work: its messages; None while none runs.
        until: no message of it from this index on is begun before the main thread has looked at the others of these.
        given: the works of all portions that have not ended, by number.
        withdrawn: numbers of portions of which nothing more is to be begun.
        stopping: whether nothing at all is to be begun any more.
        lock: held while something of the portion is told to the consumer.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.number = 0
        self.work: Work | None = None
        self.until = 0
        self.given: dict[int, Work] = {}
        self.withdrawn: set[int] = set()
        self.stopping = False
        self.lock = threading.Lock()

    @property
    def ends(self) -> bool:
        """Whether nothing more of the portion is to be begun."""
        return self.stopping or self.number in self.withdrawn

    def stop(self) -> None:
        """Begin nothing more."""
        self.stopping = True
        self.until = 0

    def withdraw(self, number: int) -> int | None:
        """Begin nothing more of a portion; return from which of its messages on, None if it has ended."""
        # What the main thread looks at when it has passed a message is set first; only then, where it is.
        self.withdrawn.add(number)
        if number == self.number:
            self.until = 0
        if number not in self.given:
            return None
        if number != self.number or self.work is None:
            return 0
        running = self.memory.read().index
        # It may be on its way to the next one.
        return (len(self.work.outcomes) if running is None else running) + 1

    def cancel(self, number: int, indices: list[int]) -> bool:
        """Take note of cancelled messages of a portion; return whether one of them runs."""
        work = self.given.get(number)
        if work is None:
            return False
        work.cancelled = work.cancelled.union(indices)
        if number != self.number:
            return False
        self.until = 0
        return self.memory.read().index in indices


class Tasks:
    """What tasks may ask of the process that runs them.

    Args:
        hand: knows which message runs.
        say: called with the number of the portion, the index of the message, and a note of progress.

    Attributes:
        clock: what is taken for the time.
        resources: what was opened in this process.
    """

    def __init__(self, hand: Hand, say: Callable[[int, int, bytes], object]) -> None:
        self.clock = Clock()
        self.resources: Mapping[str, Any] = {}
        self._hand = hand
        self._say = say
        self._loop = asyncio.new_event_loop()
        self._current: tuple[Work, int, Current] | None = None
        self._awaited: Future[Any] | None = None

    def start(self) -> None:
        """Start the event loop that coroutines run on."""
        threading.Thread(target=self._loop.run_forever, name="daskqueue-loop", daemon=True).start()

    def current(self) -> Current:
        """Return the message that runs.

        Raises:
            NotInTaskError: none does.
        """
        hand, glance = self._hand, self._hand.memory.read()
        work, index = hand.work, glance.index
        if work is None or index is None:
            raise NotInTaskError("current() was called while no message runs in this process")
        if self._current is None or self._current[0] is not work or self._current[1] != index:
            seconds = work.stretch(index)[1]
            deadline = None
            if seconds is not None:
                deadline = self.clock.now() - (ticks() - glance.began_at) + seconds
            link = Line(self, work, index, functools.partial(self._say, hand.number, index))
            self._current = work, index, Current(work.assignment(index, deadline), link)
        return self._current[2]

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Wait for a coroutine on the event loop, within the time that its message has.

        Raises:
            TaskTimeoutError: it took longer.
            CancelledError: its message's cancel was asked for.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        work, index = self._hand.work, self._hand.memory.read().index
        if work is None or index is None:
            return future.result()
        self._awaited = future
        if index in work.cancelled:
            future.cancel()
        try:
            return future.result(self.current().remaining if work.timed else None)
        except TimeoutError:
            if future.done():
                return future.result()
            future.cancel()
            raise TaskTimeoutError("the attempt took longer than its timeout") from None
        finally:
            self._awaited = None

    def cancel(self) -> None:
        """Cancel the coroutine that is waited for, if there is one."""
        awaited = self._awaited
        if awaited is not None:
            awaited.cancel()


class Line:
    """How a task speaks with its consumer, from any thread; see ``daskqueue.running.Link``."""

    def __init__(self, tasks: Tasks, work: Work, index: int, say: Callable[[bytes], object]) -> None:
        self._tasks = tasks
        self._work = work
        self._index = index
        self._say = say

    def cancelled(self) -> bool:
        """Whether the message's cancel was asked for."""
        return self._index in self._work.cancelled

    def note(self, blob: bytes) -> None:
        """Tell the queue how far the task has come."""
        self._say(blob)

    @property
    def clock(self) -> Clock:
        """What the process takes for the time."""
        return self._tasks.clock

    @property
    def resources(self) -> Mapping[str, Any]:
        """What was opened in this process."""
        return self._tasks.resources
