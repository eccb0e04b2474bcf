"""Clients that wait for jobs: one parked call each, answered when some of its messages have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from daskqueue.actors.parking import Bell
from daskqueue.actors.settlement import to_pairs
from daskqueue.clock import Clock
from daskqueue.core.runs import merge, subtract
from daskqueue.core.tally import State
from daskqueue.engine.engine import Engine
from daskqueue.message import Run

# How much of their results is sent to those who wait, at once.
ANSWER_BYTES = 4 << 20
# Who waits for many jobs is told of further ones at most this often.
PAUSE_SECONDS = 0.005

LOST = "lost"

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
        running = self._running()
        ended: list[Run] = []
        for run in wanted:
            for part, state in self._engine.states(run):
                if state is State.DEAD:
                    ended.append(part)
                elif state is State.SETTLED:
                    ended.extend(subtract((part,), running))
        return ended

    async def _describe(self, ended: list[Run]) -> Answer:
        answer: Answer = []
        size = 0
        for run in ended:
            outcomes = await self._engine.endings.outcomes(run)
            answer.extend((o.state, to_pairs(o.runs), bytes(o.blob), o.reason) for o in outcomes)
            unknown = subtract((run,), merge(part for o in outcomes for part in o.runs))
            if unknown:
                answer.append((LOST, to_pairs(unknown), b"", "its result is no longer kept"))
            size += sum(len(o.blob) for o in outcomes)
            if size > ANSWER_BYTES:
                break
        return answer
