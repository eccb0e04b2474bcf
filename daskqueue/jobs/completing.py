"""Jobs in the order in which they end."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

from daskqueue.actors.ended import RETURNED, Ended
from daskqueue.arguments import Duration, timeout_of
from daskqueue.batch import Broken
from daskqueue.jobs.endings import Ending, Endings, Settled
from daskqueue.jobs.handles import Jobs
from daskqueue.jobs.job import Job
from daskqueue.jobs.verdict import error_of
from daskqueue.jobs.windowed import Windowed

R = TypeVar("R")
T = TypeVar("T")


class Item(NamedTuple):
    """A job that has ended, with its result, or why there is none."""

    job: Job
    value: Any
    error: Exception | None

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled it."""
        known = self.job.known
        return known is not None and known.state == "cancelled"


class as_completed(Generic[T]):  # noqa: N801  the name that users of Dask know
    """Iterate over jobs in the order in which they end, with ``for`` or ``async for``.

    However many jobs there are, each queue is asked once, and answers when some of them have ended. A job that
    is given twice comes once.

    Args:
        jobs: jobs of any pools, or what ``pool.map(..., window=n)`` returned: that submits as it is consumed.
        with_results: give ``(job, result)`` instead of jobs.
        raise_errors: with results, raise what a task raised when its turn comes (the iteration can go on after
            that); False gives the exception in the place of the result.
        timeout: seconds (or text such as ``"10s"``) from now after which the iteration raises.

    Raises:
        WaitTimeoutError: the next job did not end in time.
        QueueLostError: a queue is gone; a further ``next()`` waits for it again.
    """

    @overload
    def __init__(
        self: as_completed[Job[R]],
        jobs: Iterable[Job[R]] | None = None,
        with_results: Literal[False] = False,
        raise_errors: bool = True,
        *,
        timeout: Duration | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: as_completed[tuple[Job[R], R]],
        jobs: Iterable[Job[R]] | None = None,
        *,
        with_results: Literal[True],
        raise_errors: Literal[True] = True,
        timeout: Duration | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: as_completed[tuple[Job[R], R | Exception]],
        jobs: Iterable[Job[R]] | None = None,
        *,
        with_results: Literal[True],
        raise_errors: bool,
        timeout: Duration | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: as_completed[Any],
        jobs: Iterable[Job] | None = None,
        with_results: bool = False,
        raise_errors: bool = True,
        *,
        timeout: Duration | None = None,
    ) -> None: ...
    def __init__(
        self,
        jobs: Iterable[Job] | None = None,
        with_results: bool = False,
        raise_errors: bool = True,
        *,
        timeout: Duration | None = None,
    ) -> None:
        self.with_results = with_results
        self.raise_errors = raise_errors
        self._endings = Endings(timeout_of(timeout))
        self._given: dict[str, dict[int, Job]] = {}  # by pool
        self._coming: deque[Job] = deque()
        self._window: Windowed | None = None
        self._items: Iterator[Item] = iter(())
        self._held = 0  # items that were taken and are still to be given
        weakref.finalize(self, self._endings.close).atexit = False
        if jobs is not None:
            self.update(jobs)

    def add(self, job: Job) -> None:
        """Wait for this job, too."""
        self.update((job,))

    def update(self, jobs: Iterable[Job]) -> None:
        """Wait for these jobs, too.

        Raises:
            TypeError: not jobs.
            ValueError: a second lazy map.
        """
        if isinstance(jobs, Windowed):
            if self._window is not None:
                raise ValueError("as_completed takes one lazy map at a time; use one for each")
            self._window = jobs
            return
        if not isinstance(jobs, Jobs):
            jobs = list(jobs)
            self._remember(jobs)
        self._endings.add(jobs)

    def count(self) -> int:
        """Return how many jobs have been submitted and not yet given."""
        return self._endings.count + self._held

    def is_empty(self) -> bool:
        """Return whether there is nothing to come."""
        return not self.count() and (self._window is None or self._window.exhausted)

    def has_ready(self) -> bool:
        """Return whether the next job has ended, so that nobody need wait for it."""
        return bool(self._endings.ready or self._held)

    def next_batch(self, block: bool = True) -> list[T]:
        """Return all that have ended and were not given yet; with *block*, at least one.

        Raises:
            StopIteration: there is nothing to come.
        """
        batch = [self.__next__()] if block else []
        return batch + self._ready()

    def batches(self) -> Batches[T]:
        """Iterate over lists of what has ended, as long as they are by then; with ``for`` or ``async for``."""
        return Batches(self)

    def clear(self) -> None:
        """Forget all jobs."""
        self._endings.forget()
        self._given.clear()
        self._coming.clear()
        self._window, self._items, self._held = None, iter(()), 0

    def __repr__(self) -> str:
        return f"<as_completed: waiting={self._endings.left} done={self._endings.ready + self._held}>"

    def __iter__(self) -> Iterator[T]:
        return self

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    def __next__(self) -> T:
        return self._give(self.next_item())

    def next_item(self) -> Item:
        """Wait for the next job.

        Raises:
            StopIteration: there is nothing to come.
            WaitTimeoutError, QueueLostError: as for the iteration.
        """
        while True:
            if self._window is not None and (room := self._window.room_for(self.count())):
                self._endings.add(self._window.submit(room))
            if (item := next(self._items, None)) is not None:
                self._held -= 1
                return item
            if not (ended := self._endings.take()) and self.is_empty():
                raise StopIteration
            self._unpack(ended)

    async def __anext__(self) -> T:
        while True:
            if self._window is not None and (room := self._window.room_for(self.count())):
                self._endings.add(await self._window.submit_async(room))
            if (item := next(self._items, None)) is not None:
                self._held -= 1
                return self._give(item)
            if not (ended := await self._endings.take_async()) and self.is_empty():
                raise StopAsyncIteration
            self._unpack(ended)

    def _ready(self) -> list[T]:
        """Return what has ended by now, up to the first that raises."""
        ready = []
        while self.has_ready():
            if (item := next(self._items, None)) is None:
                self._unpack(self._endings.take_now())
            elif item.error is not None and self.with_results and self.raise_errors:
                self._items = itertools.chain([item], self._items)
                break
            else:
                self._held -= 1
                ready.append(self._give(item))
        return ready

    def _give(self, item: Item) -> Any:
        if not self.with_results:
            return item.job
        if item.error is None:
            return item.job, item.value
        if self.raise_errors:
            raise item.error
        return item.job, item.error

    def _unpack(self, ended: list[Ending]) -> None:
        self._held += sum(ending.count for ending in ended)
        self._items = (item for ending in ended for item in self._items_of(ending))

    def _items_of(self, ending: Ending) -> Iterator[Item]:
        if not isinstance(ending, Settled):
            yield from (Item(self._own(job), None, ending.error) for job in ending.jobs)
            return
        part, runs = ending.part, ending.runs
        jobs = map(self._job_maker(ending), part.ids(runs))
        ends = map(Ended, [part] * ending.count, part.positions(runs))
        if not self.with_results or part.state != RETURNED:
            for job, end in zip(jobs, ends, strict=True):
                job.know(end)
                yield Item(job, None, error_of(job, end) if self.with_results else None)
            return
        for job, end, value in zip(jobs, ends, part.values(runs), strict=True):
            job.know(end)
            broken = type(value) is Broken
            yield Item(job, None if broken else value, value.error if broken else None)

    def _job_maker(self, ending: Settled) -> Callable[[int], Job]:
        """Return what gives the job of an id: the user's own object, if there was one."""
        pool = ending.pool
        for _ in range(len(self._coming)):  # others may add to it meanwhile
            job = self._coming.popleft()
            if job.coming is not None:
                self._coming.append(job)
            elif job.put_error is None:
                self._given.setdefault(job.pool_id, {})[job.id] = job
        given = self._given.get(pool.pool_id)
        if not given:
            return lambda job_id: Job(pool, job_id)
        return lambda job_id: given.pop(job_id, None) or Job(pool, job_id)

    def _own(self, job: Job) -> Job:
        """Return the user's own object where another one stands for it."""
        given = self._given.get(job.pool_id)
        return given.pop(job.id, job) if given and job.put_error is None else job

    def _remember(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            if not isinstance(job, Job):
                raise TypeError(f"{job!r:.80} is no Job")
            if job.batch is not None:
                self._coming.append(job)
            else:
                self._given.setdefault(job.pool_id, {})[job.id] = job


class Batches(Generic[T]):
    """What has ended, list by list; see :meth:`as_completed.batches`."""

    def __init__(self, completed: as_completed[T]) -> None:
        self._completed = completed

    def __iter__(self) -> Iterator[list[T]]:
        return self

    def __next__(self) -> list[T]:
        return self._completed.next_batch()

    def __aiter__(self) -> AsyncIterator[list[T]]:
        return self

    async def __anext__(self) -> list[T]:
        return [await self._completed.__anext__(), *self._completed.next_batch(block=False)]
