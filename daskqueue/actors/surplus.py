"""Queues that a pool's folder has beyond those that were asked for: emptied first, then left alone."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues

logger = logging.getLogger(__name__)

STATUS_SECONDS = 30.0


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
    surplus = range(asked, known)
    in_use = await asyncio.gather(*map(queues.adopt, surplus))
    found: list[dict[str, Any]] = await asyncio.gather(*(queues.call(index, "status") for index in surplus))
    kept = [
        index for index, used, status in zip(surplus, in_use, found, strict=True) if used or _left_in(status)
    ]
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
            ", ".join(_described(index, found[index - asked]) for index in kept),
        )
    return last + 1


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
