"""What the end of a message means to its user: a word, a value or an exception."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskqueue.actors.ended import FAILED, RETURNED
from daskqueue.batch import Broken
from daskqueue.errors import JobCancelledError, JobExpiredError, JobFailedError, ResultExpiredError
from daskqueue.results import Failure

if TYPE_CHECKING:
    from daskqueue.actors.ended import Ended

UNKEPT = "unkept"

# How messages end at a queue, in Dask's words.
_STATUS = {
    RETURNED: "finished",
    UNKEPT: "finished",
    FAILED: "error",
    "cancelled": "cancelled",
    "expired": "cancelled",
    "displaced": "cancelled",
}


def status_of(ended: Ended) -> str:
    """Return the status of a job that has ended."""
    return _STATUS.get(ended.state, "lost")


def value_of(job: object, ended: Ended) -> Any:
    """Return what the task of a job returned.

    Raises:
        Exception: whatever it raised, or why there is no result.
    """
    if ended.state == RETURNED:
        value = ended.value()
        if isinstance(value, Broken):
            raise value.error
        return value
    raise error_of(job, ended)


def error_of(job: object, ended: Ended) -> Exception:
    """Return the exception of a job that ended without a result; *job* is only named in it."""
    if ended.state == FAILED:
        failure = failure_of(ended)
        if failure is not None:
            return failure.exception()
        return JobFailedError(f"{job!r} ended as a dead letter: {ended.reason}")
    if ended.state == "cancelled":
        return JobCancelledError(f"{job!r} was cancelled")
    if ended.state == "expired":
        return JobExpiredError(f"{job!r} was not run: the time set by expires= was over before its turn came")
    if ended.state == "displaced":
        return JobCancelledError(
            f'{job!r} was dropped to make room for newer ones: its queue was full, and overflow is "drop_oldest"'
        )
    return ResultExpiredError(f"{job!r} is done, but {ended.reason or 'its result is no longer kept'}")


def failure_of(ended: Ended) -> Failure | None:
    """Return what a task raised, None if it did not, or if nothing of it is kept."""
    value = ended.value() if ended.state == FAILED else None
    return value if isinstance(value, Failure) else None
