"""Waiting until nothing waits or runs in a pool."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from daskqueue.clock import Clock
from daskqueue.errors import ConsumersNotStartedError, WaitTimeoutError
from daskqueue.looking import every_queue
from daskqueue.status import pending_of

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues

logger = logging.getLogger(__name__)

# How often it is said what is waited for.
LOOK_SECONDS = 2.0
# For so long nobody has consumed when a drain without a time-out gives up; consumers may just be starting.
ALONE_SECONDS = 5.0


async def drain(queues: Queues, timeout: float | None) -> None:
    """Return when nothing waits or runs in any queue.

    Raises:
        WaitTimeoutError: not within *timeout* seconds.
        ConsumersNotStartedError: without a timeout, when nobody consumes, or the pool is paused.
        QueueLostError: a queue is gone.
    """
    clock = Clock()
    give_up_at = None if timeout is None else clock.now() + timeout
    attended_at = clock.now()
    while True:
        seconds = LOOK_SECONDS
        if give_up_at is not None:
            seconds = min(seconds, max(give_up_at - clock.now(), 0.0))
        calls = [queues.call(index, "wait_idle", seconds) for index in range(queues.spec.n_queues)]
        await asyncio.gather(*calls)
        found = await every_queue.statuses(queues, "")
        # A task may have put more into a queue that was already idle: all must be, at one look.
        if not any(pending_of(status) or "lost" in status for status in found):
            return
        left = describe_left(found)
        if give_up_at is not None and clock.now() >= give_up_at:
            raise WaitTimeoutError(f"pool {queues.spec.name!r} was not empty after {timeout:g} s: {left}")
        if timeout is None:
            attended = await every_queue.attended(queues)
            if any(queue.consumers for queue in attended):
                attended_at = clock.now()
            _refuse_for_ever(queues.spec.name, left, attended, clock.now() - attended_at)
        logger.info("Draining pool %r: %s", queues.spec.name, left)


def describe_left(statuses: list[dict[str, Any]]) -> str:
    """Return in words what is not settled in queues."""
    counts = {
        word: sum(status.get(state, 0) for status in statuses)
        for state, word in (("ready", "waiting"), ("delayed", "delayed"), ("leased", "running"))
    }
    parts = [f"{count} {word}" for word, count in counts.items() if count]
    parts += [f"{status['name']} does not answer" for status in statuses if "lost" in status]
    return ", ".join(parts) or "nothing"


def _refuse_for_ever(
    name: str, left: str, attended: list[every_queue.Attended], alone_seconds: float
) -> None:
    if alone_seconds > ALONE_SECONDS:
        raise ConsumersNotStartedError(
            f"nobody consumes from pool {name!r} ({left}), so drain() would wait for ever: start a ConsumerPool, "
            f"or `daskqueue serve consumer --name {name}`; or give drain() a timeout"
        )
    waiting = [queue for queue in attended if queue.waiting]
    if waiting and all(queue.paused for queue in waiting):
        raise ConsumersNotStartedError(
            f"pool {name!r} is paused ({left}), so drain() would wait for ever: call resume() first, "
            "or give drain() a timeout"
        )
