"""The results of many jobs at once: each blob is decoded once, as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from daskqueue.actors.ended import RETURNED, Ended
from daskqueue.batch import Broken
from daskqueue.jobs.endings import Ending, Endings, Gone
from daskqueue.jobs.handles import Jobs
from daskqueue.jobs.job import Job
from daskqueue.jobs.verdict import error_of

if TYPE_CHECKING:
    from daskqueue.pool import QueuePool

Errors = Literal["raise", "skip", "return"]


def gather(pool: QueuePool, jobs: Jobs | Sequence[Job], timeout: float | None, errors: Errors) -> list[Any]:
    """Wait for jobs of one pool and return what their tasks returned, in the order of the jobs.

    Args:
        pool: the pool.
        jobs: what to wait for.
        timeout: seconds.
        errors: what to do about those without a result; see ``QueuePool.gather``.

    Returns:
        The results; an awaitable of them with an asynchronous client.

    Raises:
        ValueError: *errors* is none of the choices.
        WaitTimeoutError: not all ended in time.
        Exception: with ``"raise"``, why a job has no result.
    """
    if errors not in get_args(Errors):
        choices = " or ".join(f'"{choice}"' for choice in get_args(Errors))
        raise ValueError(f"errors is {errors!r}; choose {choices}")
    endings = Endings(timeout)
    endings.add(jobs)
    if pool.client.asynchronous:
        return cast("list[Any]", _gathered_later(endings, jobs, errors))
    found = _Found(errors)
    try:
        while not found.enough and (ended := endings.take()):
            found.take(ended)
    finally:
        endings.close()
    return found.in_order(jobs)


async def _gathered_later(endings: Endings, jobs: Jobs | Sequence[Job], errors: Errors) -> list[Any]:
    found = _Found(errors)
    try:
        while not found.enough and (ended := await endings.take_async()):
            found.take(ended)
    finally:
        endings.close()
    return found.in_order(jobs)


class _Found:
    """Results and failures by the ids of their jobs."""

    def __init__(self, errors: Errors) -> None:
        self._errors = errors
        self._values: dict[int, Any] = {}
        self._failed: dict[int, Ended | Exception] = {}
        self._not_put: dict[int, Exception] = {}  # by id() of the job: it has no other
        self.enough = False

    def take(self, ended: Iterable[Ending]) -> None:
        for ending in ended:
            if isinstance(ending, Gone):
                self._note_gone(ending)
                continue
            part, ids = ending.part, ending.part.ids(ending.runs)
            if part.state == RETURNED:
                values = part.values(ending.runs)
                self._values.update(zip(ids, values, strict=True))
                if Broken in set(map(type, values)):
                    self._take_out_broken()
            else:
                positions = part.positions(ending.runs)
                self._failed.update((i, Ended(part, at)) for i, at in zip(ids, positions, strict=True))
        self.enough = self._errors == "raise" and bool(self._failed or self._not_put)

    def in_order(self, jobs: Jobs | Sequence[Job]) -> list[Any]:
        """Return the results; with ``"raise"``, raise the first of the errors that are known instead."""
        if not self._failed and not self._not_put:
            return [self._values[job_id] for job_id in _ids(jobs)]
        results: list[Any] = []
        for job in jobs:
            error = self._not_put.get(id(job)) or self._error_of(job)
            if error is None:
                # When one has failed, nobody has waited for the others.
                results.append(None if self.enough else self._values[job.id])
            elif self._errors == "raise":
                raise error
            elif self._errors == "return":
                results.append(error)
        return results

    def _error_of(self, job: Job) -> Exception | None:
        if self.enough and job.coming is not None:
            return None
        failed = self._failed.get(job.id)
        return error_of(job, failed) if isinstance(failed, Ended) else failed

    def _note_gone(self, gone: Gone) -> None:
        for job in gone.jobs:
            if job.put_error is None:
                self._failed[job.id] = gone.error
            else:
                self._not_put[id(job)] = gone.error

    def _take_out_broken(self) -> None:
        broken = [job_id for job_id, value in self._values.items() if isinstance(value, Broken)]
        self._failed.update((job_id, self._values.pop(job_id).error) for job_id in broken)


def _ids(jobs: Jobs | Sequence[Job]) -> Iterable[int]:
    return jobs.ids() if isinstance(jobs, Jobs) else [job.id for job in jobs]
