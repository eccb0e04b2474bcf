"""The threads that run tasks."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from daskqueue.actors.alarm import GRACE_SECONDS, Alarm, Attempt, LeftBehind
from daskqueue.actors.awaiting import Awaiting
from daskqueue.actors.course import Course, Wrap
from daskqueue.actors.loading import Loader
from daskqueue.actors.report import reports
from daskqueue.actors.seat import Desk, OnNote, Seat
from daskqueue.actors.settlement import Settlement, runs_of
from daskqueue.actors.timing import Timing
from daskqueue.actors.work import CANNOT_LOAD, Note, Part, Raised, Work, ended
from daskqueue.batch import Broken
from daskqueue.clock import Clock, Stopwatch, ticks

if TYPE_CHECKING:
    from daskqueue.consumer import ConsumerBaseClass

logger = logging.getLogger(__name__)

Job = Callable[[Seat], None]


def _nothing(*_: object) -> None:
    pass


class ThreadRunner:
    """Runs the messages of slices in *threads* threads and tells *on_end* (from those threads) of each end.

    Args:
        consumer: what is done with a message.
        threads: how many run at the same time.
        loop: where coroutine functions are awaited.
        on_end: called when a slice is finished, and for each message when there are several threads.
        on_note: called with each progress note of a task: its slice, the message's index, and the note.
        on_thread: called on a task thread before it runs something of a slice.
        clock: what tasks are told of the time.
        interrupts: whether a thread is interrupted when an attempt's time is over, and left behind if that does
            not help; coroutines are cancelled in any case.
        wrap: wraps the arguments of each group of calls when a single thread runs them.
    """

    def __init__(
        self,
        consumer: ConsumerBaseClass,
        threads: int,
        loop: asyncio.AbstractEventLoop,
        on_end: Callable[[], object],
        on_note: OnNote = _nothing,
        on_thread: Callable[[], object] = _nothing,
        *,
        clock: Clock | None = None,
        interrupts: bool = True,
        wrap: Wrap | None = None,
    ) -> None:
        self._loader = Loader(consumer, Awaiting(loop))
        self._on_end = on_end
        self._on_thread = on_thread
        self._several = threads > 1
        self._wrap = wrap
        self._clock = clock or Clock()
        self._desk = Desk(on_note, self._clock, getattr(consumer, "resources", {}))
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._stopping = False
        # What has been started is only ever decided under this lock, or that of a course.
        self._lock = threading.Lock()
        self._courses: dict[Work, Course] = {}
        self._unstarted: dict[Work, set[int]] = {}
        self._context = contextvars.copy_context()
        self._seats = [Seat(self._desk, replaceable=True) for _ in range(threads)]
        self._left: list[threading.Thread] = []
        self._alarm = Alarm(lambda: list(self._seats), self._go_on_without, interrupts=interrupts)
        self._ended = threading.Semaphore(0)

    @property
    def left_behind(self) -> int:
        """How many threads still run a task whose time was over long ago."""
        return sum(thread.is_alive() for thread in self._left)

    async def start(self) -> None:
        """Start the threads."""
        for seat in self._seats:
            self._start_thread(seat)

    def work(
        self,
        source: int,
        receipt: tuple[int, int],
        base_id: int,
        first: int,
        parts: Sequence[Part],
        notes: Sequence[Note] = (),
        queue: str = "",
    ) -> Work:
        """Make a slice; see :class:`Work`."""
        return Work(source, receipt, base_id, first, parts, notes, queue)

    def feed(self, work: Work) -> None:
        """Run a slice after those fed before."""
        if self._several:
            work.open_slots()
            with self._lock:
                self._unstarted[work] = set(range(work.count))
            self._jobs.put(partial(self._spread, work))
        else:
            self._jobs.put(partial(self._follow, self._course(work)))

    def run_here(self, work: Work) -> None:
        """Run a slice to its end in the thread that calls, as a single thread of its own would."""
        contextvars.copy_context().run(self._run_here, self._course(work))

    def withdraw(self, work: Work) -> list[tuple[int, int]]:
        """Take back what was not started of a slice; return it as runs of indices."""
        if self._several:
            with self._lock:
                runs = runs_of(sorted(self._unstarted.pop(work, ())))
        else:
            course = self._courses.get(work)
            start = course.close() if course is not None else None
            runs = [(start, work.count)] if start is not None and start < work.count else []
        work.withdrawn += sum(end - start for start, end in runs)
        return runs

    def tell_cancelled(self, work: Work, indices: Iterable[int]) -> None:
        """Cancel those of the messages that are coroutines now; others ask for themselves."""
        chosen = set(indices)
        for seat in list(self._seats):
            # In this order: the flight that is cancelled then is the message's, or over.
            flight = seat.flight
            if flight is not None and seat.work is work and seat.place in chosen:
                flight.cancel()

    def reports(self, work: Work, *, late: bool) -> Iterator[tuple[list[Settlement], list[Timing]]]:
        """Take what finished of a slice since the last time: what to tell its queue, and how long it took."""
        return reports(work, late=late)

    def stop(self) -> None:
        """Start nothing more, and end the threads once what runs is finished."""
        with self._lock:
            self._stopping = True
        for course in list(self._courses.values()):
            course.close()
        for _ in self._seats:
            self._jobs.put(None)

    async def wait_stopped(self, seconds: float) -> bool:
        """Return whether all threads ended within *seconds*; those left behind do not count."""
        finished = await asyncio.to_thread(self._wait_ended, seconds)
        self._alarm.close()
        return finished

    def _wait_ended(self, seconds: float) -> bool:
        give_up_at = ticks() + seconds
        return all(self._ended.acquire(timeout=max(give_up_at - ticks(), 0.0)) for _ in self._seats)

    def _course(self, work: Work) -> Course:
        course = self._courses[work] = Course(work, self._loader.groups(work), self._run_timed, self._wrap)
        return course

    def _start_thread(self, seat: Seat, first: Job | None = None) -> None:
        run = partial(self._context.copy().run, self._run, seat, first)
        seat.thread = threading.Thread(target=run, name="daskqueue-task", daemon=True)
        seat.thread.start()

    # On the threads

    def _run(self, seat: Seat, job: Job | None) -> None:
        seat.take()
        try:
            if job is not None:
                job(seat)
            while (job := self._jobs.get()) is not None:
                job(seat)
        except LeftBehind:
            return
        self._ended.release()

    def _run_here(self, course: Course) -> None:
        seat = Seat(self._desk, replaceable=False)
        seat.take()
        self._seats.append(seat)
        try:
            self._follow(course, seat)
        finally:
            self._seats.remove(seat)

    def _follow(self, course: Course, seat: Seat) -> None:
        if not self._stopping:
            self._on_thread()
            seat.work, seat.index = course.work, None
            course.run(seat)
        del self._courses[course.work]
        self._on_end()

    def _spread(self, work: Work, _: Seat) -> None:
        index = 0
        for group in self._loader.groups(work):
            work.tasks.add(group)
            if isinstance(group, Broken):
                calls: Iterable[Callable[[], Any]] = repeat(
                    partial(Raised, group.error, CANNOT_LOAD), group.count
                )
            else:
                calls = (partial(group.call, *arguments) for arguments in group.arguments)
            for call in calls:
                self._jobs.put(partial(self._run_one, work, index, call))
                index += 1

    def _run_one(self, work: Work, index: int, call: Callable[[], Any], seat: Seat) -> None:
        with self._lock:
            unstarted = self._unstarted.get(work)
            if self._stopping or unstarted is None:
                return
            unstarted.discard(index)
            if not unstarted:
                del self._unstarted[work]
        if work.watch is None:
            work.watch = Stopwatch()
        self._on_thread()
        seat.work, seat.index = work, index
        began = ticks()
        seconds = work.stretch(index)[1] if work.timed else None
        if seconds is None:
            try:
                value = call()
            except BaseException as error:  # noqa: BLE001  whatever a task raises is its own failure
                value = ended(error)
        else:
            value = self._run_timed(seat, seconds, call)
        work.end(index, value, ticks() - began)
        self._on_end()

    def _run_timed(self, seat: Seat, seconds: float, call: Callable[[], Any]) -> Any:
        attempt = Attempt(seconds, self._clock.now() + seconds, ticks())
        return self._alarm.run(seat, attempt, call)

    # On the alarm's thread

    def _go_on_without(self, seat: Seat, attempt: Attempt) -> None:
        """Let another thread go on in the place of one whose task does not come to its end."""
        work, index = seat.work, seat.index
        assert work is not None
        assert index is not None
        assert seat.thread is not None
        fresh = Seat(self._desk, replaceable=True)
        self._left = [*filter(threading.Thread.is_alive, self._left), seat.thread]
        self._seats[self._seats.index(seat)] = fresh
        logger.warning(
            "Message %d did not come to its end %g s after its timeout of %g s: it counts as timed out, and its "
            "thread is left behind (%d in this consumer). Blocking calls outside of Python cannot be interrupted: "
            "give them time-outs of their own, or use executor='processes'",
            work.base_id + work.first + index,
            GRACE_SECONDS,
            attempt.seconds,
            self.left_behind,
        )
        if self._several:
            work.end(index, attempt.timed_out(), attempt.seconds + GRACE_SECONDS)
            self._start_thread(fresh)
        else:
            course = self._courses[work]
            course.leave(attempt)
            self._start_thread(fresh, partial(self._follow, course))
        self._on_end()
