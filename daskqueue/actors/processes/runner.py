"""Runs tasks in child processes: those that hold the interpreter hold nobody else's, and may even crash.

A child runs one portion at a time and says what has ended; which message it is at, the consumer sees in shared
memory. When a child dies, that message has crashed, and the others of its portion are run by another child.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from daskqueue.actors.handling import Equipment
from daskqueue.actors.processes.aftermath import Aftermath
from daskqueue.actors.processes.child import (
    CANCEL,
    ENDED,
    FAILED,
    GAVE,
    NOTED,
    OPEN,
    READY,
    RUN,
    STOP,
    WITHDRAW,
    Setup,
)
from daskqueue.actors.processes.crew import Child, Crew
from daskqueue.actors.processes.deadline import seconds_left
from daskqueue.actors.processes.dealer import Dealer, Portion
from daskqueue.actors.processes.memory import Glance
from daskqueue.actors.processes.work import ProcessWork, notes_of
from daskqueue.actors.settlement import Settlement
from daskqueue.actors.timing import Timing
from daskqueue.actors.work import Work
from daskqueue.chunk import dump_by_value
from daskqueue.errors import QueueLostError
from daskqueue.results import decode_failure

logger = logging.getLogger(__name__)

# Pause before a child that could not be opened is tried again, doubled each time.
AGAIN_SECONDS = 1.0
AGAIN_MAX_SECONDS = 30.0


class Seat:
    """One of the children that there always have to be: who has it, and what that has to do."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.portions: list[Portion] = []
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Not everybody waits for it, and nobody has to hear of it twice.
        self.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
        self.watch: asyncio.TimerHandle | None = None
        # Why it is killed, if it is.
        self.overdue: Glance | None = None
        self.dismissed = False
        self.worked = False

    @property
    def usable(self) -> bool:
        """Whether it takes portions."""
        return self.ready.done() and self.ready.exception() is None


