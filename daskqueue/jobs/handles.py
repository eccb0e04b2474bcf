"""The handles of many messages, which cost nothing until they are looked at."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, overload

from daskqueue.jobs.job import Job, R_co
from daskqueue.message import pack_id

if TYPE_CHECKING:
    from daskqueue.actors.producer import Placed
    from daskqueue.pool import QueuePool


class Jobs(Sequence[Job[R_co]], Generic[R_co]):
    """The handles of many messages, in the order they were submitted; a handle is made when it is looked at.

    A slice of step 1 is ``Jobs`` again.

    Attributes:
        parts: where they were put: the place of the first message of each part, and how many follow it.
    """

    def __init__(self, pool: QueuePool, parts: Sequence[tuple[Placed, int]]) -> None:
        self._pool = pool
        self.parts = list(parts)
        # The number of the first message of each part, and one past the last.
        self._starts = [0, *itertools.accumulate(count for _, count in self.parts)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __repr__(self) -> str:
        return f"<{len(self)} jobs of {self._pool.name!r}>"

    @overload
    def __getitem__(self, index: int) -> Job[R_co]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Job[R_co]]: ...
    def __getitem__(self, index: int | slice) -> Job[R_co] | Sequence[Job[R_co]]:
        if isinstance(index, slice):
            chosen = range(len(self))[index]
            if chosen.step == 1:
                return self._between(chosen.start, chosen.stop)
            return [self[at] for at in chosen]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"there is no job {index} among {len(self)}")
        part = bisect_right(self._starts, at) - 1
        return self._job(self.parts[part][0], at - self._starts[part])

    def __iter__(self) -> Iterator[Job[R_co]]:
        for placed, count in self.parts:
            for offset in range(count):
                yield self._job(placed, offset)

    @property
    def pool(self) -> QueuePool:
        """The pool that the messages are in."""
        return self._pool

    @property
    def pool_id(self) -> str:
        """The id of that pool."""
        return self._pool.pool_id

    def ids(self) -> Iterator[int]:
        """Yield the jobs' ids without making handles."""
        for placed, count in self.parts:
            first = pack_id(placed.queue, placed.incarnation, placed.first)
            yield from range(first, first + count)

    def __reduce__(self) -> tuple[Any, ...]:
        return Jobs, (self._pool, self.parts)

    def _between(self, start: int, stop: int) -> Jobs[R_co]:
        parts = []
        for (placed, count), first in zip(self.parts, self._starts, strict=False):
            since, until = max(start, first), min(stop, first + count)
            if since < until:
                parts.append((placed._replace(first=placed.first + since - first), until - since))
        return Jobs(self._pool, parts)

    def _job(self, placed: Placed, offset: int) -> Job[R_co]:
        return Job(self._pool, pack_id(placed.queue, placed.incarnation, placed.first + offset))
