"""What a task can know and say of itself while it runs, and what it may raise to be run later or never."""

from __future__ import annotations

import contextvars
import pickle
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from daskqueue.arguments import Duration, seconds_of
from daskqueue.chunk import pickle_value
from daskqueue.clock import Clock
from daskqueue.errors import JobCancelledError, NotInTaskError

# A progress note is a fact in the log of the queue: it tells where a task is, and does not carry its data.
PROGRESS_BYTES = 64 * 1024


class Snooze(Exception):  # noqa: N818  no error: a task raises it to be run later
    """Raised from a task to be run again after *delay*, as if this time had never been: no attempt is burned.

    Args:
        delay: seconds, a timedelta, or text such as ``"90s"``.

    Raises:
        ValueError: no duration.
    """

    def __init__(self, delay: Duration) -> None:
        self.seconds = seconds_of("delay", delay)
        super().__init__(delay)

    def __str__(self) -> str:
        return f"run again in {self.seconds:g} s"


class Reject(Exception):  # noqa: N818  no error of the task: the message is what is wrong
    """Raised from a task that will never be able to do this: straight to the dead letters, whatever the retries.

    Args:
        reason: what people will read there.
    """

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason)


class Interrupted(BaseException):
    """Raised in the middle of a task whose ``timeout`` is over; what it ends with is a ``TaskTimeoutError``.

    It is no ``Exception``, so that a task that catches those does not go on by mistake: clean up in ``finally``.
    """

    def __str__(self) -> str:
        return "the time of this attempt is over"


class Progress(NamedTuple):
    """How far a task has come.

    Attributes:
        done: how much is done.
        total: how much there is, if that is known.
        state: whatever the task wants to find again at its next attempt.
    """

    done: float
    total: float | None = None
    state: Any = None

    def encode(self) -> bytes:
        """Return it as bytes.

        Raises:
            ValueError: it takes more than :data:`PROGRESS_BYTES`.
            Exception: its state cannot be pickled.
        """
        blob = pickle_value(tuple(self), by_value=False)
        if len(blob) > PROGRESS_BYTES:
            raise ValueError(
                f"the progress takes {len(blob):,} bytes, and {PROGRESS_BYTES:,} is the most: keep the data "
                "elsewhere and let state say where"
            )
        return blob

    @classmethod
    def decode(cls, blob: bytes) -> Progress:
        """Return what :meth:`encode` made into bytes."""
        return cls(*pickle.loads(blob))


class Assignment(NamedTuple):
    """What is known of a message when it begins to run; plain data.

    Attributes:
        id: its number.
        queue: the name of its queue.
        attempt: which one this is, from 1.
        deliveries: how often it was handed to a consumer, this time included.
        group: its group, or an empty text.
        key: its key, or an empty text.
        deadline: when this attempt's ``timeout`` is over, in epoch seconds.
        progress: what the last attempt that said something said.
    """

    id: int
    queue: str
    attempt: int = 1
    deliveries: int = 1
    group: str = ""
    key: str = ""
    deadline: float | None = None
    progress: bytes | None = None


class Link(Protocol):
    """How a task speaks with its consumer, from any thread."""

    def cancelled(self) -> bool:
        """Whether the message's cancel was asked for."""
        ...

    def note(self, blob: bytes) -> None:
        """Tell the queue how far the task has come."""
        ...

    @property
    def clock(self) -> Clock:
        """What the consumer takes for the time."""
        ...

    @property
    def resources(self) -> Mapping[str, Any]:
        """What the consumer has opened for its tasks."""
        ...


class Current:
    """The message that runs here now: what :func:`current` returns.

    It may be handed to other threads that the task starts, and stays the same message's.
    """

    __slots__ = ("_assignment", "_link", "_said")

    def __init__(self, assignment: Assignment, link: Link) -> None:
        self._assignment = assignment
        self._link = link
        self._said = assignment.progress

    @property
    def id(self) -> int:
        """The job's number: ``pool.job(id)`` is its handle, and it is its key in ``results()``."""
        return self._assignment.id

    @property
    def queue(self) -> str:
        """The name of its queue, such as ``default-0``."""
        return self._assignment.queue

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._assignment.attempt

    @property
    def deliveries(self) -> int:
        """How often it was handed to a consumer, this time included; more than attempts if some were lost."""
        return self._assignment.deliveries

    @property
    def group(self) -> str:
        """Its group, or an empty text."""
        return self._assignment.group

    @property
    def key(self) -> str:
        """Its key, or an empty text."""
        return self._assignment.key

    @property
    def deadline(self) -> float | None:
        """When this attempt's ``timeout`` is over, in epoch seconds; None without."""
        return self._assignment.deadline

    @property
    def remaining(self) -> float | None:
        """Seconds to the deadline, 0 after it; None without."""
        deadline = self._assignment.deadline
        return None if deadline is None else max(deadline - self._link.clock.now(), 0.0)

    @property
    def resources(self) -> Mapping[str, Any]:
        """What ``ConsumerPool(resources=...)`` opened in this process, by name."""
        return self._link.resources

    @property
    def cancelled(self) -> bool:
        """Whether the job's ``cancel()`` was called; a task that raises after that is cancelled, not failed."""
        return self._link.cancelled()

    def raise_if_cancelled(self) -> None:
        """End the task if its cancel was asked for.

        Raises:
            JobCancelledError: it was.
        """
        if self.cancelled:
            raise JobCancelledError(f"job {self.id} was cancelled while it ran")

    @property
    def last_progress(self) -> Progress | None:
        """What was said last of this message's progress, in this attempt or one before; None if nothing was."""
        return None if self._said is None else Progress.decode(self._said)

    @property
    def state(self) -> Any:
        """The state that was given to :meth:`progress` last, in this attempt or one before; None if none was."""
        said = self.last_progress
        return None if said is None else said.state

    def progress(self, done: float, total: float | None = None, state: Any = None) -> None:
        """Say how far the task has come: ``job.progress()`` shows it, and the next attempt finds it.

        Quick notes of one message are put together; the last one is at the queue before the task's end is.
        Each prolongs the lease.

        Args:
            done: how much is done.
            total: how much there is, if that is known.
            state: anything small that can be pickled.

        Raises:
            ValueError: it takes more than :data:`PROGRESS_BYTES`.
        """
        self._said = Progress(done, total, state).encode()
        self._link.note(self._said)

    def __repr__(self) -> str:
        return f"<Current job {self.id} of {self.queue}, attempt {self.attempt}>"


# Finds out what runs in this thread or coroutine; whoever runs tasks sets it once for many of them.
FINDER: contextvars.ContextVar[Callable[[], Current]] = contextvars.ContextVar("daskqueue_current")


def current() -> Current:
    """Return the message that runs here.

    Raises:
        NotInTaskError: nothing of a queue runs in this thread.
    """
    find = FINDER.get(None)
    if find is None:
        raise NotInTaskError(
            "current() was called outside of a task. It works in a function that a consumer runs, and in the "
            "coroutines that it awaits; give what it returns to threads that you start yourself"
        )
    return find()
