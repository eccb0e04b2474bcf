"""What a submit says of keys that were taken."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, cast

from daskqueue.errors import DuplicateKeyError
from daskqueue.jobs.handles import Jobs

if TYPE_CHECKING:
    from daskqueue.actors.producer import Placed
    from daskqueue.handle import PoolHandle
    from daskqueue.pool import QueuePool
    from daskqueue.submitting.options import SubmitOptions
    from daskqueue.submitting.sending import Part


def checked(pool: PoolHandle, parts: Sequence[Part]) -> Jobs:
    """Return the jobs of what was put, or of what has the key already.

    Raises:
        DuplicateKeyError: a key was taken, and the pool's options say that this is to be raised.
    """
    jobs = Jobs(cast("QueuePool", pool), parts)
    if pool.submit_options.key is not None and pool.submit_options.on_conflict == "raise":
        taken = [placed for placed, _ in parts if placed.existing]
        if taken:
            raise _conflict(pool, taken[0], len(taken), len(parts))
    return jobs


def checked_later(pool: PoolHandle, future: Future[Placed]) -> Future[Placed]:
    """Return a future that ends like *future*, or with DuplicateKeyError if the key was taken."""
    checked: Future[Placed] = Future()

    def check(done: Future[Placed]) -> None:
        if (error := done.exception()) is not None:
            checked.set_exception(error)
        elif done.result().existing:
            checked.set_exception(_conflict(pool, done.result(), 1, 1))
        else:
            checked.set_result(done.result())

    future.add_done_callback(check)
    return checked


def refuse_one_key(options: SubmitOptions) -> None:
    """Make sure that many messages do not all have the same key.

    Raises:
        ValueError: they would.
    """
    if isinstance(options.key, str):
        raise ValueError(  # noqa: TRY004  text is a key, only not for many
            f"key={options.key!r} would be the key of every one of these messages, and only the first be put: "
            "give a function of their arguments, such as key=lambda path: path, or use submit"
        )


def _conflict(pool: PoolHandle, placed: Placed, taken: int, count: int) -> DuplicateKeyError:
    job = Jobs(cast("QueuePool", pool), [(placed, 1)])[0]
    what = (
        "the key is taken" if count == 1 else f"{taken} of {count} keys are taken; the others were submitted"
    )
    return DuplicateKeyError(f"{what}: {job!r} has it, see the error's job", job)
