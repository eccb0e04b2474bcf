"""A job from nothing but its id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskqueue.arguments import check_count
from daskqueue.jobs.job import Job
from daskqueue.message import MAX_QUEUES, pack_id, unpack_id

if TYPE_CHECKING:
    from daskqueue.pool import QueuePool

_MOST = pack_id(MAX_QUEUES, 0, 0)


async def reattach(pool: QueuePool, job_id: int) -> Job:
    """Return the handle of a message that was put earlier, by any process.

    Raises:
        TypeError, ValueError: no id of this pool.
        MessagesLostError: it was in a transient queue that is gone.
        QueueLostError: its queue does not answer.
    """
    check_count("job_id", job_id, least=0, most=_MOST)
    queue, incarnation, sequence = unpack_id(job_id)
    known = pool.queues.spec.n_known
    if queue >= known:
        raise ValueError(
            f"{job_id} would be a message of queue {queue}, and pool {pool.name!r} has {known}: "
            "it is the id of a job of another pool"
        )
    if not await pool.queues.call(queue, "states", incarnation, [(sequence, sequence + 1)]):
        raise ValueError(
            f"{job_id} would be message {sequence} of queue {queue}, and so many were never put into "
            f"pool {pool.name!r}: it is the id of a job of another pool"
        )
    return Job(pool, job_id)
