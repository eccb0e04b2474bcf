"""How messages ended, as a queue tells it: many of them in one part, whose results are one blob."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from daskqueue.batch import Batch
from daskqueue.core.runs import Runs
from daskqueue.message import Run
from daskqueue.results import decode_results

RETURNED = "returned"
FAILED = "failed"


class Part:
    """How the messages of some runs of one queue ended.

    Args:
        base_id: the id that sequence 0 of the queue has in this incarnation.
        state: ``returned``, ``failed``, ``cancelled``, ``expired``, ``displaced`` or ``lost``.
        runs: which messages, sorted.
        blob: their results or failures, in that order.
        reason: of the dead letter, or why a result is not kept.
    """

    __slots__ = ("_batch", "_singly", "_values", "base_id", "blob", "reason", "runs", "state")

    def __init__(self, base_id: int, state: str, runs: Runs, blob: bytes, reason: str) -> None:
        self.base_id = base_id
        self.state = state
        self.runs = runs
        self.blob = blob
        self.reason = reason
        self._batch: Batch | None = None
        self._values: dict[int, Any] = {}  # unpickled and not given yet
        self._singly = True

    def __repr__(self) -> str:
        return f"<Part: {self.state} {self.runs}>"

    def ids(self, runs: Iterable[Run]) -> Iterator[int]:
        """Yield the ids of the messages of *runs*."""
        return itertools.chain.from_iterable(
            range(self.base_id + first, self.base_id + last) for first, last in runs
        )

    def positions(self, runs: Runs) -> Iterable[int]:
        """Return where in the blob the messages of *runs* are, in their order; all must be in this part."""
        if runs == self.runs:
            return range(sum(run.count for run in runs))
        return itertools.chain.from_iterable(self._positions(runs))

    def position(self, sequence: int) -> int | None:
        """Return where in the blob a message is, None if it is not in this part."""
        at = bisect_right(self.runs, (sequence, _END)) - 1
        if at < 0 or sequence >= self.runs[at].last:
            return None
        return sum(run.count for run in self.runs[:at]) + sequence - self.runs[at].first

    def values(self, runs: Runs) -> list[Any]:
        """Return the results of the messages of *runs*; a Failure or a Broken stands where there is none."""
        values = decode_results(self.blob)
        return values if runs == self.runs else [values[position] for position in self.positions(runs)]

    def value(self, position: int) -> Any:
        """Return one result, a new object each time; see :meth:`values`.

        Who asks for several is likely to ask for the others: they are unpickled together, and each given once.
        """
        value = self._values.pop(position, _MISSING)
        if value is not _MISSING:
            return value
        if self._batch is None:
            self._batch = Batch.parse(self.blob)
        elif self._singly:
            self._singly = False
            self._values = dict(enumerate(self._batch.item_list()))
            return self._values.pop(position)
        return self._batch.item(position)

    def _positions(self, runs: Runs) -> Iterator[range]:
        start = 0
        mine = iter(self.runs)
        run = next(mine)
        for first, last in runs:
            while run.last <= first:
                start += run.count
                run = next(mine)
            yield range(start + first - run.first, start + last - run.first)


class Ended(NamedTuple):
    """How one job ended: its part, and where in that it is."""

    part: Part
    position: int

    @property
    def state(self) -> str:
        """See :class:`Part`."""
        return self.part.state

    @property
    def reason(self) -> str:
        """See :class:`Part`."""
        return self.part.reason

    def value(self) -> Any:
        """Return what the task returned, or its Failure; None where nothing is kept."""
        return self.part.value(self.position) if self.part.blob else None


_END = 1 << 62
_MISSING = object()
