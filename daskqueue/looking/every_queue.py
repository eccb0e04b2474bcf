"""What is asked or told of all queues of a pool at once. Everything runs on the client's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from daskqueue.actors.settlement import runs_of
from daskqueue.errors import DaskQueueError, QueueLostError
from daskqueue.message import unpack_id
from daskqueue.status import pending_of

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues

_STATUS_SECONDS = 5.0


class Attended(NamedTuple):
    """Whether a queue has messages that wait, how many consume from it, and whether it is paused."""

    waiting: bool
    consumers: int
    paused: bool


async def statuses(queues: Queues, pool_id: str) -> list[dict[str, Any]]:
    """Return what each queue says of itself; one that does not answer is marked ``lost``.

    Args:
        queues: the queues.
        pool_id: whose finished messages are counted.
    """
    return list(
        await asyncio.gather(*(_status(queues, index, pool_id) for index in range(queues.spec.n_queues)))
    )


async def attended(queues: Queues) -> list[Attended]:
    """Return who takes care of each queue that answers."""
    found = await asyncio.gather(*(_attended(queues, index) for index in range(queues.spec.n_queues)))
    return [queue for queue in found if queue is not None]


async def sizes(queues: Queues) -> dict[str, int]:
    """Return how many messages each queue has that are not settled.

    Raises:
        QueueLostError: a queue does not answer.
    """
    found = await statuses(queues, "")
    for status in found:
        if "lost" in status:
            raise QueueLostError(f"{status['name']}: {status['lost']}")
    return {status["name"]: pending_of(status) for status in found}


async def cancel(queues: Queues, ids: Iterable[int]) -> int:
    """Drop those messages that still wait; return how many were."""
    wanted: dict[tuple[int, int], list[int]] = {}
    for job_id in ids:
        place = unpack_id(job_id)
        wanted.setdefault((place.queue, place.incarnation), []).append(place.sequence)
    dropped = await asyncio.gather(
        *(
            queues.call(index, "cancel", incarnation, runs_of(sorted(sequences)))
            for (index, incarnation), sequences in wanted.items()
        )
    )
    return sum(last - first for runs in dropped for first, last in runs)


async def purge(queues: Queues) -> int:
    """Drop all messages that wait; return how many."""
    dropped = await asyncio.gather(*(queues.call(index, "purge") for index in range(queues.spec.n_queues)))
    return sum(last - first for runs in dropped for first, last in runs)


async def _status(queues: Queues, index: int, pool_id: str) -> dict[str, Any]:
    try:
        status: dict[str, Any] = await queues.call(
            index, "status", pool_id, deadline=_STATUS_SECONDS, patience=_STATUS_SECONDS
        )
    except DaskQueueError as error:
        return {"name": f"queue {index}", "lost": str(error), "finished": 0}
    return status


async def _attended(queues: Queues, index: int) -> Attended | None:
    try:
        stats: dict[str, Any] = await queues.call(
            index, "look.stats", deadline=_STATUS_SECONDS, patience=_STATUS_SECONDS
        )
    except DaskQueueError:
        return None
    messages = stats["messages"]
    return Attended(bool(messages["ready"] + messages["delayed"]), stats["consumers"], stats["paused"])
