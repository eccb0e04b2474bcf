"""How messages ended, as those hear of it who ask: results, failures, and what is said where nothing is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from daskqueue.core import reads
from daskqueue.core.runs import merge
from daskqueue.core.tally import State
from daskqueue.engine.ledger import Ledger
from daskqueue.engine.outcomes import Missing, Page, cut
from daskqueue.engine.records import Outcome
from daskqueue.message import Run


class Endings:
    """Reads outcomes, but only of messages that have come to their end.

    Args:
        ledger: the queue.
        thread: the engine's own thread, for reads.
    """

    def __init__(self, ledger: Ledger, thread: ThreadPoolExecutor) -> None:
        self._ledger = ledger
        self._thread = thread

    async def outcomes(self, run: Run) -> list[Outcome]:
        """Return how the messages of *run* ended, those of them that did and are still kept."""
        await self._scan_outcomes()
        failures = [
            part
            for entry in self._ledger.book.failures.overlapping(run.first, run.last)
            for part in self._ledger.files.read_failures(entry)
        ]
        return [
            part for outcome in self._ledger.outcomes.find(run) for part in self._of_settled(outcome)
        ] + failures

    def missing(self) -> Missing:
        """Return what is to be said of settled messages that :meth:`outcomes` knows nothing of."""
        missing = self._ledger.outcomes.missing()
        if not self._ledger.files.quarantine.places:
            return missing
        return missing._replace(
            reason=f"{missing.reason}, or is in a part of the queue's files that is damaged (`daskqueue verify`)"
        )

    async def page(self, pool: str, after: tuple[int, int] | None, max_bytes: int) -> Page:
        """Return a part of what the tasks of a consumer pool returned; see ``OutcomeStore.page``."""
        await self._scan_outcomes()
        loop = asyncio.get_running_loop()
        raw = await loop.run_in_executor(
            self._thread, self._ledger.outcomes.read_page, pool, after, max_bytes
        )
        page = self._ledger.outcomes.current(raw)
        return page._replace(
            outcomes=[part for outcome in page.outcomes for part in self._of_settled(outcome)]
        )

    def _of_settled(self, outcome: Outcome) -> Iterator[Outcome]:
        """Yield what an outcome says of settled messages; a crash may have come between result and ack."""
        settled = merge(
            part
            for run in outcome.runs
            for part, state in reads.state_of(self._ledger.queue, run)
            if state is State.SETTLED
        )
        if settled == outcome.runs:
            yield outcome
        else:
            yield from cut(outcome, settled)

    async def _scan_outcomes(self) -> None:
        if not self._ledger.outcomes.scanned:
            loop = asyncio.get_running_loop()
            self._ledger.outcomes.admit_old(
                await loop.run_in_executor(self._thread, self._ledger.outcomes.read_old)
            )
