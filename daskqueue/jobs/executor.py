"""A pool as a ``concurrent.futures.Executor``: for libraries that know nothing else."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from daskqueue.actors.settlement import to_runs
from daskqueue.arguments import Duration, check_count, timeout_of
from daskqueue.jobs.awaiting import wait
from daskqueue.jobs.completing import Item, as_completed
from daskqueue.jobs.endings import ids_of, wanted_of

if TYPE_CHECKING:
    from daskqueue.jobs.handles import Jobs
    from daskqueue.jobs.job import Job
    from daskqueue.pool import QueuePool

# How many calls of ``map`` share a record batch where the caller has not said it.
MAP_BATCH = 1000


class JobFuture(concurrent.futures.Future[Any]):
    """The future of one message.

    Attributes:
        job: its handle.
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job

    def running(self) -> bool:
        """Return whether the task runs now; its queue is asked, but never from an event loop."""
        if self.done() or self.job.pool.client.asynchronous:
            return super().running()
        return self.job.status == "processing"

    def cancel(self) -> bool:
        """Drop the message if it still waits; return whether it will not run, or has not.

        On the event loop of an asynchronous client, which cannot wait for the answer, return False: if it was
        dropped, the future is cancelled in a moment.
        """
        if self.done():
            return self.cancelled()
        if self.job.pool.client.asynchronous:
            asyncio.ensure_future(cast("Any", self.job.cancel())).add_done_callback(_look_away)
            return False
        return self.job.cancel() and self.mark_cancelled()

    def mark_cancelled(self) -> bool:
        """Note that the message was dropped; return whether that came in time."""
        return super().cancel()

    def end(self, item: Item) -> None:
        """Take over how the job ended."""
        if item.cancelled:
            super().cancel()
        if not self.cancelled():
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                if item.error is None:
                    self.set_result(item.value)
                else:
                    self.set_exception(item.error)
            return
        with contextlib.suppress(RuntimeError):
            self.set_running_or_notify_cancel()


class QueueExecutor(concurrent.futures.Executor):
    """Runs calls as messages of a pool; see ``QueuePool.get_executor``.

    What is submitted is as safe as any message of the pool, and goes on when this process ends. Futures are
    waited for together, in one thread that is there while any are pending; it calls their callbacks.

    Args:
        pool: where the calls go, with the options of this handle.
    """

    def __init__(self, pool: QueuePool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._futures: dict[int, JobFuture] = {}  # by id() of their jobs, which have no other yet
        self._completed: as_completed[Any] = as_completed(with_results=True, raise_errors=False)
        self._thread: threading.Thread | None = None
        self._mapped: list[Jobs] = []
        self._shut_down = False

    def __repr__(self) -> str:
        state = "shut down" if self._shut_down else f"{len(self._futures)} pending"
        return f"<QueueExecutor of {self._pool.name!r}: {state}>"

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobFuture:
        """Put a call into the next queue; return its future at once, also on an event loop.

        Raises:
            RuntimeError: the executor is shut down.
            BatchError: the function or an argument cannot be pickled.
        """
        with self._lock:
            self._check()
            job = self._pool.submit_soon(fn, args, kwargs)
            future = self._futures[id(job)] = JobFuture(job)
            self._completed.add(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, name="daskqueue-futures", daemon=True)
                self._thread.start()
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: Duration | None = None,
        chunksize: int = 1,
    ) -> Iterator[Any]:
        """Call *fn* with each of the zipped arguments; return an iterator over the results in their order.

        Args:
            fn: what to call.
            iterables: its arguments, all of which are submitted now.
            timeout: seconds from now in which the last result must be there; None for as long as it takes.
            chunksize: how many calls go to the same queue in one record batch; 1 leaves that to the executor.

        Raises:
            RuntimeError: the executor is shut down, or this is an event loop, which must not wait.
            TimeoutError: raised by the iterator. If it is left early, calls that still wait are cancelled.
        """
        check_count("chunksize", chunksize)
        seconds = timeout_of(timeout)
        if self._pool.client.asynchronous:
            raise RuntimeError("map of an executor waits for its results: use `await pool.map(...)` here")
        with self._lock:
            self._check()
        size = chunksize if chunksize > 1 else MAP_BATCH
        jobs = self._pool.map(fn, *iterables, batch_size=size)
        with self._lock:
            self._mapped.append(jobs)
        return self._in_order(jobs, as_completed(jobs, with_results=True, timeout=seconds))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further calls; the queues stay.

        Args:
            wait: return when all that was submitted has ended.
            cancel_futures: drop what still waits.

        Raises:
            RuntimeError: *wait* on the event loop of an asynchronous client, which must not, while any is pending.
        """
        with self._lock:
            self._shut_down = True
            futures, mapped, thread = list(self._futures.values()), list(self._mapped), self._thread
        if cancel_futures:
            self._cancel(futures, mapped)
        if wait and (futures or mapped):
            if self._pool.client.asynchronous:
                raise RuntimeError("an event loop must not wait for an executor: use shutdown(wait=False)")
            self._wait(mapped, thread)

    def _cancel(self, futures: list[JobFuture], mapped: list[Jobs]) -> None:
        if self._pool.client.asynchronous:
            for future in futures:
                future.cancel()
            return
        for jobs in mapped:
            self._pool.cancel(jobs)
        dropped = self._pool.sync(drop, self._pool, [future.job for future in futures])
        for future in futures:
            if future.job.put_error is None and future.job.id in dropped:
                future.mark_cancelled()

    @staticmethod
    def _wait(mapped: list[Jobs], thread: threading.Thread | None) -> None:
        for jobs in mapped:
            wait(jobs)
        if thread is not None:
            thread.join()

    def _check(self) -> None:
        if self._shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown: make another with get_executor()")

    def _in_order(self, jobs: Jobs, completed: as_completed[Any]) -> Iterator[Any]:
        ended: dict[int, Item] = {}
        given = 0
        try:
            for job_id in jobs.ids():
                while job_id not in ended:
                    item = completed.next_item()
                    ended[item.job.id] = item
                item = ended.pop(job_id)
                given += 1
                if item.error is not None:
                    raise item.error
                yield item.value
        finally:
            if given < len(jobs):
                self._pool.cancel(jobs[given:])

    def _read(self) -> None:
        """Settle futures until none is pending; runs in a thread of its own."""
        while True:
            try:
                item = self._completed.next_item()
            except StopIteration:
                pass
            except Exception as error:  # noqa: BLE001  whoever waits must hear of it
                self._fail(error)
            else:
                future = self._futures.pop(id(item.job), None)
                if future is not None:
                    future.end(item)
                continue
            with self._lock:
                if self._completed.is_empty():
                    self._thread = None
                    return

    def _fail(self, error: Exception) -> None:
        with self._lock:
            futures = list(self._futures.values())
            self._futures.clear()
            self._completed.clear()
        for future in futures:
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                future.set_exception(error)


def _look_away(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


async def drop(pool: QueuePool, jobs: list[Job]) -> set[int]:
    """Drop those of the jobs that wait, with one call for each queue; return their ids."""
    await asyncio.gather(*(job.arrive() for job in jobs), return_exceptions=True)
    wanted = wanted_of(job.id for job in jobs if job.put_error is None)
    calls = [
        pool.queues.call(life[0], "cancel", life[1], [tuple(run) for run in runs])
        for life, runs in wanted.items()
    ]
    dropped = await asyncio.gather(*calls)
    return {
        job_id for life, runs in zip(wanted, dropped, strict=True) for job_id in ids_of(life, to_runs(runs))
    }
