"""A map over more calls than there is room for: it submits while its jobs are consumed."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from daskqueue.arguments import check_count
from daskqueue.jobs.endings import Endings
from daskqueue.jobs.handles import Jobs
from daskqueue.jobs.job import Job

if TYPE_CHECKING:
    from daskqueue.pool import QueuePool

# So many times while a window passes, messages are submitted: rarely enough to share record batches.
_STEPS = 4


class Windowed(Iterable[Job]):
    """The jobs of calls that are submitted as these are consumed, a window's worth at a time.

    Iterate over it, or let ``as_completed`` do it. The calls are taken once, whoever iterates.

    Args:
        pool: where to submit.
        calls: what ``QueuePool.batch_submit`` takes; may have no end.
        window: the most jobs that are submitted and not settled; for ``as_completed``, not yet given either.

    Attributes:
        exhausted: whether all calls have been submitted.

    Raises:
        TypeError, ValueError: *window* is not a whole number from 1 on.
    """

    def __init__(self, pool: QueuePool, calls: Iterable[Any], window: int) -> None:
        check_count("window", window)
        self.exhausted = False
        self._pool = pool
        self._calls = iter(calls)
        self._window = window

    def __repr__(self) -> str:
        state = "all submitted" if self.exhausted else "submits as it is consumed"
        return f"<lazy map into {self._pool.name!r}: {state}, {self._window} jobs at a time>"

    def room_for(self, outstanding: int) -> int:
        """Return how many more to submit now, when so many are outstanding; 0 while it is not worth a call."""
        room = self._window - outstanding
        return 0 if self.exhausted or room * _STEPS < self._window else room

    def submit(self, count: int) -> Jobs:
        """Submit the next *count* calls, or those that there are.

        Raises:
            RuntimeError: this is the event loop of an asynchronous client.
        """
        if self._pool.client.asynchronous:
            raise RuntimeError("this is the event loop, which must not wait: use `async for`")
        return self._pool.batch_submit(*self._next(count))

    async def submit_async(self, count: int) -> Jobs:
        """Do the same on an event loop."""
        jobs: Any = self._pool.batch_submit(*self._next(count))
        return jobs if isinstance(jobs, Jobs) else await jobs

    def __iter__(self) -> Iterator[Job]:
        endings = Endings()
        try:
            while not self.exhausted:
                endings.take_now()
                if room := self.room_for(endings.left):
                    jobs = self.submit(room)
                    endings.add(jobs)
                    yield from jobs
                else:
                    endings.take()
        finally:
            endings.close()

    async def __aiter__(self) -> AsyncIterator[Job]:
        endings = Endings()
        try:
            while not self.exhausted:
                endings.take_now()
                if room := self.room_for(endings.left):
                    jobs = await self.submit_async(room)
                    endings.add(jobs)
                    for job in jobs:
                        yield job
                else:
                    await endings.take_async()
        finally:
            endings.close()

    def _next(self, count: int) -> tuple[list[Any], int]:
        """Return calls, and in how many at a time they go to each queue."""
        calls = list(itertools.islice(self._calls, count))
        self.exhausted = len(calls) < count
        return calls, max(-(-len(calls) // self._pool.n_queues), 1)
