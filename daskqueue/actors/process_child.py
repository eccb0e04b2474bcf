"""A child process of a consumer: runs portions of slices, one message at a time, on its main thread.

A second thread listens to the consumer and sends what has ended, also while a message runs; coroutines are
awaited on the event loop of a third.
"""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from itertools import repeat, starmap
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from daskqueue.actors.handling import Handling
from daskqueue.actors.loading import Loader
from daskqueue.actors.process_link import Link
from daskqueue.actors.process_memory import Memory
from daskqueue.actors.report import settlements_of
from daskqueue.actors.timing import timings
from daskqueue.actors.work import CANNOT_LOAD, Note, Raised, Work, ended
from daskqueue.batch import Broken, Group
from daskqueue.clock import Clock, Stopwatch, ticks
from daskqueue.errors import JobCancelledError, NotInTaskError, TaskTimeoutError
from daskqueue.message import Terms
from daskqueue.results import encode_failure
from daskqueue.running import FINDER, Current

if TYPE_CHECKING:
    from daskqueue.actors.handling import Equipment

# What has ended is sent at the latest after this time, also in the middle of a portion.
REPORT_SECONDS = 0.05
# Before a message begins, what ended this long ago is sent: a crash repeats no more than that.
KEEP_SECONDS = 0.01

# What is said in the link: to the child, ...
OPEN, RUN, WITHDRAW, CANCEL, STOP = range(5)
# ... and by it.
READY, FAILED, ENDED, NOTED, GAVE = range(5)


class Setup(NamedTuple):
    """What a child is told once; pickled by value where it has to be."""

    equipment: Equipment
    late: bool


def main(link: int, memory: int) -> None:
    """Run messages until told to stop.

    Args:
        link: descriptor of the socket to the consumer.
        memory: descriptor of the shared memory.
    """
    Child(Link(link), Memory(memory)).run()


