"""A slice that one thread runs in order: as a stream of results, not message by message."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, repeat, starmap
from typing import TYPE_CHECKING, Any

from daskqueue.actors.work import CANNOT_LOAD, Raised, Work, ended
from daskqueue.batch import Broken, Group
from daskqueue.clock import Stopwatch

if TYPE_CHECKING:
    from daskqueue.actors.alarm import Attempt
    from daskqueue.actors.seat import Seat

Arguments = Iterator[tuple[Any, ...]]
# Stands between a group's arguments and its calls: once for the group, nothing for single messages.
Wrap = Callable[[Arguments], Arguments]
Timed = Callable[["Seat", float, Callable[[], Any]], Any]


class Course:
    """Where in its slice a thread is; another thread may go on from there.

    Args:
        work: the slice.
        groups: its calls.
        timed: runs one call that has a time-out.
        wrap: wraps the arguments of each group.
    """

    def __init__(
        self, work: Work, groups: Iterator[Group | Broken], timed: Timed, wrap: Wrap | None = None
    ) -> None:
        self.work = work
        self._groups = groups
        self._timed = timed
        self._wrap = wrap
        # What has been started is only ever decided under this lock.
        self._lock = threading.Lock()
        self._closed = False
        self._end = 0  # one past the last message of the group that runs
        self._group: Group | None = None
        # Those of the group that have not been started; the calls take theirs from the same iterator.
        self._rest: Arguments = iter(())
        self._arguments: Arguments = iter(())

    def close(self) -> int | None:
        """Start nothing more; return the index from which on nothing was started, None if it was closed before."""
        with self._lock:
            if self._closed:
                return None
            self._closed = True
            self._end -= sum(1 for _ in self._rest)
            return self._end

    def run(self, seat: Seat) -> None:
        """Run what is left, on the thread that has the seat.

        Raises:
            LeftBehind: another thread goes on with what is left.
        """
        work = self.work
        if work.watch is None:
            work.watch = Stopwatch()
        while self._group is not None or self._begin():
            assert self._group is not None
            if work.timed:
                self._run_with_times(seat, self._group.call)
            else:
                self._stream(starmap(self._group.call, self._arguments), work.count)
            self._group = None
        work.watch.stop()

    def leave(self, attempt: Attempt) -> None:
        """Take note of a message's end without its thread, which is left behind."""
        self.work.outcomes.append(attempt.timed_out())

    def _begin(self) -> bool:
        """Begin with the next group; return False when there is none, or nothing more is to be started."""
        work = self.work
        for group in self._groups:
            with self._lock:
                if self._closed:
                    return False
                self._rest = iter(()) if isinstance(group, Broken) else iter(group.arguments)
                self._end += group.count
            if not work.tasks:
                work.lap()  # loading the first function, and all that it imports, is no task's time
            work.tasks.add(group)
            if isinstance(group, Group):
                self._group = group
                self._arguments = self._rest if self._wrap is None else self._wrap(self._rest)
                return True
            work.outcomes.extend(repeat(Raised(group.error, CANNOT_LOAD), group.count))
        return False

    def _stream(self, results: Iterator[Any], last: int) -> None:
        """Let results come until the group's end, or the message *last*."""
        out = self.work.outcomes
        while len(out) < min(self._end, last):
            try:
                out.extend(results)
            except BaseException as error:  # noqa: BLE001  whatever a task raises is its own failure
                out.append(ended(error))
            else:
                self._mind_the_gap(last)

    def _mind_the_gap(self, last: int) -> None:
        """The calls have no more arguments: if a result is missing, its task has raised what ends an iterator."""
        out = self.work.outcomes
        if len(out) < min(self._end, last):
            with self._lock:  # whoever takes the rest back has said so now
                missing = len(out) < min(self._end, last)
            if missing:
                out.append(ended(StopIteration()))

    def _run_with_times(self, seat: Seat, call: Callable[..., Any]) -> None:
        out = self.work.outcomes
        while (index := len(out)) < self._end:
            last, seconds = self.work.stretch(index)
            if seconds is None:
                self._stream(starmap(call, islice(self._arguments, last - index)), last)
            elif (arguments := next(self._arguments, None)) is None:
                self._mind_the_gap(last)
            else:
                # A thread that is left behind still knows which message is its own.
                seat.index = index
                value = self._timed(seat, seconds, partial(call, *arguments))
                seat.index = None
                out.append(value)
