"""The demo's task, and the evidence that each of them has run and none is missing."""

from __future__ import annotations

import functools
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class RunCounts:
    """How often each task was run: one byte a task in a file that all processes map.

    What was written to a shared map belongs to the system, so it stays when its writer is killed with -9.
    """

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), 0)

    @classmethod
    def create(cls, path: Path, tasks: int) -> RunCounts:
        """Make the file for *tasks* tasks, none of which has run yet."""
        path.write_bytes(bytes(tasks))
        return cls(str(path))

    def add(self, task: int) -> None:
        """Count one run of a task; more than 255 are not told apart."""
        self._bytes[task] = min(self._bytes[task] + 1, 255)

    def started(self) -> int:
        """Return how many tasks have run at least once."""
        return len(self._bytes) - self._bytes[:].count(0)

    def repeated(self) -> int:
        """Return how many tasks have run more than once."""
        return self.started() - self._bytes[:].count(1)


_counts = functools.cache(RunCounts)


def process_item(path: str, task: int) -> int:
    """Do the notebook's task, with its number in what it returns so that no two results are alike."""
    _counts(path).add(task)
    return value_of(task)


def value_of(task: int) -> int:
    """Return what the task with this number must return."""
    return sum(i * i for i in range(10**2)) + task


class Proof(NamedTuple):
    """What is left to doubt once all tasks are said to be done.

    Args:
        submitted: how many tasks were submitted.
        missing: how many of them have no result under their id.
        wrong: how many results are not what their task returns.
        unknown: how many results have an id that nobody submitted.
    """

    submitted: int
    missing: int
    wrong: int
    unknown: int

    @property
    def holds(self) -> bool:
        """Whether every task has its own result, and there is nothing else."""
        return not (self.missing or self.wrong or self.unknown)


def prove(ids: Sequence[int], results: Mapping[str, Mapping[int, int]]) -> Proof:
    """Compare task by task what was submitted with what the consumers returned.

    Args:
        ids: the id of each task, in the order of their numbers.
        results: what ``ConsumerPool.results()`` returned.
    """
    found = {number: value for values in results.values() for number, value in values.items()}
    done = [(task, found[number]) for task, number in enumerate(ids) if number in found]
    return Proof(
        submitted=len(ids),
        missing=len(ids) - len(done),
        wrong=sum(value != value_of(task) for task, value in done),
        unknown=len(found.keys() - set(ids)),
    )
