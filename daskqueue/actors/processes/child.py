"""A child process of a consumer: runs portions of slices, one message at a time, on its main thread.

A second thread listens to the consumer and sends what has ended, also while a message runs; coroutines are
awaited on the event loop of a third.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.config

from daskqueue.actors.handling import Handling
from daskqueue.actors.loading import Loader
from daskqueue.actors.processes.course import Course
from daskqueue.actors.processes.hand import Hand, Tasks
from daskqueue.actors.processes.link import Link
from daskqueue.actors.processes.memory import Memory
from daskqueue.actors.report import reports
from daskqueue.actors.work import Note, Work
from daskqueue.message import Terms
from daskqueue.results import encode_failure
from daskqueue.running import FINDER

if TYPE_CHECKING:
    from daskqueue.actors.handling import Equipment
    from daskqueue.consumer import ConsumerBaseClass

# What has ended is sent at the latest after this time, also in the middle of a portion.
REPORT_SECONDS = 0.05

# What is said in the link: to the child, ...
OPEN, RUN, WITHDRAW, CANCEL, STOP = range(5)
# ... and by it.
READY, FAILED, ENDED, NOTED, GAVE = range(5)

# Where memory is short, the kernel is to choose a child before the worker; 1000 would be before all others.
_OUT_OF_MEMORY_SCORE = b"500"


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
    _become_oneself()
    Child(Link(link), Memory(memory)).run()


class Child:
    """The process's own state.

    Args:
        link: to the consumer.
        memory: where it writes down what runs.
    """

    def __init__(self, link: Link, memory: Memory) -> None:
        self._link = link
        self._hand = Hand(memory)
        self._tasks = Tasks(self._hand, lambda *note: link.send(NOTED, *note))
        self._portions: SimpleQueue[tuple[int, Work] | None] = SimpleQueue()
        self._late = False

    def run(self) -> None:
        """Open everything, run what comes, close everything."""
        self._tasks.start()
        opened = self._open()
        if opened is None:
            return
        handling, consumer = opened
        threading.Thread(target=self._listen, name="daskqueue-link", daemon=True).start()
        FINDER.set(self._tasks.current)
        course = Course(self._hand, Loader(consumer, self._tasks.wait), self._report)
        while (portion := self._portions.get()) is not None:
            course.run(*portion)
            self._report(over=True)
        handling.close()

    def _open(self) -> tuple[Handling, ConsumerBaseClass] | None:
        said = self._link.receive()
        assert said is not None
        _, sys.path[:], settings, blob = said
        dask.config.set(settings)
        try:
            setup: Setup = pickle.loads(blob)
            self._late = setup.late
            handling = Handling(setup.equipment, self._tasks.wait)
            consumer = handling.open()
        except BaseException as error:  # noqa: BLE001  whatever it is, the consumer's start() raises it
            self._link.send(FAILED, encode_failure(error))
            return None
        self._tasks.resources = consumer.resources
        self._link.send(READY)
        return handling, consumer

    # On the thread that listens

    def _listen(self) -> None:
        try:
            while True:
                said = self._link.receive(REPORT_SECONDS if self._hand.given else None)
                if said is not None:
                    self._obey(*said)
                self._report()
        except (EOFError, OSError):
            # Nobody would ever hear how it ends.
            os._exit(0)

    def _obey(self, what: int, *about: Any) -> None:
        hand = self._hand
        if what == RUN:
            number, receipt, base_id, first, parts, notes, queue = about
            known = [Note._make([*note[:4], note[4] and Terms(*note[4]), note[5]]) for note in notes]
            work = hand.given[number] = Work(0, receipt, base_id, first, parts, known, queue)
            self._portions.put((number, work))
        elif what == WITHDRAW:
            with hand.lock:
                index = hand.withdraw(*about)
                if index is not None:
                    self._link.send(GAVE, *about, index)
        elif what == CANCEL:
            if hand.cancel(*about):
                self._tasks.cancel()
        elif what == STOP:
            hand.stop()
            self._portions.put(None)

    def _report(self, *, over: bool = False) -> None:
        """Send what has ended of the portion in hand; *over* is said of its end."""
        hand = self._hand
        with hand.lock:
            work = hand.work
            if work is None:
                return
            before = work.taken
            settlements, times = [], []
            for said, timings in reports(work, late=self._late):
                settlements += [tuple(settlement) for settlement in said]
                times += [tuple(timing) for timing in timings]
            if over:
                hand.work = None
                del hand.given[hand.number]
                hand.withdrawn.discard(hand.number)
            if over or settlements:
                self._link.send(ENDED, hand.number, work.taken - before, settlements, times, over)


def _become_oneself() -> None:
    """Set apart what a fork has in common with its siblings."""
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, _OUT_OF_MEMORY_SCORE)
        os.close(descriptor)
    # Python's own random numbers begin anew in a fork; those of numpy do not.
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()
