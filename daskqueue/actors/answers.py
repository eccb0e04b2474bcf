"""Clients that wait for jobs: one parked call each, answered when some of its messages have ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from daskqueue.actors.parking import Bell
from daskqueue.actors.settlement import to_pairs
from daskqueue.clock import Clock, Stopwatch
from daskqueue.core.runs import intersect, merge, subtract
from daskqueue.core.tally import State
from daskqueue.engine.engine import Engine
from daskqueue.message import Run

# How much of their results is sent to those who wait, at once.
ANSWER_BYTES = 4 << 20
# Who waits for many jobs is told of further ones at most this often.
PAUSE_SECONDS = 0.005
# How long the queue looks for results before it sends what it has found.
ANSWER_SECONDS = 0.1
# Results are read together: about so many bytes of them, with gaps of so many that nobody asked for.
GROUP_BYTES = 1 << 20
GAP_BYTES = 16 << 10
# How large a result is thought to be before one has been seen, and at least.
FIRST_EACH = 64 << 10
LEAST_EACH = 256
# From so many runs on, the state of all that lies between them is looked at.
FEW = 8

Answer = list[tuple[str, list[tuple[int, int]], bytes, str]]


class Answers:
    """Answers who waits for messages to end.

    Args:
        engine: the queue.
        settled: rings when messages ended.
        running: returns the messages that were acked before they ran and have not ended.
        clock: reads the time.
    """

    def __init__(
        self, engine: Engine, settled: Bell, running: Callable[[], tuple[Run, ...]], clock: Clock
    ) -> None:
        self._engine = engine
        self._settled = settled
        self._running = running
        self._clock = clock
        self._calls: dict[str, Bell] = {}

    async def wait(self, waiter: str, wanted: Sequence[Run], seconds: float) -> Answer:
        """Return how those of *wanted* ended that have: ``(state, runs, blob, reason)`` for each part.

        Waits up to *seconds* for the first of them. A new call of the same *waiter* ends the one before it.
        """
        if waiter in self._calls:
            self._calls[waiter].ring()
        self._calls[waiter] = superseded = Bell()
        try:
            return await self._describe(await self._first_ended(wanted, superseded, seconds))
        finally:
            if self._calls.get(waiter) is superseded:
                del self._calls[waiter]

    def close(self) -> None:
        """Send away all who wait."""
        for bell in self._calls.values():
            bell.ring()

    async def _first_ended(self, wanted: Sequence[Run], superseded: Bell, seconds: float) -> list[Run]:
        give_up_at = self._clock.now() + seconds
        stop = superseded.next()
        while not (ended := self._ended(wanted)) and not stop.done():
            left = give_up_at - self._clock.now()
            if left <= 0:
                break
            await asyncio.wait(
                [self._settled.next(), stop], timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            if len(wanted) > 1 or wanted[0].count > 1:
                await asyncio.sleep(PAUSE_SECONDS)
        return ended

    def _ended(self, wanted: Sequence[Run]) -> list[Run]:
        ended: list[Run] = []
        # One look at all that lies between costs less than many small ones.
        looks = wanted if len(wanted) <= FEW else [Run(wanted[0].first, wanted[-1].last)]
        for run in looks:
            for part, state in self._engine.states(run):
                if state is State.DEAD or state is State.SETTLED:
                    ended.append(part)
        found = intersect(merge(ended), wanted) if looks is not wanted else ended
        return list(subtract(merge(found), self._running()))

    async def _describe(self, ended: list[Run]) -> Answer:
        """Return what is kept of those that ended, or the beginning of it: it is asked for the rest again."""
        answer: Answer = []
        watch = Stopwatch()
        rest = deque(ended)
        size, each = 0, FIRST_EACH
        while rest and size < ANSWER_BYTES and watch.seconds < ANSWER_SECONDS:
            group = next_group(rest, max(GROUP_BYTES // each, 1), GAP_BYTES // each)
            whole = Run(group[0].first, group[-1].last)
            outcomes = await self._engine.endings.outcomes(whole)
            answer.extend((o.state, to_pairs(o.runs), bytes(o.blob), o.reason) for o in outcomes)
            unknown = subtract(group, merge(part for o in outcomes for part in o.runs))
            if unknown:
                missing = self._engine.endings.missing()
                answer.append((missing.state, to_pairs(unknown), b"", missing.reason))
            found = sum(len(o.blob) for o in outcomes)
            size, each = size + found, max(found // whole.count, LEAST_EACH)
            await asyncio.sleep(0)
        return answer


def next_group(rest: deque[Run], most: int, gap: int) -> list[Run]:
    """Take runs that lie together from the front of *rest*, the last of them cut if need be.

    Results lie in blobs of many: to read those of neighbours at once, with some that nobody asked for, costs far
    less than to cut out each.

    Args:
        rest: sorted runs; what is taken is removed.
        most: messages from the first to the last.
        gap: messages that may lie between two runs.
    """
    end = rest[0].first + most
    group: list[Run] = []
    while rest and rest[0].first < end and (not group or rest[0].first - group[-1].last <= gap):
        run = rest.popleft()
        if run.last > end:
            rest.appendleft(Run(end, run.last))
            run = Run(run.first, end)
        group.append(run)
    return group
