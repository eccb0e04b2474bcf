"""The threads that run tasks, and the results on their way out of them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat, starmap
from queue import SimpleQueue
from typing import Any, NamedTuple

from daskqueue.actors.settlement import runs_of
from daskqueue.actors.timing import RAISED, TaskNames
from daskqueue.batch import Batch, Broken, Group
from daskqueue.clock import Stopwatch, ticks
from daskqueue.consumer import ConsumerBaseClass, GeneralConsumer
from daskqueue.errors import BatchError
from daskqueue.message import Message

CANNOT_LOAD = "cannot_load"


class Raised(NamedTuple):
    """Stands among results where a task raised."""

    error: BaseException
    reason: str = RAISED


class Cut(NamedTuple):
    """Finished messages of one slice, next to each other: the index of the first, and their results."""

    work: Work
    start: int
    values: list[Any]


class Work:
    """Leased messages that follow each other, on their way through the threads.

    Args:
        source: which queue it came from.
        receipt: lease number and epoch.
        base_id: the id of the queue's message with sequence 0.
        first: the sequence of the first message.
        parts: their record batches, each with its count of messages.
    """

    __slots__ = (
        "_lapped",
        "base_id",
        "count",
        "cut_at",
        "finished",
        "first",
        "outcomes",
        "parts",
        "receipt",
        "source",
        "spent",
        "taken",
        "tasks",
        "watch",
        "withdrawn",
    )

    def __init__(
        self,
        source: int,
        receipt: tuple[int, int],
        base_id: int,
        first: int,
        parts: Sequence[tuple[int, bytes]],
    ) -> None:
        self.source = source
        self.receipt = receipt
        self.base_id = base_id
        self.first = first
        self.parts = parts
        self.count = sum(count for count, _ in parts)
        # One thread: results in order. Several: a slot for each message, and which were filled.
        self.outcomes: list[Any] = []
        self.finished: SimpleQueue[int] | None = None
        self.taken = 0
        self.withdrawn = 0
        self.cut_at = 0.0
        self.watch: Stopwatch | None = None
        self.tasks = TaskNames()
        # Several threads: the seconds of each message.
        self.spent: list[float] | None = None
        self._lapped = 0.0

    @property
    def unfinished(self) -> int:
        """How many messages are still to come to an end here."""
        return self.count - self.taken - self.withdrawn

    @property
    def unended(self) -> int:
        """How many messages run or are still to run here."""
        done = self.taken + self.finished.qsize() if self.finished is not None else len(self.outcomes)
        return max(self.count - self.withdrawn - done, 0)

    @property
    def ended(self) -> bool:
        """Whether every message that was not given back has come to an end, taken or not."""
        return not self.unended

    def lap(self) -> float:
        """Return the seconds that passed here since the last call."""
        before, self._lapped = self._lapped, self.watch.seconds if self.watch is not None else 0.0
        return self._lapped - before

    def cuts(self) -> Iterator[Cut]:
        """Take what finished since the last time."""
        if self.finished is None:
            values = self.outcomes[self.taken :]
            if values:
                yield Cut(self, self.taken, values)
                self.taken += len(values)
            return
        indices = sorted(self.finished.get() for _ in range(self.finished.qsize()))
        self.taken += len(indices)
        for start, end in runs_of(indices):
            yield Cut(self, start, self.outcomes[start:end])


class Runner:
    """Runs the messages of slices in *threads* threads and tells *on_progress* (from those threads) of each end.

    Args:
        consumer: what is done with a message.
        threads: how many run at the same time.
        loop: where coroutine functions are awaited.
        on_progress: called when a slice is finished, and for each message when there are several threads.
        on_thread: called on a task thread before it runs something of a slice.
    """

    def __init__(
        self,
        consumer: ConsumerBaseClass,
        threads: int,
        loop: asyncio.AbstractEventLoop,
        on_progress: Callable[[], object],
        on_thread: Callable[[], object] = lambda: None,
    ) -> None:
        self._consumer = consumer
        self._on_thread = on_thread
        # The functions of submitted messages are called without a detour through process_item.
        self._calls_directly = type(consumer).process_item is GeneralConsumer.process_item
        self._loop = loop
        self._on_progress = on_progress
        self._several = threads > 1
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._stopping = False
        # What has been started is only ever decided under this lock.
        self._lock = threading.Lock()
        self._running: Work | None = None
        self._arguments: Iterator[tuple[Any, ...]] = iter(())
        self._group_end = 0
        self._unstarted: dict[Work, set[int]] = {}
        context = contextvars.copy_context()
        self._threads = [
            threading.Thread(target=context.copy().run, args=(self._run,), name="daskqueue-task", daemon=True)
            for _ in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def feed(self, work: Work) -> None:
        """Run a slice after those fed before."""
        with self._lock:
            self._unstarted[work] = set(range(work.count)) if self._several else set()
        if self._several:
            work.finished = SimpleQueue()
            work.outcomes = [None] * work.count
            work.spent = [0.0] * work.count
            self._jobs.put(lambda: self._spread(work))
        else:
            self._jobs.put(lambda: self._run_in_order(work))

    def withdraw(self, work: Work) -> list[tuple[int, int]]:
        """Take back what was not started of a slice; return it as runs of indices."""
        with self._lock:
            unstarted = self._unstarted.pop(work, None)
            if unstarted is None:
                return []
            if self._several:
                runs = runs_of(sorted(unstarted))
            else:
                start = 0
                if work is self._running:
                    self._group_end -= sum(1 for _ in self._arguments)
                    start = self._group_end
                runs = [(start, work.count)] if start < work.count else []
        work.withdrawn += sum(end - start for start, end in runs)
        return runs

    def stop(self) -> None:
        """Start nothing more, and end the threads once what runs is finished."""
        self._stopping = True
        with self._lock:
            # The thread takes its arguments from the same iterator, and finds nothing more.
            self._group_end -= sum(1 for _ in self._arguments)
        for _ in self._threads:
            self._jobs.put(None)

    async def wait_stopped(self, seconds: float) -> bool:
        """Return whether all threads ended within *seconds*."""
        await asyncio.gather(*(asyncio.to_thread(thread.join, seconds) for thread in self._threads))
        return not any(thread.is_alive() for thread in self._threads)

    # On the threads

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _run_in_order(self, work: Work) -> None:
        self._on_thread()
        work.watch = Stopwatch()
        with self._lock:
            self._running, self._arguments, self._group_end = work, iter(()), 0
        for group in self._groups(work):
            if not self._begin(work, group):
                break
            if not work.tasks:
                work.lap()  # loading the first function, and all that it imports, is no task's time
            work.tasks.add(group)
            if isinstance(group, Broken):
                work.outcomes.extend(repeat(Raised(group.error, CANNOT_LOAD), group.count))
            else:
                self._run_group(work, group)
        with self._lock:
            self._running = None
            self._unstarted.pop(work, None)
        work.watch.stop()
        self._on_progress()

    def _begin(self, work: Work, group: Group | Broken) -> bool:
        with self._lock:
            if self._stopping or work not in self._unstarted:
                return False
            self._arguments = iter(()) if isinstance(group, Broken) else iter(group.arguments)
            self._group_end += group.count
            return True

    def _run_group(self, work: Work, group: Group) -> None:
        out = work.outcomes
        results = starmap(group.call, self._arguments)
        while len(out) < self._group_end:
            try:
                out.extend(results)
            except BaseException as error:  # noqa: BLE001  whatever a task raises is its own failure
                out.append(Raised(error))
            else:
                if len(out) < self._group_end:
                    out.append(Raised(_stop_iteration()))

    def _spread(self, work: Work) -> None:
        index = 0
        for group in self._groups(work):
            work.tasks.add(group)
            if isinstance(group, Broken):
                calls: Iterable[Callable[[], Any]] = repeat(
                    partial(Raised, group.error, CANNOT_LOAD), group.count
                )
            else:
                calls = (partial(group.call, *arguments) for arguments in group.arguments)
            for call in calls:
                self._jobs.put(partial(self._run_one, work, index, call))
                index += 1

    def _run_one(self, work: Work, index: int, call: Callable[[], Any]) -> None:
        with self._lock:
            unstarted = self._unstarted.get(work)
            if self._stopping or unstarted is None:
                return
            unstarted.discard(index)
        if work.watch is None:
            work.watch = Stopwatch()
        self._on_thread()
        began = ticks()
        try:
            value = call()
        except StopIteration:
            value = Raised(_stop_iteration())
        except BaseException as error:  # noqa: BLE001  whatever a task raises is its own failure
            value = Raised(error)
        assert work.finished is not None
        assert work.spent is not None
        work.spent[index] = ticks() - began
        work.outcomes[index] = value
        work.finished.put(index)
        self._on_progress()

    def _groups(self, work: Work) -> Iterator[Group | Broken]:
        first_id = work.base_id + work.first
        for count, data in work.parts:
            try:
                yield from self._groups_of(Batch.parse(data), first_id)
            except BatchError as error:
                yield Broken(count, error)  # type: ignore[arg-type]
            first_id += count

    def _groups_of(self, batch: Batch, first_id: int) -> Iterator[Group | Broken]:
        if batch.holds_items:
            yield from self._item_groups(batch)
        elif self._calls_directly:
            for group in batch.groups():
                yield self._awaited(group) if isinstance(group, Group) else group
        else:
            yield from self._message_groups(batch, first_id)

    def _item_groups(self, batch: Batch) -> Iterator[Group | Broken]:
        for item in batch.items():
            if isinstance(item, Broken):
                yield item
            else:
                yield self._handled(item)

    def _message_groups(self, batch: Batch, first_id: int) -> Iterator[Group | Broken]:
        for index, call in enumerate(batch.messages()):
            if isinstance(call, Broken):
                yield call
            else:
                yield self._handled(Message(first_id + index, *call))

    def _handled(self, item: Any) -> Group:
        handle = self._consumer.process_item
        return Group(1, _awaiting(handle, self._loop), ((item,),), (handle,))

    def _awaited(self, group: Group) -> Group:
        if any(map(_may_be_coroutine, group.functions)):
            return replace(group, call=_awaiting(group.call, self._loop))
        return group


def _may_be_coroutine(function: Any) -> bool:
    """Whether a call may return a coroutine: to find out of every call would cost as much as a small task."""
    function = inspect.unwrap(function)
    is_lambda = getattr(function, "__name__", "") == "<lambda>"
    return is_lambda or any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))


def _awaiting(call: Callable[..., Any], loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    def call_and_await(*arguments: Any) -> Any:
        value = call(*arguments)
        if inspect.iscoroutine(value):
            return asyncio.run_coroutine_threadsafe(value, loop).result()
        return value

    return call_and_await


def _stop_iteration() -> RuntimeError:
    return RuntimeError("the task raised StopIteration")
