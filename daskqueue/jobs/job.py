"""A submitted message as its user sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, cast

from daskqueue.actors.cluster import loop_of
from daskqueue.actors.ended import FAILED, RETURNED
from daskqueue.arguments import Duration, timeout_of
from daskqueue.errors import NotDeadError, WaitTimeoutError
from daskqueue.jobs.placement import Placement
from daskqueue.jobs.verdict import UNKEPT, error_of, failure_of, status_of, value_of
from daskqueue.running import Progress

if TYPE_CHECKING:
    from concurrent.futures import Future

    from typing_extensions import TypeVar

    from daskqueue.actors.ended import Ended
    from daskqueue.actors.producer import Placed
    from daskqueue.pool import QueuePool

    R_co = TypeVar("R_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)

logger = logging.getLogger(__name__)

# Why a job that is no dead letter does not run again, by its status.
_NOT_DEAD = {
    "pending": "it has not run yet, or waits for its next attempt",
    "processing": "it runs right now",
    "finished": "its task has returned; submit the call again if it should run once more",
    "cancelled": "it was cancelled; submit the call again",
    "error": "its dead letter was purged; submit the call again",
    "lost": "nothing is kept of it; submit the call again",
}


class Job(Placement, Generic[R_co]):
    """The handle of one message: a name that any process can use, not the message itself.

    Dropping it cancels nothing. ``hash(job)`` is the key of its result in ``ConsumerPool.results()``.
    """

    __slots__ = ()

    @classmethod
    def later(cls, pool: QueuePool, future: Future[Placed], offset: int) -> Job[R_co]:
        """Return the job of a message whose record batch is still on its way.

        Args:
            pool: the pool.
            future: where the batch will have been put.
            offset: the message's place in it.
        """
        return cls(pool, future, offset)

    def __reduce__(self) -> tuple[Any, ...]:
        return Job, (self._pool, self.id)

    def submitted(self, timeout: Duration | None = None) -> Job[R_co]:
        """Return this job once its message is as durable as its pool.

        ``submit`` has waited for that already, unless it may linger.

        Raises:
            WaitTimeoutError: it was not in time.
            Exception: why it could not be put.
        """
        return self._pool.sync(self._submitted, timeout_of(timeout))

    @property
    def status(self) -> str:
        """``pending``, ``processing``, ``finished``, ``error``, ``cancelled``, or ``lost`` (no longer kept)."""
        return self._pool.sync(self._status)

    def result(self, timeout: Duration | None = None) -> R_co:
        """Wait for the task and return what it returned.

        Args:
            timeout: seconds (or text such as ``"10s"``) to wait at most; None for as long as it takes.

        Raises:
            WaitTimeoutError: it was not done in time.
            JobCancelledError: it was cancelled, it has expired (JobExpiredError), or it had to make room.
            ResultExpiredError: it is done, but its result is not or no longer kept.
            Exception: whatever the task raised, after its last retry.
        """
        seconds = timeout_of(timeout)
        if self._pool.client.asynchronous:
            return cast("R_co", self._result(seconds))
        # Unpickled here, not on the event loop: it may be much, and is the user's own code.
        return value_of(self, self._ended or self._pool.sync(self._wait, seconds))

    def exception(self, timeout: Duration | None = None) -> BaseException | None:
        """Wait for the task and return what it raised after its last retry, None if it returned.

        Raises:
            WaitTimeoutError: it was not done in time.
            JobCancelledError: it was cancelled, it has expired, or it had to make room.
            ResultExpiredError: nothing is kept of how it ended.
        """
        return self._pool.sync(self._exception, timeout_of(timeout))

    def traceback(self, timeout: Duration | None = None) -> str | None:
        """Wait for the task and return the traceback of what it raised as text, None if it returned.

        Raises:
            WaitTimeoutError: it was not done in time.
        """
        return self._pool.sync(self._traceback, timeout_of(timeout))

    def done(self) -> bool:
        """Return whether the task has come to an end, one way or another."""
        return self._pool.sync(self._is_done)

    def cancel(self) -> bool:
        """Drop the message if it still waits; ask its task to stop if it runs.

        Returns:
            True if it waited, and will not run. False if it runs (``daskqueue.current().cancelled`` is true
            there from now on, and it will not be tried again), or has ended.
        """
        return self._pool.sync(self._cancel)

    def retry(self) -> None:
        """Let a dead letter run again, with all its attempts.

        Raises:
            NotDeadError: it is none; says what it is instead.
        """
        return self._pool.sync(self._retry)

    def progress(self) -> Progress | None:
        """Return what its task last told with ``daskqueue.current().progress(done, total, state=)``, if anything."""
        return self._pool.sync(self._progress)

    def add_done_callback(self, function: Callable[[Job[R_co]], Any]) -> None:
        """Call ``function(job)`` when the task has come to an end, at once if it has.

        It is called in a thread that all callbacks of the pool share; with an asynchronous client on the event
        loop. What it raises is logged.
        """
        if not callable(function):
            raise TypeError(f"add_done_callback wants a function to call, not {function!r:.80}")
        self._pool.queues.check_open()
        call = cast("Any", self._call_back)
        if self._pool.client.asynchronous:
            call(function, None)
        else:
            loop_of(self._pool.client).call_soon_threadsafe(call, function, self._pool.connection.waiting)

    def __await__(self) -> Generator[Any, None, R_co]:
        return self._result(None).__await__()

    # On the client's event loop

    async def _submitted(self, timeout: float | None) -> Job[R_co]:
        try:
            async with asyncio.timeout(timeout) as bound:
                await self.arrive()
        except TimeoutError:
            if not bound.expired():
                raise
            raise WaitTimeoutError(f"{self!r} was not put after {timeout:g} s") from None
        return self

    async def _wait(self, timeout: float | None) -> Ended:
        if self._ended is None:
            try:
                async with asyncio.timeout(timeout) as bound:
                    await self.arrive()
                    self._ended = await self._pool.connection.waiting.wait(self.id)
            except TimeoutError:
                if not bound.expired():
                    raise
                raise WaitTimeoutError(f"{self!r} was not done after {timeout:g} s") from None
        return self._ended

    async def _result(self, timeout: float | None) -> R_co:
        return cast("R_co", value_of(self, await self._wait(timeout)))

    async def _exception(self, timeout: float | None) -> BaseException | None:
        ended = await self._wait(timeout)
        if ended.state in {RETURNED, UNKEPT}:
            return None
        error = error_of(self, ended)
        if ended.state == FAILED:
            return error
        raise error

    async def _traceback(self, timeout: float | None) -> str | None:
        failure = failure_of(await self._wait(timeout))
        return failure.traceback if failure is not None else None

    async def _status(self) -> str:
        if await self._is_done():
            assert self._ended is not None
            return status_of(self._ended)
        states = await self._ask("states")
        return "processing" if states and states[0][2] == "leased" else "pending"

    async def _is_done(self) -> bool:
        if self.coming is not None:
            return False
        if self._ended is None:
            self._ended = await self._pool.connection.waiting.look(self.id)
        return self._ended is not None

    async def _cancel(self) -> bool:
        return bool(await self._ask("cancel"))

    async def _retry(self) -> None:
        if await self._ask("dead.redrive"):
            self._ended = None
            return
        self._ended = None  # what was known of it may be old
        status = await self._status()
        raise NotDeadError(f"{self!r} is no dead letter that could run again: {_NOT_DEAD[status]}")

    async def _progress(self) -> Progress | None:
        notes = await self._ask("notes")
        return Progress.decode(notes[0][1]) if notes else None

    async def _ask(self, verb: str) -> Any:
        """Call a verb of the queue that takes an incarnation and runs."""
        await self.arrive()
        queue, incarnation, sequence = self.place
        return await self._pool.queues.call(queue, verb, incarnation, [(sequence, sequence + 1)])

    def _call_back(self, function: Callable[[Job[R_co]], Any], waiting: Any) -> None:
        """Call *function* at the end; in the thread of *waiting* for it, or here with None."""

        def ended(waiter: asyncio.Future[Any]) -> None:
            if waiter.cancelled():
                return
            waiter.exception()  # the callback meets it when it looks at the job
            if waiting is None:
                self._run_callback(function)
            else:
                waiting.callbacks.submit(self._run_callback, function)

        asyncio.ensure_future(self._wait(None)).add_done_callback(ended)

    def _run_callback(self, function: Callable[[Job[R_co]], Any]) -> None:
        try:
            function(self)
        except Exception:
            logger.exception("The callback %r of %r failed", function, self)
