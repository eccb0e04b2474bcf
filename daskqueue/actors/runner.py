"""The threads that run tasks, and the results on their way out of them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import repeat, starmap
from queue import SimpleQueue
from typing import Any, NamedTuple

from daskqueue.batch import Batch, Broken, Group
from daskqueue.clock import Stopwatch
from daskqueue.consumer import ConsumerBaseClass, GeneralConsumer
from daskqueue.errors import BatchError
from daskqueue.message import Message

CANNOT_LOAD = "cannot_load"
RAISED = "raised"


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
    """One leased slice on its way through the threads.

    Args:
        source: which queue it came from.
        receipt: lease number and epoch.
        first: the id of its first message is ``base_id + first``.
        data: the record batch.
    """

    __slots__ = (
        "base_id",
        "count",
        "data",
        "finished",
        "first",
        "outcomes",
        "receipt",
        "source",
        "taken",
        "watch",
    )

    def __init__(
        self, source: int, receipt: tuple[int, int], base_id: int, first: int, count: int, data: bytes
    ) -> None:
        self.source = source
        self.receipt = receipt
        self.base_id = base_id
        self.first = first
        self.count = count
        self.data = data
        # One thread: results in order. Several: a slot for each message, and which were filled.
        self.outcomes: list[Any] = []
        self.finished: SimpleQueue[int] | None = None
        self.taken = 0
        self.watch: Stopwatch | None = None

    @property
    def unfinished(self) -> int:
        return self.count - self.taken

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
        while indices:
            start = length = 0
            while length < len(indices) and indices[length] == indices[0] + length:
                length += 1
            start, indices = indices[0], indices[length:]
            yield Cut(self, start, self.outcomes[start : start + length])


class Runner:
    """Runs the messages of slices in *threads* threads and tells *on_progress* (from those threads) of each end.

    Args:
        consumer: what is done with a message.
        threads: how many run at the same time.
        loop: where coroutine functions are awaited.
        on_progress: called when a slice is finished, and for each message when there are several threads.
    """

    def __init__(
        self,
        consumer: ConsumerBaseClass,
        threads: int,
        loop: asyncio.AbstractEventLoop,
        on_progress: Callable[[], object],
    ) -> None:
        self._consumer = consumer
        # The functions of submitted messages are called without a detour through process_item.
        self._calls_directly = type(consumer).process_item is GeneralConsumer.process_item
        self._loop = loop
        self._on_progress = on_progress
        self._several = threads > 1
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._stopping = False
        self._current: Iterator[tuple[Any, ...]] = iter(())
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
        if self._several:
            work.finished = SimpleQueue()
            work.outcomes = [None] * work.count
            self._jobs.put(lambda: self._spread(work))
        else:
            self._jobs.put(lambda: self._run_in_order(work))

    def stop(self) -> None:
        """Start nothing more; what runs is finished, the rest of each slice is left."""
        self._stopping = True
        # The thread takes its next arguments from the same iterator, and finds nothing left.
        deque(self._current, maxlen=0)
        for _ in self._threads:
            self._jobs.put(None)

    async def wait_stopped(self, seconds: float) -> bool:
        """Return whether all threads ended within *seconds*."""
        join = asyncio.gather(*(asyncio.to_thread(thread.join, seconds) for thread in self._threads))
        await join
        return not any(thread.is_alive() for thread in self._threads)

    # On the threads

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _run_in_order(self, work: Work) -> None:
        work.watch = Stopwatch()
        out = work.outcomes
        for group in self._groups(work):
            if self._stopping:
                break
            if isinstance(group, Broken):
                out.extend(repeat(Raised(group.error, CANNOT_LOAD), group.count))
            else:
                self._run_group(group, out)
        work.watch.stop()
        self._on_progress()

    def _run_group(self, group: Group, out: list[Any]) -> None:
        end = len(out) + group.count
        self._current = iter(group.arguments)
        results = starmap(group.call, self._current)
        while len(out) < end and not self._stopping:
            try:
                out.extend(results)
            except BaseException as error:  # noqa: BLE001  whatever a task raises is its own failure
                out.append(Raised(error))
            else:
                if len(out) < end and not self._stopping:
                    out.append(Raised(RuntimeError("the task raised StopIteration")))

    def _spread(self, work: Work) -> None:
        work.watch = Stopwatch()
        index = 0
        for group in self._groups(work):
            if isinstance(group, Broken):
                for _ in range(group.count):
                    self._finish(work, index, Raised(group.error, CANNOT_LOAD))
                    index += 1
                continue
            for arguments in group.arguments:
                self._jobs.put(partial(self._run_one, work, index, group.call, arguments))
                index += 1

    def _run_one(self, work: Work, index: int, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if self._stopping:
            return
        try:
            value = call(*arguments)
        except BaseException as error:  # noqa: BLE001  whatever a task raises is its own failure
            value = Raised(error)
        self._finish(work, index, value)

    def _finish(self, work: Work, index: int, value: Any) -> None:
        work.outcomes[index] = value
        assert work.finished is not None
        work.finished.put(index)
        if work.finished.qsize() + work.taken >= work.count and work.watch is not None:
            work.watch.stop()
        self._on_progress()

    def _groups(self, work: Work) -> Iterator[Group | Broken]:
        try:
            batch = Batch.parse(work.data)
            if batch.holds_items:
                yield from self._item_groups(batch)
            elif self._calls_directly:
                for group in batch.groups():
                    yield self._awaited(group) if isinstance(group, Group) else group
            else:
                yield from self._message_groups(batch, work)
        except BatchError as error:
            yield Broken(work.count, error)  # type: ignore[arg-type]

    def _item_groups(self, batch: Batch) -> Iterator[Group | Broken]:
        for item in batch.items():
            if isinstance(item, Broken):
                yield item
            else:
                yield self._handled(item)

    def _message_groups(self, batch: Batch, work: Work) -> Iterator[Group | Broken]:
        for index, call in enumerate(batch.messages()):
            if isinstance(call, Broken):
                yield call
            else:
                yield self._handled(Message(work.base_id + work.first + index, *call))

    def _handled(self, item: Any) -> Group:
        handle = self._consumer.process_item
        return self._awaited(Group(1, handle, ((item,),), (handle,)))

    def _awaited(self, group: Group) -> Group:
        if not any(inspect.iscoroutinefunction(function) for function in group.functions):
            return group
        call, loop = group.call, self._loop

        def call_and_await(*arguments: Any) -> Any:
            value = call(*arguments)
            if inspect.iscoroutine(value):
                return asyncio.run_coroutine_threadsafe(value, loop).result()
            return value

        return replace(group, call=call_and_await)
