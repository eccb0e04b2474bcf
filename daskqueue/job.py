"""A submitted message as its user sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from daskqueue.arguments import Duration, timeout_of
from daskqueue.batch import Broken
from daskqueue.errors import JobCancelledError, JobFailedError, ResultExpiredError, WaitTimeoutError
from daskqueue.message import MessageId, pack_id, unpack_id
from daskqueue.results import Failure, decode_result

if TYPE_CHECKING:
    from daskqueue.actors.producer import Placed
    from daskqueue.actors.waiting import Ended
    from daskqueue.pool import QueuePool


class Job:
    """The handle of one message: a name that any process can use, not the message itself.

    Dropping it cancels nothing. ``hash(job)`` is the key of its result in ``ConsumerPool.results()``.
    """

    __slots__ = ("_ended", "_pool", "id")

    def __init__(self, pool: QueuePool, job_id: int) -> None:
        self.id = job_id
        self._pool = pool
        self._ended: Ended | None = None

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id and other.pool_id == self.pool_id

    def __repr__(self) -> str:
        where = unpack_id(self.id)
        return f"<Job {self.id}: message {where.sequence} of queue {where.queue}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Job, (self._pool, self.id)

    @property
    def pool_id(self) -> str:
        """The id of the pool that the message is in; a job's own id is unique there."""
        return self._pool.pool_id

    @property
    def place(self) -> MessageId:
        """The queue's number, its incarnation, and the message's sequence there."""
        return unpack_id(self.id)

    @property
    def status(self) -> str:
        """``pending``, ``processing``, ``finished``, ``error``, ``cancelled``, or ``lost`` (no longer kept)."""
        return self._pool.sync(self._status)

    def result(self, timeout: Duration | None = None) -> Any:
        """Wait for the task and return what it returned.

        Args:
            timeout: seconds (or text such as ``"10s"``) to wait at most; None for as long as it takes.

        Raises:
            WaitTimeoutError: it was not done in time.
            JobCancelledError: it was cancelled.
            ResultExpiredError: it is done, but its result is no longer kept.
            Exception: whatever the task raised, after its last retry.
        """
        return self._pool.sync(self._result, timeout_of(timeout))

    def exception(self, timeout: Duration | None = None) -> BaseException | None:
        """Wait for the task and return what it raised after its last retry, None if it returned.

        Raises:
            WaitTimeoutError: it was not done in time.
            JobCancelledError: it was cancelled.
        """
        return self._pool.sync(self._exception, timeout_of(timeout))

    def traceback(self, timeout: Duration | None = None) -> str | None:
        """Wait for the task and return the traceback of what it raised as text, None if it returned."""
        return self._pool.sync(self._traceback, timeout_of(timeout))

    def done(self) -> bool:
        """Return whether the task has come to an end, one way or another."""
        return self._pool.sync(self._is_done)

    def cancel(self) -> bool:
        """Drop the message if it still waits; return whether it did."""
        return self._pool.sync(self._cancel)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result(None).__await__()

    # On the client's event loop

    async def _wait(self, timeout: float | None) -> Ended:
        if self._ended is None:
            future = self._pool.connection.waiting.wait(self.id)
            try:
                async with asyncio.timeout(timeout):
                    self._ended = await future
            except TimeoutError:
                if not isinstance(timeout, (int, float)):
                    raise
                raise WaitTimeoutError(f"{self!r} was not done after {timeout:g} s") from None
        return self._ended

    async def _result(self, timeout: float | None) -> Any:
        ended = await self._wait(timeout)
        if ended.state == "returned":
            value = decode_result(ended.blob, ended.position)
            if isinstance(value, Broken):
                raise value.error
            return value
        raise error_of(self, ended)

    async def _exception(self, timeout: float | None) -> BaseException | None:
        ended = await self._wait(timeout)
        if ended.state == "returned":
            return None
        error = error_of(self, ended)
        if ended.state == "failed":
            return error
        raise error

    async def _traceback(self, timeout: float | None) -> str | None:
        ended = await self._wait(timeout)
        failure = (
            decode_result(ended.blob, ended.position) if ended.state == "failed" and ended.blob else None
        )
        return failure.traceback if isinstance(failure, Failure) else None

    async def _status(self) -> str:
        if await self._is_done():
            assert self._ended is not None
            return {"returned": "finished", "failed": "error"}.get(self._ended.state, self._ended.state)
        place = self.place
        ((_, _, state),) = await self._pool.queues.call(
            place.queue, "states", place.incarnation, [(place.sequence, place.sequence + 1)]
        )
        return "processing" if state == "leased" else "pending"

    async def _is_done(self) -> bool:
        if self._ended is None:
            self._ended = await self._pool.connection.waiting.look(self.id)
        return self._ended is not None

    async def _cancel(self) -> bool:
        place = self.place
        run = (place.sequence, place.sequence + 1)
        return bool(await self._pool.queues.call(place.queue, "cancel", place.incarnation, [run]))


def error_of(job: Job, ended: Ended) -> Exception:
    """Return the exception of a job that ended without a result."""
    if ended.state == "cancelled":
        return JobCancelledError(f"{job!r} was cancelled")
    if ended.state == "failed":
        failure = decode_result(ended.blob, ended.position) if ended.blob else None
        if isinstance(failure, Failure):
            return failure.exception()
        return JobFailedError(f"{job!r} ended as a dead letter: {ended.reason}")
    return ResultExpiredError(f"{job!r} is done, but its result is no longer kept")


class Jobs(Sequence[Job]):
    """The handles of many messages, in the order they were submitted; a handle is made when it is looked at.

    Attributes:
        parts: where they were put: the place of the first message of each part, and how many follow it.
    """

    def __init__(self, pool: QueuePool, parts: Sequence[tuple[Placed, int]]) -> None:
        self._pool = pool
        self.parts = list(parts)
        self._count = sum(count for _, count in parts)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<{self._count} jobs of {self._pool.name!r}>"

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | Sequence[Job]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if index < 0:
            index += self._count
        for placed, count in self.parts:
            if 0 <= index < count:
                return self._job(placed, index)
            index -= count
        raise IndexError("no such job")

    def __iter__(self) -> Iterator[Job]:
        for placed, count in self.parts:
            for index in range(count):
                yield self._job(placed, index)

    @property
    def pool_id(self) -> str:
        """The id of the pool that the messages are in."""
        return self._pool.pool_id

    def ids(self) -> Iterator[int]:
        """Yield the jobs' ids without making handles."""
        for placed, count in self.parts:
            first = pack_id(placed.queue, placed.incarnation, placed.first)
            yield from range(first, first + count)

    def _job(self, placed: Placed, index: int) -> Job:
        return Job(self._pool, pack_id(placed.queue, placed.incarnation, placed.first + index))
