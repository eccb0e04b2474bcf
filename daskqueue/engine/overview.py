"""What people look at: the messages that come next, and numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple

from daskqueue.core import reads
from daskqueue.core.special import with_terms
from daskqueue.engine.batches import BatchReader, Slice
from daskqueue.engine.ledger import Ledger
from daskqueue.engine.reading import QueueReading
from daskqueue.errors import StorageError
from daskqueue.message import PLAIN, Run, Terms


class WaitingRow(NamedTuple):
    """Messages that wait, beside each other and alike.

    Attributes:
        first, last: their run.
        state: ``ready`` or ``delayed``.
        attempts: tries of each that raised.
        losses: deliveries of each that were lost.
        due_at: when they are ready; None for now, or if that depends on others.
        terms: what else was chosen for them; None for nothing.
        put_at: when they were put; None if that is not known.
        batch: their record batch; empty if it cannot be read.
    """

    first: int
    last: int
    state: str
    attempts: int
    losses: int
    due_at: float | None
    terms: Terms | None
    put_at: float | None
    batch: bytes


class Overview:
    """Looks at an open queue, and disturbs nothing. All methods run on the engine's event loop.

    Args:
        ledger: the queue's state.
        reader: finds record batches.
        thread: where the disk is read.
        read: takes a reading for metrics.
    """

    def __init__(
        self, ledger: Ledger, reader: BatchReader, thread: Executor, read: Callable[[], QueueReading]
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._thread = thread
        self._read = read
        # Where the counters stood when the queue was opened, for rates.
        self._opened_at = ledger.clock.now()
        self._began = dict(self._counters())

    async def peek(self, limit: int, max_bytes: int) -> list[WaitingRow]:
        """Return what will be delivered next, in order; nothing is leased.

        Args:
            limit: how many messages at most.
            max_bytes: about how many bytes at most; one row comes in any case.
        """
        rows: list[WaitingRow] = []
        size = 0
        for run, state, tally, due_at in reads.upcoming(self._ledger.queue, self._ledger.clock.now(), limit):
            for part in await self._slices(run):
                for first, last, terms in with_terms(self._ledger.queue, part.first, part.first + part.size):
                    put_at = self._ledger.book.marks.put_at(first)
                    chosen = None if terms == PLAIN else terms
                    batch = part.cut(first, last) if part.data else b""
                    rows.append(
                        WaitingRow(first, last, str(state), *tally[:2], due_at, chosen, put_at, batch)
                    )
                    size += len(batch)
                if size > max_bytes:
                    return rows
        return rows

    def stats(self) -> dict[str, Any]:
        """Return numbers about the queue: counts by state, bytes, counters, and rates since it was opened."""
        reading = self._read()
        counters = self._counters()
        seconds = max(self._ledger.clock.now() - self._opened_at, 1e-3)
        return {
            "messages": {str(state): count for state, count in reading.messages.items()},
            "message_bytes": reading.message_bytes,
            "oldest_seconds": {str(state): age for state, age in reading.oldest_seconds.items()},
            "paused": reading.paused,
            "counters": counters,
            "dead_by_reason": dict(reading.counters.dead),
            "seconds_open": seconds,
            "rates": {name: (counters[name] - self._began.get(name, 0)) / seconds for name in RATES},
            "log_bytes": reading.log_bytes,
            "results_bytes": reading.results_bytes,
            "corrupt_records": reading.corrupt_records,
            "quarantined_files": reading.quarantined_files,
            "epoch": reading.epoch,
        }

    def _counters(self) -> dict[str, int]:
        counters = self._ledger.queue.counters
        names = [name for name in counters.__slots__ if name != "dead"]
        return {name: getattr(counters, name) for name in names} | {"dead": sum(counters.dead.values())}

    async def _slices(self, run: Run) -> list[Slice]:
        entries = self._ledger.book.positions.overlapping(*run)

        def read() -> list[Slice]:
            return [part for entry in entries for part in self._reader.read_slices(entry)]

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, read)
        except StorageError:  # it was moved, or settled, and its segment is gone
            return [Slice(run.first, run.count, b"")]


RATES = ("enqueued", "delivered", "acked", "retried", "dead")
