"""How long the tasks of a slice took, as far as that can be told without a clock for each of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from daskqueue.batch import Broken, Group
from daskqueue.engine.records import RETURNED

if TYPE_CHECKING:
    from daskqueue.actors.settlement import Settlement
    from daskqueue.actors.work import Cut

RAISED = "raised"
# A chunk that holds calls of several functions is timed as one.
MIXED = "mixed"
UNKNOWN = "unknown"
# Tasks quicker than this on the average are told of by their average.
_QUICK_SECONDS = 0.001
_NAME_LENGTH = 80


class Timing(NamedTuple):
    """Some tasks of one name that ended alike and took so many seconds each."""

    task: str
    outcome: str
    seconds: float
    messages: int


class TaskNames:
    """Which task each message of a slice runs: a name for each stretch of them, told while they run."""

    __slots__ = ("_ends", "_function", "_names")

    def __init__(self) -> None:
        self._names: list[str] = []
        self._ends: list[int] = []
        self._function: object = None

    def __len__(self) -> int:
        return len(self._names)

    def add(self, group: Group | Broken) -> None:
        """Name the messages that follow those named before."""
        functions = () if isinstance(group, Broken) else group.functions
        function = functions[0] if len(functions) == 1 else None
        if function is not None and function is self._function:
            self._ends[-1] += group.count
            return
        self._function = function
        name = _name_of(function) if function is not None else MIXED if functions else UNKNOWN
        if self._names and self._names[-1] == name:
            self._ends[-1] += group.count
        else:
            self._names.append(name)
            self._ends.append((self._ends[-1] if self._ends else 0) + group.count)

    def within(self, start: int, end: int) -> Iterator[tuple[str, int, int]]:
        """Yield each name in a stretch of messages, with where it begins and ends there."""
        for name, until in zip(self._names, self._ends, strict=False):
            if until > start:
                yield name, start, min(until, end)
                start = until
            if start >= end:
                return


def timings(cut: Cut, settlements: Iterable[Settlement]) -> Iterator[Timing]:
    """Yield how long the finished messages of a slice took.

    With one thread they share what has passed since the last cut, or since the first of them was loaded; with
    several each has its own time.

    Args:
        cut: the finished messages.
        settlements: what is said of them, which knows how they ended.
    """
    work = cut.work
    each = work.lap() / len(cut.values)
    for settlement in settlements:
        for outcome, pairs in ((RETURNED, settlement.returned), (RAISED, settlement.raised)):
            for first, last in pairs:
                for task, start, end in work.tasks.within(first - work.first, last - work.first):
                    if work.spent is None:
                        yield Timing(task, outcome, each, end - start)
                    else:
                        yield from _spent(task, outcome, work.spent[start:end])


def _spent(task: str, outcome: str, seconds: Sequence[float]) -> Iterator[Timing]:
    mean = sum(seconds) / len(seconds)
    if mean < _QUICK_SECONDS:
        yield Timing(task, outcome, mean, len(seconds))
    else:
        yield from (Timing(task, outcome, value, 1) for value in seconds)


def _name_of(function: object) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    if inspect.ismethod(function):
        owner = function.__self__
        name = f"{getattr(owner, '__name__', type(owner).__name__)}.{name}"
    return str(name)[:_NAME_LENGTH]
