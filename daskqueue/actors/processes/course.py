"""The messages of a portion, one after the other, on the main thread of a child process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat, starmap
from typing import Any

from daskqueue.actors.loading import Loader
from daskqueue.actors.processes.hand import Hand
from daskqueue.actors.work import CANNOT_LOAD, Raised, Work, ended
from daskqueue.batch import Broken, Group
from daskqueue.clock import Stopwatch, ticks
from daskqueue.errors import JobCancelledError

# Before a message begins, what ended this long ago is reported: a crash repeats no more than that.
KEEP_SECONDS = 0.01


class Course:
    """Runs portions; writes down which message it is at, at the price of a clock and two numbers for each.

    Args:
        hand: what it has in hand.
        loader: makes calls of messages.
        report: called now and then to tell what has ended.
    """

    def __init__(self, hand: Hand, loader: Loader, report: Callable[[], object]) -> None:
        self._hand = hand
        self._memory = hand.memory
        self._loader = loader
        self._report = report
        self._report_at = 0.0

    def run(self, number: int, work: Work) -> None:
        """Run a portion, or as much of it as is still wanted."""
        hand = self._hand
        self._memory.enter(number)
        work.watch = Stopwatch()
        hand.number = number
        hand.work = work
        self._report_at = ticks() + KEEP_SECONDS
        for group in self._loader.groups(work):
            if not work.tasks:
                work.lap()  # loading the first function, and all that it imports, is no task's time
            work.tasks.add(group)
            going_on = self._fail(work, group) if isinstance(group, Broken) else self._run_group(work, group)
            if not going_on:
                break
        self._memory.rest()
        work.watch.stop()

    def _fail(self, work: Work, group: Broken) -> bool:
        """Take note of messages that cannot be loaded; return whether those after them are to be run."""
        with self._hand.lock:
            if self._hand.ends:
                return False
            work.outcomes.extend(repeat(Raised(group.error, CANNOT_LOAD), group.count))
            return True

    def _run_group(self, work: Work, group: Group) -> bool:
        """Run messages; return whether those after them are to be run."""
        hand, out = self._hand, work.outcomes
        end = len(out) + group.count
        arguments = iter(group.arguments)
        while len(out) < end:
            # First the bound, then what it depends on: whoever changes that lowers the bound afterwards.
            hand.until = min((index for index in work.cancelled if len(out) < index < end), default=end)
            if hand.ends:
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
        begin, rest, hand = self._memory.running, self._memory.rest, self._hand
        for given in arguments:
            now = ticks()
            if now > self._report_at:
                self._report()
                self._report_at = ticks() + KEEP_SECONDS
            begin(len(out), now)
            yield given
            # Before the bound is looked at: see Hand.withdraw. And to pickle results may end the process, too.
            rest()
            if len(out) >= hand.until:
                return