class ProcessRunner:
    """Runs slices in child processes; all methods are called on the consumer's event loop.

    Args:
        equipment: what messages are handled with, in each child.
        processes: how many run at the same time.
        on_end: called when something has ended.
        on_note: told of progress: the slice, the index of the message, and the note.
        late: whether messages are acked before they run.
        settings: returns what a new child sets in ``dask.config``.
    """

    def __init__(
        self,
        equipment: Equipment,
        processes: int,
        on_end: Callable[[], object],
        on_note: Callable[[ProcessWork, int, bytes], object],
        *,
        late: bool,
        settings: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._setup = dump_by_value(Setup(equipment, late))
        self._name = equipment.name
        self._processes = processes
        self._on_end = on_end
        self._on_note = on_note
        self._late = late
        self._settings = settings
        self._crew = Crew(self._hear)
        self._seats: dict[Child, Seat] = {}
        self._dealer = Dealer(processes)
        self._aftermath = Aftermath(self._dealer, equipment.name, late=late)
        self._stopping = False
        self._refused = 0
        self._gone = asyncio.Event()
        self._hiring: set[asyncio.Task[None]] = set()
        self._answers: dict[int, Callable[..., None]] = {
            READY: self._begin,
            FAILED: self._refuse,
            ENDED: self._take,
            NOTED: self._note,
            GAVE: self._release,
        }

    async def start(self) -> None:
        """Return when all children have opened their equipment.

        Raises:
            QueueLostError: a child died before.
            Exception: what ``setup``, a resource or ``on_start`` raised in one.
        """
        seats = [await self._fork() for _ in range(self._processes)]
        try:
            await asyncio.gather(*(seat.ready for seat in seats))
        except BaseException:
            self._stopping = True
            await self._crew.close()
            await asyncio.gather(*(seat.ready for seat in seats), return_exceptions=True)
            raise

    def work(self, *args: Any) -> ProcessWork:
        """Return leased messages in the form that is to be fed; the arguments are those of ``Work``."""
        return ProcessWork(*args)

    def reports(self, work: Work, *, late: bool) -> Iterator[tuple[list[Settlement], list[Timing]]]:
        """Take what there is to tell of a slice since the last time; the children know whether it is late."""
        assert isinstance(work, ProcessWork)
        assert late == self._late
        return work.reports()

    def feed(self, work: Work) -> None:
        """Run a slice after those fed before."""
        assert isinstance(work, ProcessWork)
        self._dealer.works.append(work)
        self._deal()

    def withdraw(self, work: Work) -> list[tuple[int, int]]:
        """Take back what no child has of a slice, and return it as runs of indices.

        What a child has and has not begun is asked for; it is reported as released when it comes.
        """
        for seat in self._seats.values():
            for portion in seat.portions:
                if portion.work is work and not portion.withdrawn:
                    portion.withdrawn = True
                    seat.child.say(WITHDRAW, portion.number)
        assert isinstance(work, ProcessWork)
        return work.withdraw()

    def tell_cancelled(self, work: Work, indices: Iterable[int]) -> None:
        """Tell running messages that their cancel was asked for."""
        chosen = list(indices)
        for seat in self._seats.values():
            for portion in seat.portions:
                inside = [index - portion.start for index in chosen if portion.start <= index < portion.end]
                if portion.work is work and inside:
                    seat.child.say(CANCEL, portion.number, inside)

    def stop(self) -> None:
        """Start nothing more, and end the children once what runs is finished."""
        self._stopping = True
        for task in self._hiring:
            task.cancel()
        self._aftermath.stopping = True
        for seat in self._seats.values():
            seat.child.say(STOP)
        self._look_who_is_left()

    async def wait_stopped(self, seconds: float) -> bool:
        """Return whether all children ended within *seconds*; those that did not are killed."""
        try:
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        except TimeoutError:
            pass
        finished = not self._seats
        for seat in self._seats.values():
            seat.dismissed = True
            self._crew.kill(seat.child)
        if not finished:
            await self._gone.wait()
        await self._crew.close()
        return finished

    # Children

    async def _fork(self) -> Seat:
        child = await self._crew.fork()
        seat = self._seats[child] = Seat(child)
        child.say(OPEN, sys.path, self._settings(), self._setup)
        return seat

    async def _replace(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                seat = await self._fork()
                await asyncio.shield(seat.ready)
            except Exception as error:  # noqa: BLE001  a database that is away, say: the next time may have more luck
                self._refused += 1
                seconds = min(AGAIN_SECONDS * 2**self._refused, AGAIN_MAX_SECONDS)
                logger.warning("%s: a child could not start; again in %g s: %r", self._name, seconds, error)
            else:
                self._refused = 0
                return

    def _hear(self, child: Child, said: tuple[Any, ...] | None) -> None:
        seat = self._seats.get(child)
        if seat is None:  # it was being made when the runner was stopped
            return
        if said is None:
            self._bury(seat)
        else:
            what, *about = said
            self._answers[what](seat, *about)

    def _begin(self, seat: Seat) -> None:
        if not seat.ready.done():
            seat.ready.set_result(None)
        if self._stopping:
            seat.child.say(STOP)
        self._deal()

    def _refuse(self, seat: Seat, failure: bytes) -> None:
        if not seat.ready.done():
            seat.ready.set_exception(decode_failure(failure).exception())

    def _note(self, seat: Seat, number: int, index: int, blob: bytes) -> None:
        for portion in seat.portions:
            if portion.number == number:
                self._on_note(portion.work, portion.start + index, blob)

    def _bury(self, seat: Seat) -> None:
        """Settle what a dead child had, and have another in its place."""
        del self._seats[seat.child]
        if seat.watch is not None:
            seat.watch.cancel()
        was_usable = seat.usable
        if not seat.ready.done():
            seat.ready.set_exception(
                QueueLostError(f"a child process of {self._name} {seat.child.fate} at its start")
            )
        if not seat.dismissed:
            for portion in seat.portions:
                self._aftermath.settle(portion, seat.child, seat.overdue)
            self._on_end()
        if self._stopping:
            self._look_who_is_left()
        elif was_usable:
            # One that dies without any work to do may do so again.
            task = asyncio.create_task(self._replace(0.0 if seat.worked else AGAIN_SECONDS))
            self._hiring.add(task)
            task.add_done_callback(self._hiring.discard)
            self._deal()

    def _look_who_is_left(self) -> None:
        if not self._seats:
            self._gone.set()

    # Portions

    def _deal(self) -> None:
        """Give portions to those who have the fewest."""
        depth = 2 if self._dealer.quick else 1
        while not self._stopping:
            free = [seat for seat in self._seats.values() if seat.usable and len(seat.portions) < depth]
            if not free or (portion := self._dealer.next()) is None:
                return
            seat = min(free, key=lambda seat: len(seat.portions))
            seat.portions.append(portion)
            seat.worked = True
            self._dealer.begin(seat.portions[0])
            self._give(seat, portion)

    def _give(self, seat: Seat, portion: Portion) -> None:
        work, start, end = portion.work, portion.start, portion.end
        seat.child.say(
            RUN,
            portion.number,
            work.receipt,
            work.base_id,
            work.first + start,
            work.parts_of(start, end),
            notes_of(work, start, end) if work.notes else (),
            work.queue,
        )
        inside = [index - start for index in work.cancelled if start <= index < end]
        if inside:
            seat.child.say(CANCEL, portion.number, inside)
        if work.timed:
            self._watch_over(seat)

    def _take(
        self,
        seat: Seat,
        number: int,
        count: int,
        settlements: Sequence[Any],
        times: Sequence[Any],
        over: bool,
    ) -> None:
        portion = seat.portions[0]
        assert portion.number == number
        portion.ended += count
        if count:
            said = [Settlement(*settlement) for settlement in settlements]
            timings = [Timing(*timing) for timing in times]
            portion.work.report(count, said, timings)
            seconds = sum(timing.seconds * timing.messages for timing in timings)
            self._dealer.learn(portion, seconds, count)
        if over:
            seat.portions.pop(0)
            self._aftermath.put_back(portion, portion.next)
            if seat.portions:
                self._dealer.begin(seat.portions[0])
            self._deal()
        self._on_end()

    def _release(self, seat: Seat, number: int, index: int) -> None:
        """Give back what a child is not going to begin."""
        for portion in seat.portions:
            end = portion.start + index
            if portion.number == number and end < portion.end:
                work = portion.work
                released = [(work.first + end, work.first + portion.end)]
                work.report(portion.end - end, [Settlement(*work.receipt, released=released)], [])
                portion.end = end
                self._on_end()

    def _watch_over(self, seat: Seat) -> None:
        """Kill a child whose message has taken too long; look again when one may have."""
        if seat.watch is not None:
            seat.watch.cancel()
            seat.watch = None
        glance = seat.child.memory.read()
        left = [seconds for portion in seat.portions for seconds in seconds_left(portion, glance)]
        if not left:
            return
        if min(left) <= 0:
            seat.overdue = glance
            self._crew.kill(seat.child)
            return
        seat.watch = asyncio.get_running_loop().call_later(min(left), self._watch_over, seat)
