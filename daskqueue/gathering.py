"""The results of many jobs at once: one long poll for each queue, and each blob is decoded once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from daskqueue.actors.caller import DEADLINE_SECONDS
from daskqueue.actors.settlement import runs_of, to_pairs, to_runs
from daskqueue.actors.waiting import LOST_SECONDS, POLL_SECONDS, Ended
from daskqueue.batch import Broken
from daskqueue.clock import new_name
from daskqueue.core.runs import Runs, count, merge, subtract
from daskqueue.errors import WaitTimeoutError
from daskqueue.job import Job, Jobs, error_of
from daskqueue.message import pack_id
from daskqueue.results import decode_results

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues

Errors = Literal["raise", "return"]
RETURNED = "returned"

Life = tuple[int, int]
Wanted = dict[Life, Runs]


class Part(NamedTuple):
    """How the messages of some runs of one queue ended; *blob* holds their results or failures in order."""

    base_id: int
    state: str
    runs: Sequence[tuple[int, int]]
    blob: bytes
    reason: str

    @property
    def ids(self) -> Iterable[int]:
        """The jobs' ids, in the order of what is in the blob."""
        ranges = (range(self.base_id + first, self.base_id + last) for first, last in self.runs)
        return itertools.chain.from_iterable(ranges)


class _FailedEarly(Exception):  # noqa: N818  no error: there is only no need to wait for the others
    pass


def wanted_of(jobs: Jobs | Sequence[Job]) -> Wanted:
    """Return the messages of jobs as runs, by queue and incarnation."""
    runs: dict[Life, list[tuple[int, int]]] = {}
    if isinstance(jobs, Jobs):
        for placed, count in jobs.parts:
            run = (placed.first, placed.first + count)
            runs.setdefault((placed.queue, placed.incarnation), []).append(run)
        return {life: merge(parts) for life, parts in runs.items()}
    sequences: dict[Life, set[int]] = {}
    for job in jobs:
        place = job.place
        sequences.setdefault((place.queue, place.incarnation), set()).add(place.sequence)
    return {life: to_runs(runs_of(sorted(found))) for life, found in sequences.items()}


async def fetch(queues: Queues, wanted: Wanted, timeout: float | None, errors: Errors) -> list[Part]:
    """Wait until all have ended and return how, or until one has failed if that is to be raised.

    Raises:
        WaitTimeoutError: not all ended within *timeout* seconds.
        QueueLostError: a queue is gone.
    """
    parts: list[Part] = []
    tasks = [
        asyncio.create_task(_fetch_from(queues, life, runs, parts, errors)) for life, runs in wanted.items()
    ]
    try:
        async with asyncio.timeout(timeout):
            await asyncio.gather(*tasks)
    except _FailedEarly:
        pass
    except TimeoutError as error:
        if timeout is None:
            raise
        total, done = (sum(map(count, of)) for of in (wanted.values(), (part.runs for part in parts)))
        raise WaitTimeoutError(f"{total - done} of {total} jobs were not done after {timeout:g} s") from error
    finally:
        for task in tasks:
            task.cancel()
    return parts


async def _fetch_from(queues: Queues, life: Life, wanted: Runs, parts: list[Part], errors: Errors) -> None:
    name = new_name()
    index, incarnation = life
    while wanted:
        answer = await queues.call(
            index,
            "wait_settled",
            name,
            incarnation,
            to_pairs(wanted),
            POLL_SECONDS,
            deadline=POLL_SECONDS + DEADLINE_SECONDS,
            patience=LOST_SECONDS,
        )
        new = [Part(pack_id(index, incarnation, 0), *ended) for ended in answer]
        parts += new
        if errors == "raise" and any(part.state != RETURNED for part in new):
            raise _FailedEarly
        wanted = subtract(wanted, merge((first, last) for part in new for first, last in part.runs))


def decoded(jobs: Sequence[Job], parts: Iterable[Part], errors: Errors) -> list[Any]:
    """Return the jobs' results in their order; with ``"return"``, an exception stands for one that has none.

    Raises:
        Exception: with ``"raise"``, the first of those that are known.
    """
    values: dict[int, Any] = {}
    failed: dict[int, Ended] = {}
    for part in parts:
        if part.state == RETURNED:
            values.update(zip(part.ids, decode_results(part.blob), strict=True))
        else:
            failed.update((i, Ended(part.state, part.blob, n, part.reason)) for n, i in enumerate(part.ids))
    broken = Broken in set(map(type, values.values()))
    ids = list(jobs.ids()) if isinstance(jobs, Jobs) else [job.id for job in jobs]
    if not broken and not failed:
        return [values[job_id] for job_id in ids]
    results: list[Any] = []
    for position, job_id in enumerate(ids):
        error = None
        if job_id in failed:
            error = error_of(jobs[position], failed[job_id])
        elif isinstance(value := values.get(job_id), Broken):
            error = value.error
        if error is not None and errors == "raise":
            raise error
        results.append(values.get(job_id) if error is None else error)
    return results
