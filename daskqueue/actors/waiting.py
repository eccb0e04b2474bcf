"""Jobs that somebody waits for: one long poll for each queue, however many jobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from daskqueue.actors.caller import DEADLINE_SECONDS
from daskqueue.actors.settlement import runs_of
from daskqueue.clock import new_name
from daskqueue.message import unpack_id

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues

POLL_SECONDS = 20.0
LOST_SECONDS = 60.0


class Ended(NamedTuple):
    """How one job ended: its state, and at which position of *blob* its result or failure is."""

    state: str
    blob: bytes
    position: int
    reason: str


_Answer = list[tuple[str, list[tuple[int, int]], bytes, str]]


class Waiting:
    """Tells how jobs ended, once they did. All methods run on the client's event loop."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._polls: dict[tuple[int, int], _Poll] = {}

    def wait(self, job_id: int) -> asyncio.Future[Ended]:
        """Return a future of how a job ended; cancel it to stop waiting."""
        where = unpack_id(job_id)
        life = (where.queue, where.incarnation)
        if life not in self._polls:
            self._polls[life] = _Poll(self._queues, *life)
        return self._polls[life].add(where.sequence)

    async def look(self, job_id: int) -> Ended | None:
        """Return how a job ended, None if it has not; does not wait."""
        where = unpack_id(job_id)
        runs = [(where.sequence, where.sequence + 1)]
        answer = await self._queues.call(
            where.queue,
            "wait_settled",
            new_name(),
            where.incarnation,
            runs,
            0.0,
            deadline=DEADLINE_SECONDS,
            patience=LOST_SECONDS,
        )
        return Ended(answer[0][0], answer[0][2], 0, answer[0][3]) if answer else None

    def close(self) -> None:
        """Stop all polls; whoever still waits is told that the pool is closed."""
        for poll in self._polls.values():
            poll.close()


class _Poll:
    def __init__(self, queues: Queues, index: int, incarnation: int) -> None:
        self._queues = queues
        self._index = index
        self._incarnation = incarnation
        self._name = new_name()
        self._wanted: dict[int, list[asyncio.Future[Ended]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._more = asyncio.Event()
        self._calls: set[asyncio.Task[_Answer]] = set()

    def add(self, sequence: int) -> asyncio.Future[Ended]:
        future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(sequence, []).append(future)
        self._more.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return future

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for call in self._calls:
            call.cancel()

    async def _run(self) -> None:
        try:
            while self._wanted:
                self._more.clear()
                answer = asyncio.get_running_loop().create_task(self._ask(runs_of(sorted(self._wanted))))
                self._calls.add(answer)
                answer.add_done_callback(self._calls.discard)
                more = asyncio.get_running_loop().create_task(self._more.wait())
                # A second call of the same name ends the one that is parked, so nobody waits behind old jobs.
                await asyncio.wait([answer, more], return_when=asyncio.FIRST_COMPLETED)
                more.cancel()
                if not answer.done():
                    answer.add_done_callback(self._take_late)
                    continue
                self._take(answer.result())
        except Exception as error:  # noqa: BLE001
            # Whatever it is, whoever waits must hear of it.
            self._fail(error)
        finally:
            self._task = None

    async def _ask(self, runs: list[tuple[int, int]]) -> _Answer:
        ended: _Answer = await self._queues.call(
            self._index,
            "wait_settled",
            self._name,
            self._incarnation,
            runs,
            POLL_SECONDS,
            deadline=POLL_SECONDS + DEADLINE_SECONDS,
            patience=LOST_SECONDS,
        )
        return ended

    def _take_late(self, answer: asyncio.Task[_Answer]) -> None:
        if answer.cancelled():
            return
        if (error := answer.exception()) is not None:
            self._fail(error)
        else:
            self._take(answer.result())

    def _take(self, answer: _Answer) -> None:
        for state, runs, blob, reason in answer:
            index = 0
            for first, last in runs:
                for sequence in range(first, last):
                    for future in self._wanted.pop(sequence, ()):
                        if not future.done():
                            future.set_result(Ended(state, blob, index, reason))
                    index += 1
        for sequence in [s for s, futures in self._wanted.items() if all(f.done() for f in futures)]:
            del self._wanted[sequence]

    def _fail(self, error: BaseException) -> None:
        for futures in self._wanted.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)
        self._wanted.clear()
