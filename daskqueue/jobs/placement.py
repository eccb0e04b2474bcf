"""Which message a job is: its id, known at once, or when its record batch has been put."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from daskqueue.jobs.verdict import status_of
from daskqueue.message import MessageId, pack_id, unpack_id

if TYPE_CHECKING:
    from concurrent.futures import Future

    from daskqueue.actors.ended import Ended
    from daskqueue.actors.producer import Placed
    from daskqueue.pool import QueuePool


class Placement:
    """A message of a pool, by its id; what a job is before it is asked anything.

    Args:
        pool: the pool.
        job_id: the message's number; while that is not known, where its batch will have been put.
        offset: its place in that batch.
    """

    # Many are made while their messages linger: one object more for each would be felt.
    __slots__ = ("_ended", "_key", "_offset", "_pool")

    def __init__(self, pool: QueuePool, job_id: int | Future[Placed], offset: int = 0) -> None:
        self._key = job_id
        self._offset = offset
        self._pool = pool
        self._ended: Ended | None = None

    @property
    def id(self) -> int:
        """The number that names the message in its pool; waits for it while the message is on its way.

        Raises:
            RuntimeError: it is on its way, and this is the event loop, which must not wait.
            Exception: why it could not be put.
        """
        key = self._key
        return key if isinstance(key, int) else self._placed(key)

    def _placed(self, batch: Future[Placed]) -> int:
        if not batch.done() and self._pool.client.asynchronous:
            raise RuntimeError(f"{self!r} has no id yet: `await job.submitted()` first")
        placed = batch.result()
        self._key = pack_id(placed.queue, placed.incarnation, placed.first + self._offset)
        return self._key

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Placement) and other.pool_id == self.pool_id and other.id == self.id

    def __repr__(self) -> str:
        if self.coming is not None:
            return f"<Job on its way to {self._pool.name!r}>"
        try:
            where = self.place
        except Exception as error:  # noqa: BLE001  a repr is for debugging
            return f"<Job not put into {self._pool.name!r}: {error}>"
        state = f" {status_of(self._ended)}," if self._ended is not None else ""
        return (
            f"<Job {self.id}:{state} message {where.sequence} of queue {where.queue} of {self._pool.name!r}>"
        )

    @property
    def pool(self) -> QueuePool:
        """The pool that the message is in."""
        return self._pool

    @property
    def pool_id(self) -> str:
        """The id of that pool; a job's own id is unique there."""
        return self._pool.pool_id

    @property
    def place(self) -> MessageId:
        """The queue's number, its incarnation, and the message's sequence there."""
        return unpack_id(self.id)

    @property
    def batch(self) -> Future[Placed] | None:
        """Where its record batch was put, or will have been; None where the id was known from the beginning."""
        key = self._key
        return None if isinstance(key, int) else key

    @property
    def coming(self) -> Future[Placed] | None:
        """Where its batch will have been put, while it lingers or is being sent; None once that is known."""
        batch = self.batch
        return None if batch is None or batch.done() else batch

    @property
    def put_error(self) -> BaseException | None:
        """Why it could not be put, None if it was, or is on its way."""
        batch = self.batch
        return batch.exception() if batch is not None and batch.done() else None

    @property
    def known(self) -> Ended | None:
        """How it ended, if this handle has heard of that."""
        return self._ended

    def know(self, ended: Ended) -> None:
        """Note how the job ended, so that nobody need be asked."""
        self._ended = ended

    async def arrive(self) -> None:
        """Return when the message is as durable as its pool; runs on the client's event loop.

        Raises:
            Exception: why it could not be put.
        """
        if (future := self.coming) is not None:
            # Others wait for the same batch: it must not be cancelled with one of them.
            await asyncio.shield(asyncio.wrap_future(future))
        self.place  # noqa: B018  raises why it could not be put
