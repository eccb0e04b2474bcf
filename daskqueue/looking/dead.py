"""Dead letters as their pool's user sees them: looked through, run again, thrown away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from daskqueue.actors.settlement import runs_of
from daskqueue.arguments import check_count
from daskqueue.jobs.job import Job
from daskqueue.looking.content import Content, Seen
from daskqueue.message import pack_id
from daskqueue.results import Failure, decode_result
from daskqueue.status import html_table, time_text

if TYPE_CHECKING:
    from daskqueue.handle import PoolHandle
    from daskqueue.pool import QueuePool

# What a queue is asked for at a time.
PAGE_MESSAGES = 500
PAGE_BYTES = 4 << 20
# With a rate, this many bites a second are sent.
_BITES = 10

Where = Callable[["DeadLetter"], bool]
# A method of the class is called list.
_Letters = list["DeadLetter"]
_Rows = list[tuple[Any, ...]]


class DeadLetter(Seen):
    """A message that will not run again unless it is redriven.

    Attributes:
        job: its handle; ``job.retry()`` lets it run again.
        reason: ``raised`` (out of retries), ``not_retryable``, ``rejected``, ``crash_loop``, ``cannot_load``,
            ``cannot_pickle_result``, ``damaged``.
        attempts: how often it ran and raised.
        deliveries: how often it was handed to a consumer, as far as it is known.
        submitted_at: when it was put, to about a hundredth of its age; None if that is not known.
        died_at: when it died; None if that is not known.
    """

    __slots__ = ("_failure", "attempts", "deliveries", "died_at", "job", "reason", "submitted_at")

    def __init__(self, job: Job, row: Sequence[Any], position: int) -> None:
        _, _, attempts, losses, reason, put_at, died_at, batch, failures = row
        super().__init__(Content(batch, position))
        self.job = job
        self.reason: str = reason
        self.attempts: int = attempts
        self.deliveries: int = attempts + losses
        self.submitted_at = moment_of(put_at)
        self.died_at = moment_of(died_at)
        self._failure = (failures, position)

    @property
    def exception(self) -> Exception | None:
        """What the task raised at last; None if it raised nothing, as when its process died."""
        failure = self._decoded()
        return failure.exception() if failure else None

    @property
    def traceback(self) -> str | None:
        """The traceback of :attr:`exception`, as text."""
        failure = self._decoded()
        return failure.traceback if failure else None

    @property
    def summary(self) -> str:
        """Type and message of what was raised, or the reason where nothing was."""
        failure = self._decoded()
        return failure.summary if failure else self.reason

    def _decoded(self) -> Failure | None:
        blob, position = self._failure
        failure = decode_result(blob, position) if blob else None
        return failure if isinstance(failure, Failure) else None

    def __repr__(self) -> str:
        tried = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        return f"<DeadLetter {self.job.id}: {self._content}, {self.reason} after {tried}: {self.summary}>"


class DeadLetterList(list[DeadLetter]):
    """Dead letters, the one that died first in front; prints one in each line, and a table in notebooks."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "no dead letters"

    def _repr_html_(self) -> str:
        head = ("job", "call", "reason", "raised", "attempts", "submitted", "died")
        return html_table(head, [_cells(letter) for letter in self])


