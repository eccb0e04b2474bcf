"""Queues that a pool's folder has beyond those that were asked for: emptied first, then left alone."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues

logger = logging.getLogger(__name__)

# An empty queue that is open for longer, although this client does not hold it, is in use by others.
LETTING_GO_SECONDS = 3.0
_LOOK_AGAIN_SECONDS = 0.1


async def open_surplus(queues: Queues, known: int) -> int:
    """Open the surplus queues; let go of those that are empty again, and say what the others hold.

    One that is in use already is kept, for whoever uses it may put more into it. Nothing is deleted: an empty
    queue may have results of old jobs, and goes on with its numbers if the pool grows again.

    Args:
        queues: the pool, of which the queues that were asked for are open.
        known: how many queues the folder has ever had.

    Returns:
        How many queues are open now: none of the others has any message.
    """
    asked = queues.spec.n_queues
    found = await asyncio.gather(*(_look_into(queues, index) for index in range(asked, known)))
    kept = [index for index, (keep, _) in enumerate(found, asked) if keep]
    last = max(kept, default=asked - 1)
    for index in range(last + 1, known):
        queues.let_go(index)
    if kept:
        logger.info(
            "Pool %r has %d queues and was opened with %d: the surplus gets no new messages, and is consumed "
            "until it is empty (%s)",
            queues.spec.name,
            last + 1,
            asked,
            ", ".join(_described(index, found[index - asked][1]) for index in kept),
        )
    return last + 1


async def _look_into(queues: Queues, index: int) -> tuple[bool, dict[str, Any]]:
    """Open a surplus queue; return whether it is to be kept, and what it says of itself."""
    in_use = await queues.adopt(index)
    status: dict[str, Any] = await queues.call(index, "status")
    if in_use and not _left_in(status):
        # Its last holder may have let go of it a moment ago, and Dask takes its time.
        queues.let_go(index)
        in_use = not await _closes(queues, index)
        await queues.adopt(index)
        status = await queues.call(index, "status")
    return in_use or bool(_left_in(status)), status


async def _closes(queues: Queues, index: int) -> bool:
    """Return whether a queue ends that this client does not hold."""
    give_up_at = queues.clock.now() + LETTING_GO_SECONDS
    while await queues.is_open(index):
        if queues.clock.now() > give_up_at:
            return False
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return True


def _left_in(status: dict[str, Any]) -> int:
    return sum(status[state] for state in ("ready", "delayed", "leased", "dead"))


def _described(index: int, status: dict[str, Any]) -> str:
    waiting = _left_in(status) - status["dead"]
    parts = [
        f"{count} {what}"
        for what, count in (("messages", waiting), ("dead letters", status["dead"]))
        if count
    ]
    return f"queue {index}: {' and '.join(parts) or 'in use by others'}"
