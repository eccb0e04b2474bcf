"""Jobs that somebody waits for: one long poll for each queue, however many jobs and whoever waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from daskqueue.actors.caller import DEADLINE_SECONDS
from daskqueue.actors.ended import Ended, Part
from daskqueue.actors.settlement import runs_of, to_pairs, to_runs
from daskqueue.clock import new_name
from daskqueue.core.runs import Runs, intersect, merge, subtract
from daskqueue.errors import QueueLostError
from daskqueue.message import pack_id, unpack_id

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues

POLL_SECONDS = 20.0
LOST_SECONDS = 60.0
# A poll that asks for more ends the one before it; further ones wait until one of the two has answered.
_CALLS = 2

Life = tuple[int, int]  # a queue's number and its incarnation

_Answer = list[tuple[str, list[tuple[int, int]], bytes, str]]


class Waiting:
    """Tells how jobs ended, once they did. All methods run on the client's event loop."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._polls: dict[Life, _Poll] = {}
        self._callbacks: ThreadPoolExecutor | None = None

    def wait(self, job_id: int) -> asyncio.Future[Ended]:
        """Return a future of how a job ended; cancel it to stop waiting."""
        where = unpack_id(job_id)
        return self._poll((where.queue, where.incarnation)).add(where.sequence)

    def watch(
        self,
        life: Life,
        took: Callable[[Part, Runs], object],
        failed: Callable[[Runs, Exception], object],
    ) -> Watch:
        """Return a watch on messages of one queue, without any at first.

        Args:
            life: the queue, by number and incarnation.
            took: told of parts, and which of their messages were watched, as these end.
            failed: told of those that nobody can hear of any more, and why. Neither may raise.
        """
        return Watch(self._poll(life), took, failed)

    async def look(self, job_id: int) -> Ended | None:
        """Return how a job ended, None if it has not; does not wait."""
        where = unpack_id(job_id)
        runs = [(where.sequence, where.sequence + 1)]
        answer: _Answer = await self._queues.call(
            where.queue,
            "wait_settled",
            new_name(),
            where.incarnation,
            runs,
            0.0,
            deadline=DEADLINE_SECONDS,
            patience=LOST_SECONDS,
        )
        if not answer:
            return None
        (state, pairs, blob, reason), *_ = answer
        return Ended(Part(_base(where.queue, where.incarnation), state, to_runs(pairs), blob, reason), 0)

    @property
    def callbacks(self) -> ThreadPoolExecutor:
        """The thread in which users' functions are called when jobs have ended; it ends with this object."""
        if self._callbacks is None:
            self._callbacks = ThreadPoolExecutor(1, "daskqueue-callbacks")
        return self._callbacks

    def close(self) -> None:
        """Stop all polls; whoever still waits is told that the pool is closed."""
        for poll in self._polls.values():
            poll.close()

    def _poll(self, life: Life) -> _Poll:
        if life not in self._polls:
            self._polls[life] = _Poll(self._queues, *life)
        return self._polls[life]


class Watch:
    """Messages of one queue that somebody wants to hear of; see :meth:`Waiting.watch`.

    Attributes:
        runs: those that have not ended.
    """

    __slots__ = ("_poll", "failed", "runs", "took")

    def __init__(
        self, poll: _Poll, took: Callable[[Part, Runs], object], failed: Callable[[Runs, Exception], object]
    ) -> None:
        self._poll = poll
        self.took = took
        self.failed = failed
        self.runs: Runs = ()

    def add(self, runs: Iterable[tuple[int, int]]) -> None:
        """Watch further messages; one that ended long ago is told of, too."""
        self.runs = merge([*self.runs, *runs])
        self._poll.watch(self)

    def strike(self, runs: Runs) -> Runs:
        """Return which of the messages are watched, and watch them no longer."""
        mine = intersect(self.runs, runs)
        if mine:
            self.runs = subtract(self.runs, mine)
        return mine

    def cancel(self) -> None:
        """Hear of nothing any more."""
        self.runs = ()
        self._poll.leave(self)