class DeadLetters:
    """The dead letters of all queues of a pool; ``pool.dead``.

    With an asynchronous client, every method returns an awaitable.
    """

    def __init__(self, pool: PoolHandle) -> None:
        self._pool = pool

    def list(self, limit: int | None = None, where: Where | None = None) -> DeadLetterList:
        """Return dead letters, the one that died first in front.

        Args:
            limit: how many at most; None for all.
            where: called with each; says whether it is wanted.

        Raises:
            QueueLostError: a queue does not answer.
        """
        _check(limit, where)
        return self._pool.sync(self._list, limit, where)

    def count(self) -> int:
        """Return how many there are."""
        return self._pool.sync(self._count)

    def reasons(self) -> dict[str, int]:
        """Return how many there are for each reason."""
        return self._pool.sync(self._reasons)

    def redrive(self, limit: int | None = None, rate: float | None = None, where: Where | None = None) -> int:
        """Let dead letters run again, with all their attempts; return how many, once that is durable.

        Args:
            limit: how many at most; None for all.
            rate: how many a second, so that they do not all come at once; None for as fast as it goes.
            where: called with each; says whether it is wanted.
        """
        _check(limit, where)
        if rate is not None and not rate > 0:
            raise ValueError(f"rate is {rate!r}; give messages a second, more than 0, or None for no bound")
        return self._pool.sync(self._redrive, limit, rate, where)

    def purge(self, where: Where | None = None) -> int:
        """Throw dead letters away for good; return how many, once that is durable.

        Args:
            where: called with each; says which. None for all of them.
        """
        _check(None, where)
        return self._pool.sync(self._purge, where)

    # On the client's event loop

    async def _list(self, limit: int | None, where: Where | None) -> DeadLetterList:
        # The same number of each queue, so that the oldest of all are among them.
        parts = await asyncio.gather(*(self._list_of(index, limit, where) for index in self._indexes))
        letters = [letter for part in parts for letter in part]
        letters.sort(key=lambda letter: (letter.died_at or datetime.min.replace(tzinfo=UTC), letter.job.id))
        return DeadLetterList(letters[:limit])

    async def _list_of(self, index: int, limit: int | None, where: Where | None) -> _Letters:
        letters: _Letters = []
        async for _, found in self._wanted(index, where, limit if where is None else None):
            letters += found
            if limit is not None and len(letters) >= limit:
                break
        return letters[:limit]

    async def _reasons(self) -> dict[str, int]:
        counted: Counter[str] = Counter()
        calls = (self._pool.queues.call(index, "dead.count") for index in self._indexes)
        for reasons in await asyncio.gather(*calls):
            counted.update(reasons)
        return dict(counted)

    async def _count(self) -> int:
        return sum((await self._reasons()).values())

    async def _redrive(self, limit: int | None, rate: float | None, where: Where | None) -> int:
        if limit is None and rate is None and where is None:
            return await self._all("dead.redrive")
        pace = _Pace(rate)
        done = 0
        for index in self._indexes:
            async for incarnation, sequences in self._sequences(index, where):
                chosen = sequences if limit is None else sequences[: limit - done]
                for start in range(0, len(chosen), pace.bite):
                    bite = chosen[start : start + pace.bite]
                    await pace.wait(len(bite))
                    done += await self._tell(index, "dead.redrive", incarnation, bite)
                if limit is not None and done >= limit:
                    return done
        return done

    async def _purge(self, where: Where | None) -> int:
        if where is None:
            return await self._all("dead.purge")
        done = 0
        for index in self._indexes:
            async for incarnation, sequences in self._sequences(index, where):
                done += await self._tell(index, "dead.purge", incarnation, sequences)
        return done

    async def _all(self, verb: str) -> int:
        calls = (self._pool.queues.call(index, verb, None, None) for index in self._indexes)
        return sum(last - first for runs in await asyncio.gather(*calls) for first, last in runs)

    async def _tell(self, index: int, verb: str, incarnation: int, sequences: Sequence[int]) -> int:
        runs = await self._pool.queues.call(index, verb, incarnation, runs_of(sequences))
        return sum(last - first for first, last in runs)

    async def _sequences(self, index: int, where: Where | None) -> AsyncIterator[tuple[int, Sequence[int]]]:
        """Yield the sequences of the dead letters of a queue that are wanted, with its incarnation."""
        if where is not None:
            async for incarnation, letters in self._wanted(index, where, None):
                yield incarnation, [letter.job.place.sequence for letter in letters]
            return
        async for incarnation, rows in self._pages(index, whole=False, limit=None):
            yield incarnation, [sequence for row in rows for sequence in range(row[0], row[1])]

    async def _wanted(
        self, index: int, where: Where | None, limit: int | None
    ) -> AsyncIterator[tuple[int, _Letters]]:
        pool = cast("QueuePool", self._pool)
        async for incarnation, rows in self._pages(index, whole=True, limit=limit):
            letters = [
                DeadLetter(Job(pool, pack_id(index, incarnation, sequence)), row, sequence - row[0])
                for row in rows
                for sequence in range(row[0], row[1])
            ]
            # Not on the event loop: it is the user's own code, and it unpickles.
            yield incarnation, await asyncio.to_thread(_chosen, letters, where)

    async def _pages(self, index: int, *, whole: bool, limit: int | None) -> AsyncIterator[tuple[int, _Rows]]:
        """Yield the rows of a queue's dead letters page by page, with its incarnation."""
        after: int | None = 0
        while after is not None and (limit is None or limit > 0):
            size = PAGE_MESSAGES if limit is None else min(limit, PAGE_MESSAGES)
            ref, (rows, after) = await self._pool.queues.call_at(
                index, "dead.list", after, size, PAGE_BYTES, whole, deadline=30.0, patience=60.0
            )
            yield ref.incarnation, rows
            if limit is not None:
                limit -= sum(row[1] - row[0] for row in rows)

    @property
    def _indexes(self) -> range:
        return range(self._pool.n_queues)

    def __repr__(self) -> str:
        return f"<dead letters of {self._pool.name!r}>"


class _Pace:
    """Lets so many a second pass."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._began: float | None = None
        self._passed = 0
        self.bite = PAGE_MESSAGES if rate is None else max(int(rate / _BITES), 1)

    async def wait(self, count: int) -> None:
        """Return when *count* more may pass."""
        if self._rate is None:
            return
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
        await asyncio.sleep(self._began + self._passed / self._rate - now)
        self._passed += count


def moment_of(epoch_seconds: float | None) -> datetime | None:
    """Return a moment with its time zone, None where it is not known."""
    return None if epoch_seconds is None else datetime.fromtimestamp(epoch_seconds, UTC)


def _chosen(letters: Sequence[DeadLetter], where: Where | None) -> list[DeadLetter]:
    return [letter for letter in letters if where is None or where(letter)]


def _check(limit: int | None, where: Where | None) -> None:
    if limit is not None:
        check_count("limit", limit)
    if where is not None and not callable(where):
        raise TypeError(f"where is {where!r:.80}; give a function that is called with each dead letter")


def _cells(letter: DeadLetter) -> tuple[str, ...]:
    times = (time_text(letter.submitted_at), time_text(letter.died_at))
    call = str(letter._content)  # noqa: SLF001  the same thing
    return (str(letter.job.id), call, letter.reason, letter.summary, str(letter.attempts), *times)
