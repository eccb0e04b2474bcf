"""Dead letters: looked through page by page, run again, thrown away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

from daskqueue.core import reads
from daskqueue.core.commands import Discard, Redrive
from daskqueue.core.runs import Runs, intersect, merge, subtract
from daskqueue.core.tally import DeadLetter
from daskqueue.engine.batches import BatchReader, Slice
from daskqueue.engine.ledger import Ledger
from daskqueue.engine.outcomes import cut
from daskqueue.engine.records import FAILED, Outcome
from daskqueue.errors import StorageError
from daskqueue.message import Run

PURGED = "purged"


class DeadRow(NamedTuple):
    """Dead letters that lie beside each other and died alike.

    Attributes:
        first, last: their run.
        attempts: tries of each that raised.
        losses: deliveries of each that were lost.
        reason: why they died.
        put_at: when they were put, as far as it is known: not later than that, or None.
        died_at: when they died; None if that is not known.
        batch: their record batch; empty if it was not wanted or cannot be read.
        failures: what they raised, as a blob of results; empty if nothing was raised, or as *batch*.
    """

    first: int
    last: int
    attempts: int
    losses: int
    reason: str
    put_at: float | None
    died_at: float | None
    batch: bytes = b""
    failures: bytes = b""


class DeadLetters:
    """The dead letters of one open queue. All methods run on the engine's event loop.

    Args:
        ledger: the queue's state.
        reader: finds record batches.
        thread: where the disk is read.
        writable: returns when the log can be written without waiting.
        on_ready: called when messages may have become ready.
    """

    def __init__(
        self,
        ledger: Ledger,
        reader: BatchReader,
        thread: Executor,
        writable: Callable[[], Awaitable[None]],
        on_ready: Callable[[], object],
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._thread = thread
        self._writable = writable
        self._on_ready = on_ready

    async def page(
        self, after: int, limit: int, max_bytes: int, *, whole: bool
    ) -> tuple[list[DeadRow], int | None]:
        """Return dead letters from a sequence on, and where the next page begins, None if there is none.

        Args:
            after: the first sequence that is looked at.
            limit: how many messages a page has at most.
            max_bytes: about how many bytes it has at most; one row comes in any case.
            whole: whether to read record batches and failures.
        """
        rows: list[DeadRow] = []
        size = 0
        for run, letter in reads.dead_letters(self._ledger.queue, after, limit):
            for row in await self._rows(run, letter) if whole else [self._row(run, letter)]:
                if rows and size > max_bytes:
                    return rows, row.first
                rows.append(row)
                size += len(row.batch) + len(row.failures)
            limit -= run.count
        return rows, rows[-1].last if rows and limit <= 0 else None

    def count(self) -> dict[str, int]:
        """Return how many dead letters there are, by reason."""
        counted: Counter[str] = Counter()
        for first, last, letter in self._ledger.queue.dead:
            counted[letter.reason] += last - first
        return dict(counted)

    async def redrive(self, runs: Iterable[tuple[int, int]] | None, limit: int | None) -> Runs:
        """Let dead letters run again, with all their attempts; return which, once that is durable.

        Args:
            runs: which; None for all. What of them is no dead letter is left alone.
            limit: how many at most.
        """
        await self._writable()
        again, facts = self._ledger.decide(Redrive(runs, limit))
        self._ledger.record(facts)
        await self._ledger.durable()
        self._on_ready()
        return again

    async def purge(self, runs: Iterable[tuple[int, int]] | None) -> Runs:
        """Throw dead letters away, all or those in *runs*; return which, once that is durable."""
        await self._writable()
        gone, facts = self._ledger.decide(Discard(runs))
        if gone:
            self._ledger.outcomes.append(Outcome(FAILED, "", "", gone, b"", PURGED))
        try:
            self._ledger.record(facts)
        except StorageError:
            self._ledger.outcomes.take_back(gone)
            raise
        await self._ledger.durable()
        return gone

    def _row(self, run: Run, letter: DeadLetter, batch: bytes = b"", failures: bytes = b"") -> DeadRow:
        tally = letter.tally
        put_at = self._ledger.book.marks.put_at(run.first)
        if put_at is not None and letter.died_at is not None:
            put_at = min(put_at, letter.died_at)  # after a crash it is the time of the opening
        return DeadRow(
            *run, tally.attempts, tally.losses, letter.reason, put_at, letter.died_at, batch, failures
        )

    async def _rows(self, run: Run, letter: DeadLetter) -> list[DeadRow]:
        """Return the run in rows of one record batch and one blob of failures each."""
        found = await self._read(run)
        if found is None:
            found = await self._read(
                run
            )  # it was moved, and what it was in was dropped: look where it is now
        slices, failures = found or ([], [])
        return [self._row(part, letter, *both) for part, *both in sorted(_joined(run, slices, failures))]

    async def _read(self, run: Run) -> tuple[list[Slice], list[Outcome]] | None:
        book, files = self._ledger.book, self._ledger.files
        placed = book.positions.overlapping(*run)
        failed = book.failures.overlapping(*run)

        def read() -> tuple[list[Slice], list[Outcome]]:
            slices = [part for entry in placed for part in self._reader.read_slices(entry)]
            return slices, [part for entry in failed for part in files.read_failures(entry)]

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, read)
        except StorageError:
            return None


def _joined(
    run: Run, slices: Sequence[Slice], failures: Sequence[Outcome]
) -> Iterator[tuple[Run, bytes, bytes]]:
    """Yield parts of a run with the record batch and the failures of each; empty where there is none."""
    told = [outcome for outcome in failures if len(outcome.blob)]
    at = run.first
    for part in slices:
        whole = Run(part.first, part.first + part.size)
        yield from ((gap, b"", b"") for gap in _gaps(at, whole.first))
        for outcome in told:
            for piece in cut(outcome, intersect(outcome.runs, (whole,))):
                yield piece.runs[0], part.cut(*piece.runs[0]), bytes(piece.blob)
        silent = subtract((whole,), merge(each for outcome in told for each in outcome.runs))
        yield from ((piece, part.cut(*piece), b"") for piece in silent)
        at = whole.last
    yield from ((gap, b"", b"") for gap in _gaps(at, run.last))


def _gaps(first: int, last: int) -> list[Run]:
    return [Run(first, last)] if first < last else []