class Child:
    """The process's own state.

    Args:
        link: to the consumer.
        memory: where it writes down what runs.
    """

    def __init__(self, link: Link, memory: Memory) -> None:
        self._link = link
        self._memory = memory
        self.clock = Clock()
        self.resources: Mapping[str, Any] = {}
        self._loop = asyncio.new_event_loop()
        self._portions: SimpleQueue[tuple[int, Work] | None] = SimpleQueue()
        self._given: dict[int, Work] = {}
        self._withdrawn: set[int] = set()
        self._stopping = False
        self._number = 0
        self._work: Work | None = None
        # No message of the portion from this index on is begun.
        self._until = 0
        self._keep_until = 0.0
        self._reporting = threading.Lock()
        self._current: tuple[Work, int, Current] | None = None
        self._awaited: Future[Any] | None = None
        self._late = False

    def run(self) -> None:
        """Open everything, run what comes, close everything."""
        _seed()
        threading.Thread(target=self._loop.run_forever, name="daskqueue-loop", daemon=True).start()
        opened = self._open()
        if opened is None:
            return
        handling, loader = opened
        threading.Thread(target=self._listen, name="daskqueue-link", daemon=True).start()
        FINDER.set(self._find)
        while (portion := self._portions.get()) is not None:
            self._run(loader, *portion)
        handling.close()

    def _open(self) -> tuple[Handling, Loader] | None:
        said = self._link.receive()
        assert said is not None
        _, sys.path[:], blob = said
        try:
            setup: Setup = pickle.loads(blob)
            self._late = setup.late
            handling = Handling(setup.equipment, self._await)
            consumer = handling.open()
        except BaseException as error:  # noqa: BLE001  whatever it is, the consumer's start() raises it
            self._link.send(FAILED, encode_failure(error))
            return None
        self.resources = consumer.resources
        self._link.send(READY)
        return handling, Loader(consumer, self._await)

    # On the thread that listens

    def _listen(self) -> None:
        try:
            while True:
                said = self._link.receive(REPORT_SECONDS if self._given else None)
                if said is not None:
                    self._obey(*said)
                self._report()
        except (EOFError, OSError):
            # Nobody would ever hear how it ends.
            os._exit(0)

    def _obey(self, what: int, *about: Any) -> None:
        if what == RUN:
            number, receipt, base_id, first, parts, notes, queue = about
            known = [Note._make([*note[:4], note[4] and Terms(*note[4]), note[5]]) for note in notes]
            work = self._given[number] = Work(0, receipt, base_id, first, parts, known, queue)
            self._portions.put((number, work))
        elif what == WITHDRAW:
            self._give_back(about[0])
        elif what == CANCEL:
            number, indices = about
            if number in self._given:
                work = self._given[number]
                work.cancelled = work.cancelled.union(indices)
                self._look_again(number)
                if (
                    number == self._number
                    and self._memory.read().index in indices
                    and self._awaited is not None
                ):
                    self._awaited.cancel()
        elif what == STOP:
            self._stopping = True
            self._look_again(self._number)
            self._portions.put(None)

    def _look_again(self, number: int) -> None:
        """Have the main thread stop before its next message, to find out what has changed."""
        if number == self._number:
            self._until = 0

    def _give_back(self, number: int) -> None:
        """Say from which message on a portion is not going to be begun here."""
        # What the main thread looks at when it has passed a message is set first; only then where it is.
        self._withdrawn.add(number)
        self._look_again(number)
        with self._reporting:
            index = 0
            if number == self._number and self._work is not None:
                running = self._memory.read().index
                # It may be on its way to the next one.
                index = (len(self._work.outcomes) if running is None else running) + 1
            if number in self._given:
                self._link.send(GAVE, number, index)

    # On the main thread

    def _run(self, loader: Loader, number: int, work: Work) -> None:
        self._memory.enter(number)
        self._number, self._work = number, work
        self._keep_until = ticks() + KEEP_SECONDS
        work.watch = Stopwatch()
        begun = False
        for group in loader.groups(work):
            if not begun:
                begun = True
                work.lap()  # loading the first function, and all that it imports, is no task's time
            work.tasks.add(group)
            if isinstance(group, Broken):
                going_on = self._fail(number, work, group)
            else:
                going_on = self._run_group(number, work, group)
            if not going_on:
                break
        self._memory.rest()
        work.watch.stop()
        self._report(over=True)

    def _fail(self, number: int, work: Work, group: Broken) -> bool:
        """Take note of messages that cannot be loaded; return whether those after them are to be run."""
        with self._reporting:
            if self._stopping or number in self._withdrawn:
                return False
            work.outcomes.extend(repeat(Raised(group.error, CANNOT_LOAD), group.count))
            return True

    def _run_group(self, number: int, work: Work, group: Group) -> bool:
        """Run messages; return whether those after them are to be run."""
        out = work.outcomes
        end = len(out) + group.count
        arguments = iter(group.arguments)
        while len(out) < end:
            # First the bound, then what it depends on: whoever changes that lowers the bound afterwards.
            self._until = min((index for index in work.cancelled if len(out) < index < end), default=end)
            if self._stopping or number in self._withdrawn:
                return False
            if len(out) in work.cancelled:
                next(arguments)
                out.append(Raised(JobCancelledError("the job was cancelled before it ran")))
                continue
            try:
                out.extend(starmap(group.call, self._begun(out, arguments)))
            except BaseException as error:  # noqa: BLE001  whatever a task raises is its own failure
                out.append(ended(error))
            else:
                if self._memory.read().index == len(out):
                    out.append(ended(StopIteration()))
            self._memory.rest()
        return True

    def _begun(self, out: list[Any], arguments: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Pass on arguments, and write down before and after each message whether it runs."""
        begin, rest = self._memory.running, self._memory.rest
        for given in arguments:
            now = ticks()
            if now > self._keep_until:
                self._report()
            begin(len(out), now)
            yield given
            # To load the next may end the process, too, and this one has ended by now.
            rest()
            if len(out) >= self._until:
                return

    # What others are told

    def _report(self, *, over: bool = False) -> None:
        """Send what has ended of the portion in hand; *over* is said of its end."""
        with self._reporting:
            work = self._work
            if work is None:
                return
            count, settlements, times = 0, [], []
            for cut in work.cuts():
                said = list(settlements_of(cut, late=self._late))
                times += [tuple(timing) for timing in timings(cut, said)]
                settlements += [tuple(settlement) for settlement in said]
                count += len(cut.values)
            self._keep_until = ticks() + KEEP_SECONDS
            if over:
                self._work = None
                del self._given[self._number]
                self._withdrawn.discard(self._number)
            if count or over:
                self._link.send(ENDED, self._number, count, settlements, times, over)

    def _find(self) -> Current:
        """Return the message that runs."""
        work, glance = self._work, self._memory.read()
        index = glance.index
        if work is None or index is None:
            raise NotInTaskError("current() was called while no message runs in this process")
        if self._current is None or self._current[0] is not work or self._current[1] != index:
            seconds = work.stretch(index)[1]
            deadline = None
            if seconds is not None:
                deadline = self.clock.now() - (ticks() - glance.began_at) + seconds
            said = functools.partial(self._link.send, NOTED, self._number, index)
            self._current = (
                work,
                index,
                Current(work.assignment(index, deadline), Line(self, work, index, said)),
            )
        return self._current[2]

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Wait for a coroutine on the event loop, within the time that its message has."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        work, index = self._work, self._memory.read().index
        if work is None or index is None:
            return future.result()
        self._awaited = future
        if index in work.cancelled:
            future.cancel()
        try:
            return future.result(self._find().remaining if work.timed else None)
        except TimeoutError:
            if future.done():
                return future.result()
            future.cancel()
            raise TaskTimeoutError("the attempt took longer than its timeout") from None
        finally:
            self._awaited = None


class Line(NamedTuple):
    """How a task speaks with its consumer, from any thread; see ``daskqueue.running.Link``."""

    child: Child
    work: Work
    place: int
    said: Callable[[bytes], None]

    def cancelled(self) -> bool:
        """Whether the message's cancel was asked for."""
        return self.place in self.work.cancelled

    def note(self, blob: bytes) -> None:
        """Tell the queue how far the task has come."""
        self.said(blob)

    @property
    def clock(self) -> Clock:
        """What the consumer takes for the time."""
        return self.child.clock

    @property
    def resources(self) -> Mapping[str, Any]:
        """What was opened in this process."""
        return self.child.resources


def _seed() -> None:
    """Give this process random numbers of its own, where a library does not do so by itself."""
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()
