"""Waiting for jobs without taking their results."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Literal, NamedTuple, cast, get_args

from daskqueue.arguments import Duration, timeout_of
from daskqueue.jobs.completing import as_completed
from daskqueue.jobs.handles import Jobs
from daskqueue.jobs.job import Job

ReturnWhen = Literal["ALL_COMPLETED", "FIRST_COMPLETED"]


class DoneAndNotDone(NamedTuple):
    """The jobs that have ended, and those that have not."""

    done: set[Job]
    not_done: set[Job]

    def __await__(self) -> Generator[None, None, DoneAndNotDone]:
        # What wait() returns for no jobs at all: nobody knows then whether there is a loop.
        yield from ()
        return self


def wait(
    jobs: Iterable[Job], timeout: Duration | None = None, return_when: ReturnWhen = "ALL_COMPLETED"
) -> DoneAndNotDone:
    """Wait until jobs have ended, one way or another.

    Args:
        jobs: jobs of any pools.
        timeout: seconds (or text such as ``"10s"``) to wait at most; None for as long as it takes.
        return_when: ``"ALL_COMPLETED"`` or ``"FIRST_COMPLETED"``.

    Returns:
        ``(done, not_done)``; an awaitable of it with an asynchronous client.

    Raises:
        ValueError: *return_when* is none of the choices.
        WaitTimeoutError: they had not ended in time.
        QueueLostError: a queue is gone and does not come back.
    """
    if return_when not in get_args(ReturnWhen):
        raise ValueError(f'return_when is {return_when!r}; choose "ALL_COMPLETED" or "FIRST_COMPLETED"')
    jobs = jobs if isinstance(jobs, Jobs) else list(jobs)
    if not jobs:
        return DoneAndNotDone(set(), set())
    completed = as_completed(jobs, timeout=timeout_of(timeout))
    if jobs[0].pool.client.asynchronous:
        return cast("DoneAndNotDone", _waited(jobs, completed, return_when))
    done: set[Job] = set()
    for batch in completed.batches():
        done.update(batch)
        if return_when == "FIRST_COMPLETED":
            break
    return DoneAndNotDone(done, _others(jobs, done))


async def _waited(jobs: Iterable[Job], completed: as_completed[Job], return_when: ReturnWhen) -> Any:
    done: set[Job] = set()
    async for batch in completed.batches():
        done.update(batch)
        if return_when == "FIRST_COMPLETED":
            break
    return DoneAndNotDone(done, _others(jobs, done))


def _others(jobs: Iterable[Job], done: set[Job]) -> set[Job]:
    return {job for job in jobs if job not in done}
