"""The ends of many jobs, of any pools, as they come: one long poll for each queue."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from daskqueue.actors.cluster import loop_of
from daskqueue.actors.settlement import runs_of
from daskqueue.clock import Clock
from daskqueue.core.runs import Runs, count, intersect, merge, subtract
from daskqueue.errors import MessagesLostError, WaitTimeoutError
from daskqueue.jobs.handles import Jobs
from daskqueue.jobs.job import Job
from daskqueue.message import pack_id, unpack_id

if TYPE_CHECKING:
    from daskqueue.actors.ended import Part
    from daskqueue.actors.producer import Placed
    from daskqueue.actors.waiting import Life, Watch
    from daskqueue.pool import QueuePool

# How often somebody who waits makes sure that the pool is still open.
CHECK_SECONDS = 1.0

_Place = tuple[str, "Life"]


class Settled(NamedTuple):
    """Messages that ended: *runs* are those of the part that were waited for."""

    pool: QueuePool
    part: Part
    runs: Runs

    @property
    def count(self) -> int:  # type: ignore[override]  # it is no collection of values to be counted
        """How many."""
        return count(self.runs)


class Gone(NamedTuple):
    """Jobs that will never end: they could not be put, or were lost with their transient queue."""

    jobs: Sequence[Job]
    error: Exception

    @property
    def count(self) -> int:  # type: ignore[override]  # as above
        """How many."""
        return len(self.jobs)


Ending = Settled | Gone


class Endings:
    """Waits for jobs and gives their ends; every method can be called in any thread, with or without a loop.

    Args:
        timeout: seconds from now until waiting is given up; None for never.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self._clock = Clock()
        self._timeout = timeout
        self._give_up_at = None if timeout is None else self._clock.now() + timeout
        self._changed = threading.Condition()
        self._rung: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # of who waits in take_async
        self._wanted: dict[_Place, Runs] = {}
        self._watches: dict[_Place, Watch] = {}
        self._pools: dict[str, QueuePool] = {}
        self._ended: deque[Ending] = deque()
        self._unheard: list[tuple[QueuePool, Life, Runs, Exception]] = []
        self._closed = False
        self._coming: dict[Future[Placed], list[Job]] = {}
        self._left = 0  # jobs that have not ended
        self._ready = 0  # jobs whose end nobody has taken yet
        self._added = 0

    @property
    def left(self) -> int:
        """How many jobs have not ended."""
        with self._changed:
            return self._left

    @property
    def ready(self) -> int:
        """How many jobs have ended, and nobody has taken that."""
        return self._ready

    @property
    def count(self) -> int:
        """How many jobs there are of both kinds."""
        with self._changed:
            return self._left + self._ready

    def add(self, jobs: Iterable[Job]) -> None:
        """Wait for these, too. A job that is waited for already is not counted twice.

        Raises:
            TypeError: not a job.
            QueueLostError: their pool is closed.
        """
        if isinstance(jobs, Jobs):
            self._know(jobs.pool)
            for life, runs in wanted_of(jobs).items():
                self._want(jobs.pool, life, runs)
            return
        here: dict[str, list[int]] = {}
        put: dict[Future[Placed], bool] = {}  # asked once for each batch: a lock is taken for it
        for job in jobs:
            if not isinstance(job, Job):
                raise TypeError(f"{job!r:.80} is no Job")
            if job.pool_id not in self._pools:
                self._know(job.pool)
            batch = job.batch
            if batch is not None and batch not in put:
                put[batch] = batch.done() and not batch.cancelled() and batch.exception() is None
            if batch is not None and not put[batch]:
                self._expect(batch, job)
            else:
                here.setdefault(job.pool_id, []).append(job.id)
        for pool_id, ids in here.items():
            for life, runs in wanted_of(ids).items():
                self._want(self._pools[pool_id], life, runs)

    def take(self) -> list[Ending]:
        """Wait for ends and return those that are there; nothing when all have been taken.

        Raises:
            WaitTimeoutError: no end within the time-out.
            QueueLostError: a queue or the pool is gone; it is waited for again all the same.
        """
        while not self._wait(min(CHECK_SECONDS, self._seconds())):
            for pool in self._pools.values():
                pool.connection.check_waiting()
            if self._give_up_at is not None and self._clock.now() >= self._give_up_at:
                raise self._too_late()
        return self._take()

    async def take_async(self) -> list[Ending]:
        """Do the same on the event loop of the jobs' client."""
        self._rung = rung = self._rung or asyncio.Event()
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None if self._give_up_at is None else self._seconds()) as bound:
                while not self._stirred():
                    rung.clear()
                    await rung.wait()
        except TimeoutError:
            if bound.expired():
                raise self._too_late() from None
            raise
        return self._take()

    def take_now(self) -> list[Ending]:
        """Return the ends that are there."""
        return self._take() if self._ready else []

    def forget(self) -> None:
        """Wait for none of those that were added."""
        with self._changed:
            watches = list(self._watches.items())
            self._watches.clear()
            self._wanted.clear()
            self._ended.clear()
            self._unheard.clear()
            self._coming.clear()
            self._left = self._ready = self._added = 0
        for (pool_id, _), watch in watches:
            # The loop may be gone already, and its polls with it.
            with contextlib.suppress(RuntimeError):
                self._on_loop(self._pools[pool_id], watch.cancel)

    def close(self) -> None:
        """Wait for nothing any more."""
        with self._changed:
            self._closed = True
        self.forget()

    # Inside

    def _seconds(self) -> float:
        return CHECK_SECONDS if self._give_up_at is None else max(self._give_up_at - self._clock.now(), 0.0)

    def _too_late(self) -> WaitTimeoutError:
        return WaitTimeoutError(f"{self._left} of {self._added} jobs were not done after {self._timeout:g} s")

    def _stirred(self) -> bool:
        """Return whether there is something to take, or nothing to wait for."""
        with self._changed:
            return bool(self._ready or not self._left or self._unheard)

    def _wait(self, seconds: float) -> bool:
        if not self._stirred() and any(pool.client.asynchronous for pool in self._pools.values()):
            raise RuntimeError("this is the event loop, which must not wait: use `await` or `async for`")
        with self._changed:
            return self._changed.wait_for(self._stirred, seconds)

    def _take(self) -> list[Ending]:
        with self._changed:
            taken = list(self._ended)
            self._ended.clear()
            self._ready = 0
            if taken or not self._unheard:
                return taken
            unheard, self._unheard = self._unheard, []
        for pool, life, runs, _ in unheard:
            with contextlib.suppress(RuntimeError):  # its loop is gone
                self._on_loop(pool, self._watch, pool, life, runs)
        raise unheard[0][3]

    def _know(self, pool: QueuePool) -> None:
        if pool.pool_id not in self._pools:
            pool.queues.check_open()
            self._pools[pool.pool_id] = pool

    def _expect(self, batch: Future[Placed], job: Job) -> None:
        """Wait for a job when its record batch has been put, together with those that are in it, too."""
        with self._changed:
            jobs = self._coming.setdefault(batch, [])
            jobs.append(job)
            self._left += 1
            self._added += 1
        if len(jobs) == 1:
            batch.add_done_callback(self._placed)

    def _want(self, pool: QueuePool, life: Life, runs: Runs) -> None:
        place = pool.pool_id, life
        with self._changed:
            known = self._wanted.get(place, ())
            new = subtract(runs, known) if known else runs
            self._wanted[place] = merge([*known, *new]) if known else new
            self._left += count(new)
            self._added += count(new)
        if new:
            self._on_loop(pool, self._watch, pool, life, new)

    @staticmethod
    def _on_loop(pool: QueuePool, function: object, *args: object) -> None:
        if pool.client.asynchronous:
            function(*args)  # type: ignore[operator]
        else:
            loop_of(pool.client).call_soon_threadsafe(function, *args)  # type: ignore[arg-type]

    def _ring(self) -> None:
        self._changed.notify_all()
        if self._rung is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._rung.set)

    # On the client's event loop

    def _watch(self, pool: QueuePool, life: Life, runs: Runs) -> None:
        place = pool.pool_id, life
        with self._changed:
            if self._closed:
                return
            if place not in self._watches:
                took, failed = partial(self._took, pool, life), partial(self._failed, pool, life)
                self._watches[place] = pool.connection.waiting.watch(life, took, failed)
        self._watches[place].add(runs)

    def _placed(self, batch: Future[Placed]) -> None:
        """Go on with jobs whose batch has been put; runs in whatever thread tells of it."""
        error = RuntimeError("its put was cancelled") if batch.cancelled() else batch.exception()
        with self._changed:
            jobs = self._coming.pop(batch, None)
            if jobs is None:
                return
            self._left -= len(jobs)
            self._added -= len(jobs)
            if error is None:
                for life, runs in wanted_of(job.id for job in jobs).items():
                    self._want(jobs[0].pool, life, runs)
                self._ring()
                return
        self._end(Gone(jobs, error if isinstance(error, Exception) else RuntimeError(repr(error))))

    def _took(self, pool: QueuePool, life: Life, part: Part, runs: Runs) -> None:
        with self._changed:
            if runs := self._strike(pool, life, runs):
                self._end(Settled(pool, part, runs))

    def _failed(self, pool: QueuePool, life: Life, runs: Runs, error: Exception) -> None:
        with self._changed:
            if not isinstance(error, MessagesLostError):
                self._unheard.append((pool, life, runs, error))
                self._ring()
            elif runs := self._strike(pool, life, runs):
                self._end(Gone([Job(pool, job_id) for job_id in ids_of(life, runs)], error))

    def _strike(self, pool: QueuePool, life: Life, runs: Runs) -> Runs:
        """Return which of the messages are waited for, and wait for them no longer."""
        place = pool.pool_id, life
        wanted = self._wanted.get(place, ())
        runs = intersect(wanted, runs)
        if runs:
            self._wanted[place] = subtract(wanted, runs)
            self._left -= count(runs)
        return runs

    def _end(self, ending: Ending) -> None:
        with self._changed:
            self._ended.append(ending)
            self._ready += ending.count
            self._ring()


def wanted_of(jobs: Jobs | Iterable[int]) -> dict[Life, Runs]:
    """Return messages, given by their ids, as runs by queue and incarnation."""
    found: dict[Life, list[tuple[int, int]]] = {}
    if isinstance(jobs, Jobs):
        for placed, size in jobs.parts:
            run = (placed.first, placed.first + size)
            found.setdefault((placed.queue, placed.incarnation), []).append(run)
    else:
        for first, last in runs_of(sorted(set(jobs))):
            where = unpack_id(first)
            run = (where.sequence, where.sequence + last - first)
            found.setdefault((where.queue, where.incarnation), []).append(run)
    return {life: merge(runs) for life, runs in found.items()}


def ids_of(life: Life, runs: Runs) -> Iterator[int]:
    """Yield the ids of messages of a queue."""
    base = pack_id(*life, 0)
    return (base + sequence for first, last in runs for sequence in range(first, last))