class _Poll:
    def __init__(self, queues: Queues, index: int, incarnation: int) -> None:
        self._queues = queues
        self._index = index
        self._incarnation = incarnation
        self._name = new_name()
        self._wanted: dict[int, list[asyncio.Future[Ended]]] = {}
        self._watches: set[Watch] = set()
        self._task: asyncio.Task[None] | None = None
        self._more = asyncio.Event()
        self._calls: set[asyncio.Task[_Answer]] = set()

    def add(self, sequence: int) -> asyncio.Future[Ended]:
        future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(sequence, []).append(future)
        self._ask_soon()
        return future

    def watch(self, watch: Watch) -> None:
        self._watches.add(watch)
        self._ask_soon()

    def leave(self, watch: Watch) -> None:
        self._watches.discard(watch)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for call in self._calls:
            call.cancel()
        self._fail(QueueLostError("the pool was closed while somebody waited for its jobs"))

    def _ask_soon(self) -> None:
        self._more.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while runs := self._runs():
                self._more.clear()
                answer = asyncio.get_running_loop().create_task(self._ask(runs))
                self._calls.add(answer)
                answer.add_done_callback(self._calls.discard)
                more = asyncio.get_running_loop().create_task(self._more.wait())
                # A second call of the same name ends the one that is parked, so nobody waits behind old jobs.
                await asyncio.wait([answer, more], return_when=asyncio.FIRST_COMPLETED)
                more.cancel()
                if answer.done():
                    self._take(answer.result())
                    continue
                answer.add_done_callback(self._take_late)
                if len(self._calls) >= _CALLS:
                    await asyncio.wait(list(self._calls), return_when=asyncio.FIRST_COMPLETED)
        except Exception as error:  # noqa: BLE001
            # Whatever it is, whoever waits must hear of it.
            self._fail(error)
        finally:
            self._task = None

    def _runs(self) -> list[tuple[int, int]]:
        """Return what is still wanted, and forget futures that nobody waits for any more."""
        for sequence in [s for s, futures in self._wanted.items() if all(f.done() for f in futures)]:
            del self._wanted[sequence]
        if not self._watches:
            return runs_of(sorted(self._wanted))
        parts = [watch.runs for watch in self._watches]
        if len(parts) == 1 and not self._wanted:
            return to_pairs(parts[0])
        return to_pairs(merge([*runs_of(sorted(self._wanted)), *(run for part in parts for run in part)]))

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
        error = answer.exception()
        if isinstance(error, Exception):
            self._fail(error)
        elif error is None:
            self._take(answer.result())

    def _take(self, answer: _Answer) -> None:
        base = _base(self._index, self._incarnation)
        for state, pairs, blob, reason in answer:
            part = Part(base, state, to_runs(pairs), blob, reason)
            if self._wanted:
                self._tell_futures(part)
            for watch in list(self._watches):
                if mine := watch.strike(part.runs):
                    if not watch.runs:
                        self._watches.discard(watch)
                    watch.took(part, mine)

    def _tell_futures(self, part: Part) -> None:
        count = sum(run.count for run in part.runs)
        if len(self._wanted) < count:
            found = [(s, at) for s in self._wanted if (at := part.position(s)) is not None]
        else:
            sequences = (sequence for first, last in part.runs for sequence in range(first, last))
            found = [(sequence, at) for at, sequence in enumerate(sequences) if sequence in self._wanted]
        for sequence, at in found:
            for future in self._wanted.pop(sequence):
                if not future.done():
                    future.set_result(Ended(part, at))

    def _fail(self, error: Exception) -> None:
        wanted, self._wanted = self._wanted, {}
        for futures in wanted.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)
        watches, self._watches = self._watches, set()
        for watch in watches:
            runs, watch.runs = watch.runs, ()
            watch.failed(runs, error)


def _base(index: int, incarnation: int) -> int:
    return pack_id(index, incarnation, 0)
