"""The only door to a queue's state and files: every command, and how durable its answer is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from daskqueue.batch import Batch
from daskqueue.clock import Clock, Stopwatch
from daskqueue.core import reads
from daskqueue.core.apply import apply
from daskqueue.core.commands import (
    Cancel,
    Pause,
    Purge,
    Put,
)
from daskqueue.core.facts import Committed, Enqueued
from daskqueue.core.runs import merge
from daskqueue.core.tally import State
from daskqueue.engine.batches import BatchReader
from daskqueue.engine.commit import GroupCommit
from daskqueue.engine.dead_letters import DeadLetters
from daskqueue.engine.endings import Endings
from daskqueue.engine.files import Files
from daskqueue.engine.large import LARGE_BYTES, Reference, Sweeper, new_reference
from daskqueue.engine.leases import Leases
from daskqueue.engine.ledger import Ledger
from daskqueue.engine.meter import Meter
from daskqueue.engine.outcomes import OutcomeStore
from daskqueue.engine.overview import Overview
from daskqueue.engine.reading import QueueReading, read
from daskqueue.engine.records import fact_frame
from daskqueue.engine.recovery import Book
from daskqueue.engine.settings import QueueSettings
from daskqueue.engine.upkeep import Upkeep
from daskqueue.errors import QueueFullError, StorageError
from daskqueue.message import PutOptions, Run

logger = logging.getLogger(__name__)


class Counts(NamedTuple):
    """How many messages of a queue are in each state."""

    ready: int
    delayed: int
    leased: int
    dead: int

    @property
    def pending(self) -> int:
        return self.ready + self.delayed + self.leased


class Engine:
    """One open queue.

    All methods run on one event loop; only syncs, large reads and the rolling of segments leave it for the
    engine's own thread. A command decides and writes at once; its answer leaves when it is durable enough.

    Args:
        files: the opened files of the queue.
        settings: what can be set about it.
        clock: reads the time.
        thread: the engine's own thread.
        on_ready: called when messages may have become ready to lease.
        on_settled: called when messages came to an end.
        meter: measures what happens; one of its own by default.
    """

    def __init__(
        self,
        files: Files,
        settings: QueueSettings,
        clock: Clock,
        thread: ThreadPoolExecutor,
        *,
        on_ready: Callable[[], object],
        on_settled: Callable[[], object],
        meter: Meter | None = None,
    ) -> None:
        self._files = files
        self._book: Book = files.book
        self._queue = files.book.queue
        self._settings = settings
        self._clock = clock
        self._thread = thread
        self._on_ready = on_ready
        self._on_settled = on_settled
        self._meter = meter or Meter()
        self._reader = BatchReader(files.log, files.book.positions, files.large)
        self._outcomes: OutcomeStore = files.outcomes
        self._commit = GroupCommit(
            self._meter.timed(files.log.sync),
            self._meter.timed(files.sync),
            lambda: self._queue.next_sequence,
            self._committed,
            thread,
            settings.lazy_seconds(),
        )
        self.ledger = Ledger(files, self._commit, clock, self._ended)
        self._upkeep = Upkeep(files, self._reader, thread, clock)
        self._sweeper = Sweeper(files, thread)
        self.leases = Leases(
            self.ledger, self._reader, self._meter, settings, thread, self.writable, on_ready
        )
        self.endings = Endings(self.ledger, thread)
        self.dead = DeadLetters(self.ledger, self._reader, thread, self.writable, on_ready)
        self.overview = Overview(self.ledger, self._reader, thread, self.reading)

    # Commands

    async def writable(self) -> None:
        """Return when no segment is being sealed; the commands that do not wait must follow it at once."""
        await self._upkeep.wait()

    async def put(self, producer: bytes, puts: Sequence[tuple[int, bytes, PutOptions]]) -> list[int]:
        """Append record batches; return the sequence of each one's first message once they are durable.

        When the queue becomes full on the way, only those that fitted are put, and returned.

        Args:
            producer: 16 bytes that name who puts.
            puts: the producer's number, the bytes and the options of each record batch. A number put before
                is not put again; its first sequence is returned. Where a key is taken, nothing is put, and
                ``-1 - sequence`` of the message that has it is returned.

        Raises:
            BatchError: bytes that are no record batch; nothing is put.
            QueueFullError: no room for the first of them.
            StorageError: the disk refused.
        """
        batches = [Batch.parse(data) for _, data, _ in puts]
        watch = Stopwatch()
        references = await self._write_large(producer, puts, batches)
        await self.writable()
        now = self._clock.now()
        firsts: list[int] = []
        try:
            for put, batch in zip(puts, batches, strict=True):
                firsts.append(self._put_one(producer, put, batch, now, references.pop(put[0], None)))
        except QueueFullError:
            if not firsts:
                raise
        finally:
            self._book.large.gone += [reference.name for reference in references.values()]
        await self._commit.durable()
        self._meter.put_seconds.observe(watch.seconds)
        return firsts

    async def _write_large(
        self, producer: bytes, puts: Sequence[tuple[int, bytes, PutOptions]], batches: Sequence[Batch]
    ) -> dict[int, Reference]:
        """Put large record batches into files of their own, before the log speaks of them; by number."""
        references: dict[int, Reference] = {}
        for put, batch in zip(puts, batches, strict=True):
            number, data, _ = put
            if len(data) < LARGE_BYTES or not self._would_take(producer, put, batch):
                continue
            references[number] = reference = new_reference(data)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._files.large.write, reference.name, data)
        return references

    def _would_take(self, producer: bytes, put: tuple[int, bytes, PutOptions], batch: Batch) -> bool:
        try:
            _, facts = self.ledger.decide(self._put_command(producer, put, batch))
        except QueueFullError:
            return False
        return any(isinstance(fact, Enqueued) for fact in facts)

    def _put_command(self, producer: bytes, put: tuple[int, bytes, PutOptions], batch: Batch) -> Put:
        number, data, options = put
        return Put(producer, number, batch.count, *options, size_bytes=len(data), held_bytes=self.held_bytes)

    def _put_one(
        self,
        producer: bytes,
        put: tuple[int, bytes, PutOptions],
        batch: Batch,
        now: float,
        reference: Reference | None,
    ) -> int:
        first, facts = self.ledger.decide(self._put_command(producer, put, batch))
        for fact in facts:
            if isinstance(fact, Enqueued):
                beside = reference.pack() if reference else put[1]
                (stretch,) = self._files.log.append([fact_frame(fact, beside)])
                self._book.enter(fact, stretch, reference)
                self._book.marks.note(first, now)
                self._reader.remember(stretch, first, batch)
            else:
                self.ledger.record([fact])
        return first

    @property
    def held_bytes(self) -> int:
        """How many bytes the messages take that have not come to an end."""
        return self._book.sizes.total

    async def cancel(self, runs: Iterable[Run]) -> tuple[Run, ...]:
        """Drop messages that wait; return those that were dropped, once that is durable.

        Those that are leased are noted: they never run again, see :meth:`asked`.
        """
        return await self._drop(Cancel(merge(runs)))

    async def purge(self) -> tuple[Run, ...]:
        """Drop all messages that wait; return them, once that is durable."""
        return await self._drop(Purge())

    async def _drop(self, command: Cancel | Purge) -> tuple[Run, ...]:
        await self.writable()
        runs, facts = self.ledger.decide(command)
        self.ledger.record(facts)
        await self._commit.durable()
        return runs

    async def pause(self, paused: bool) -> None:
        """Hand out nothing more, or go on; returns once that is durable."""
        await self.writable()
        _, facts = self.ledger.decide(Pause(paused))
        self.ledger.record(facts)
        await self._commit.durable()
        self._on_ready()

    # Reads

    def counts(self) -> Counts:
        """Return how many messages are in each state."""
        counted = reads.counts(self._queue)
        return Counts(*(counted[s] for s in (State.READY, State.DELAYED, State.LEASED, State.DEAD)))

    @property
    def enqueued(self) -> int:
        """How many messages were ever put."""
        return self._queue.counters.enqueued

    @property
    def epoch(self) -> int:
        """Which opening of the folder this is: 1, 2, ..."""
        return self._queue.epoch

    @property
    def failure(self) -> str | None:
        """Why the engine can do nothing more, None while it can."""
        return self._files.log.failure or self._outcomes.log.failure

    def reading(self) -> QueueReading:
        """Return what metrics tell of the queue at this moment."""
        return read(self._files, self._meter, self._clock.now())

    def finished(self, pool: str) -> int:
        """Return how many messages a consumer pool has settled."""
        return self._book.finished.get(pool, 0)

    def leasable(self) -> int:
        """Return how many messages could be leased now."""
        return reads.leasable(self._queue, self._clock.now())

    def fair_share(self) -> int:
        """Return how much one consumer may take of what is ready, so that enough is left for the others."""
        return self.leasable() // (2 * max(len(self._queue.held), 1))

    def seconds_to_next_event(self) -> float | None:
        """Return the seconds until a delayed message is due or a lease ends, None if nothing is awaited."""
        moment = reads.next_event_at(self._queue)
        return None if moment is None else max(moment - self._clock.now(), 0.0)

    def consumers(self) -> set[str]:
        """Return the consumers that hold leases."""
        return {lease.consumer for lease in self._queue.leases.values()}

    def states(self, run: Run) -> list[tuple[Run, State]]:
        """Return what state the messages of *run* are in."""
        return reads.state_of(self._queue, run)

    def notes(self, run: Run) -> list[tuple[int, bytes]]:
        """Return how far the messages of *run* said they are: sequence and note."""
        return sorted((s, note) for s, note in self._queue.notes.items() if run.first <= s < run.last)

    async def close(self) -> None:
        """Sync, write a checkpoint, and give up the folder; a failed engine only gives it up."""
        await self._upkeep.wait()
        try:
            await self._commit.flush()
            await self._sweeper.wait()
            self._files.write_checkpoint(self._files.take_checkpoint(self._clock.now()))
        except StorageError as error:
            # Nothing is lost by it: the next opening reads more of the log.
            logger.warning("A queue was closed without a checkpoint: %s", error)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Give up the folder as it is: what a killed process would leave behind."""
        self._commit.close()
        self._files.close()

    # Inside

    def _ended(self) -> None:
        self._on_settled()
        if self._queue.groups.lines:
            self._on_ready()  # it may be another's turn in a group

    def _committed(self, sequence: int) -> None:
        fresh = sequence - self._queue.committed
        if fresh > 0:
            self._meter.commit_messages.observe(fresh)
        apply(self._queue, Committed(sequence))
        self._on_ready()
        self._upkeep.start_if_due()
        self._sweeper.start_if_due()
