"""What users ask and tell a pool beside submitting: its jobs, its sizes, its dead letters, pause and drain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from daskqueue.arguments import Duration, check_count, timeout_of
from daskqueue.handle import PoolHandle
from daskqueue.jobs import gathering
from daskqueue.jobs.handles import Jobs
from daskqueue.jobs.job import Job
from daskqueue.jobs.reattaching import reattach
from daskqueue.looking import draining, every_queue, overview
from daskqueue.looking.dead import DeadLetters
from daskqueue.looking.queue_view import QueueView
from daskqueue.status import describe_queues

if TYPE_CHECKING:
    from daskqueue.jobs.gathering import Errors
    from daskqueue.looking.overview import PoolStats, Waiting
    from daskqueue.pool import QueuePool


class Operations(PoolHandle):
    """All that a pool does for its users beside submitting; with an asynchronous client, answers are awaitable."""

    # Jobs

    def gather(
        self, jobs: Iterable[Job] | Jobs, timeout: Duration | None = None, errors: Errors = "raise"
    ) -> list[Any]:
        """Wait for all jobs and return what their tasks returned, in the order of the jobs.

        Args:
            jobs: jobs of this pool.
            timeout: seconds to wait at most; None for as long as it takes.
            errors: ``"raise"`` what the first task that failed has raised, as soon as that is known, ``"skip"``
                leaves those that failed out, ``"return"`` exceptions in the places of their results.

        Raises:
            WaitTimeoutError: not all were done in time.
            QueueLostError: a queue is gone and does not come back.
            Exception: what a task raised, or another error of :meth:`Job.result`.
        """
        return gathering.gather(cast("QueuePool", self), self._own(jobs), timeout_of(timeout), errors)

    def job(self, job_id: int) -> Job:
        """Return the handle of a message that was put earlier, from whatever process.

        Raises:
            TypeError, ValueError: no id of this pool: no such queue, or nothing was put there yet; says which.
            MessagesLostError: the transient queue that it was in is gone.
        """
        return self.sync(reattach, self, job_id)

    def cancel(self, jobs: Iterable[Job] | Jobs) -> int:
        """Drop those of the jobs that still wait; return how many were. Those that run are asked to stop.

        Raises:
            ValueError: a job of another pool.
        """
        jobs = self._own(jobs)
        return self.sync(self._cancel, jobs)

    async def _cancel(self, jobs: Jobs | list[Job]) -> int:
        if isinstance(jobs, Jobs):
            return await every_queue.cancel(self.queues, jobs.ids())
        for job in jobs:
            await cast("Any", job.submitted())
        return await every_queue.cancel(self.queues, [job.id for job in jobs])

    def _own(self, jobs: Iterable[Job] | Jobs) -> Jobs | list[Job]:
        jobs = jobs if isinstance(jobs, Jobs) else list(jobs)
        for job in [jobs] if isinstance(jobs, Jobs) else jobs:
            if not isinstance(job, Job | Jobs):
                raise TypeError(f"{job!r:.80} is no Job")
            if job.pool_id != self.pool_id:
                raise ValueError(f"jobs of another pool; they are not in {self.name!r}")
        return jobs

    @property
    def dead(self) -> DeadLetters:
        """The dead letters of all queues: to list, to run again, to purge."""
        return DeadLetters(self)

    # Looking

    def __len__(self) -> int:
        return self.n_queues

    def __getitem__(self, index: int) -> QueueView:
        if not -self.n_queues <= index < self.n_queues:
            raise IndexError(f"the pool has {self.n_queues} queues")
        return QueueView(self, index % self.n_queues)

    def __iter__(self) -> Iterator[QueueView]:
        return (self[index] for index in range(self.n_queues))

    def get_queue_size(self) -> dict[str, int]:
        """Return how many messages each queue has that are not settled: waiting or running.

        Raises:
            QueueLostError: a queue does not answer, so that nobody knows.
        """
        return self.sync(every_queue.sizes, self.queues)

    def peek(self, n: int = 10) -> list[Waiting]:
        """Return the first *n* messages that wait, in the order in which they will be handed out; nothing moves.

        Raises:
            QueueLostError: a queue does not answer.
        """
        check_count("n", n)
        return self.sync(overview.peek, self, n)

    def stats(self) -> PoolStats:
        """Return counts, sizes and rates of each queue, and of all together."""
        return self.sync(overview.stats, self.queues)

    async def statuses(self, pool_id: str = "") -> list[dict[str, Any]]:
        """Return what each queue says of itself; one that does not answer is marked ``lost``."""
        return await every_queue.statuses(self.queues, pool_id)

    async def describe(self) -> str:
        """Return the pool's repr."""
        return describe_queues(await self.statuses())

    def __repr__(self) -> str:
        if self.client.asynchronous:
            return f"QueuePool : {self.n_queues} queue(s)"
        try:
            return self.sync(self.describe)
        except Exception as error:  # noqa: BLE001  a repr is for debugging, also after the cluster is gone
            return f"QueuePool : {self.n_queues} queue(s), not to be reached: {error}"

    def _repr_html_(self) -> str:
        return f"<pre>{self!r}</pre>"

    # Stopping and going on

    def pause(self) -> None:
        """Hand out no more messages, in all queues, until :meth:`resume`, also after a restart.

        What runs is finished, and more may be submitted.
        """
        return self.sync(overview.pause, self.queues, True)

    def resume(self) -> None:
        """Hand out messages again after :meth:`pause`."""
        return self.sync(overview.pause, self.queues, False)

    def drain(self, timeout: Duration | None = None) -> None:
        """Wait until nothing waits or runs in any queue, whoever put it; log what is waited for.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            WaitTimeoutError: not done in time; says what is left.
            ConsumersNotStartedError: nobody consumes, so that this would wait for ever; only without a timeout.
            QueueLostError: a queue is gone and does not come back.
        """
        if self.client.asynchronous:
            return cast("None", self._flush_and_drain(timeout_of(timeout)))
        self.flush()
        return self.sync(draining.drain, self.queues, timeout_of(timeout))

    async def _flush_and_drain(self, timeout: float | None) -> None:
        await self._flush_async()
        await draining.drain(self.queues, timeout)

    def purge(self) -> int:
        """Drop all messages that wait, in all queues; return how many. What runs is finished; dead letters stay."""
        return self.sync(every_queue.purge, self.queues)

    reset = purge
