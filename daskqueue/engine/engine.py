"""The only door to a queue's state and files: every command, and how durable its answer is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from daskqueue.core.readers import END
from daskqueue.core.runs import merge
from daskqueue.core.tally import State
from daskqueue.engine.batches import BatchReader
from daskqueue.engine.book import Book
from daskqueue.engine.commit import GroupCommit
from daskqueue.engine.dead_letters import DeadLetters
from daskqueue.engine.endings import Endings
from daskqueue.engine.files import Files
from daskqueue.engine.gaps import SKIPPED
from daskqueue.engine.large import LARGE_BYTES, Reference, Sweeper, new_reference
from daskqueue.engine.leases import Leases
from daskqueue.engine.ledger import Ledger
from daskqueue.engine.meter import Meter
from daskqueue.engine.outcomes import OutcomeStore
from daskqueue.engine.overview import Overview
from daskqueue.engine.reading import QueueReading, read
from daskqueue.engine.records import fact_frame
from daskqueue.engine.room import Room, disk_full
from daskqueue.engine.settings import QueueSettings
from daskqueue.engine.upkeep import Upkeep
from daskqueue.errors import BatchError, DiskFullError, QueueFullError, StorageError
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
            self._meter.timed(files.sync_log),
            self._meter.timed(files.sync),
            lambda: self._queue.next_sequence,
            self._committed,
            files.verify,
            thread,
            settings.lazy_seconds(),
        )
        self.ledger = Ledger(files, self._commit, clock, self._ended)
        self._upkeep = Upkeep(files, self._reader, thread, clock)
        self._room = Room(files, thread, self._upkeep.relieve, self._room_again)
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
            DiskFullError: no room on the disk for the first of them.
            StorageError: the disk refused.
        """
        batches = [_counted(Batch.parse(data)) for _, data, _ in puts]
        watch = Stopwatch()
        refusal = await self._room.refusal() if self._files.reserve.full else None
        references: dict[int, Reference] = {}
        firsts: list[int] = []
        try:
            fitting = len(puts)
            if refusal is None:
                fitting = await self._write_large(producer, puts, batches, references)
            await self.writable()
            now = self._clock.now()
            for put, batch in zip(puts[:fitting], batches, strict=False):
                reference = references.get(put[0])
                firsts.append(self._put_one(producer, put, batch, now, reference, refusal))
        except DiskFullError as error:
            self._room.start_if_due()
            if not firsts:
                raise disk_full(self._files) from error
        except QueueFullError:
            if not firsts:
                raise
        finally:
            self._forget_unused(references)
        await self._commit.durable()
        self._meter.put_seconds.observe(watch.seconds)
        return firsts

    async def _write_large(
        self,
        producer: bytes,
        puts: Sequence[tuple[int, bytes, PutOptions]],
        batches: Sequence[Batch],
        references: dict[int, Reference],
    ) -> int:
        """Put large record batches into files of their own, before the log speaks of them; return how many fit.

        *references* gets them by number.
        """
        for place, (put, batch) in enumerate(zip(puts, batches, strict=True)):
            number, data, _ = put
            if len(data) < LARGE_BYTES or not self._would_take(producer, put, batch):
                continue
            reference = new_reference(data)
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(self._thread, self._files.write_large, reference.name, data)
            except DiskFullError:
                if not place:
                    raise
                return place
            references[number] = reference
        return len(puts)

    def _forget_unused(self, references: dict[int, Reference]) -> None:
        large = self._book.large
        unused = [each.name for each in references.values() if not large.knows(each.name)]
        if unused:
            large.gone += unused
            self._sweeper.start_if_due()

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
        refusal: DiskFullError | None,
    ) -> int:
        first, facts = self.ledger.decide(self._put_command(producer, put, batch))
        *room, fact = facts
        if not isinstance(fact, Enqueued):
            self.ledger.record(facts)
            return first
        if refusal is not None:
            raise refusal
        if first + batch.count > END:
            raise QueueFullError(
                "the queue has given away all the numbers that messages can have: make a new pool"
            )
        beside = reference.pack() if reference else put[1]
        # What has to make room goes with what it makes room for, or stays.
        frames = [*map(fact_frame, room), fact_frame(fact, beside)]
        *places, stretch = self.ledger.append(facts, frames, reserved=0.0)
        for made, place in zip(room, places, strict=True):
            self._book.enter(made, place)
        self._book.enter(fact, stretch, reference)
        self._book.marks.note(first, now)
        self._reader.remember(stretch, first, batch)
        if room:
            self._on_settled()
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

    @property
    def ousted(self) -> Future[StorageError]:
        """Done, with why, once the folder is known to be another's."""
        return self._files.ousted

    def verify(self) -> None:
        """Find out whether the folder is still this process's own; blocking, for the engine's thread.

        Raises:
            QueueFailedError: it is not; see :attr:`ousted`.
        """
        self._files.verify()

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
        self._room.close()
        try:
            await self._commit.flush()
            await self._sweeper.wait()
            taken = self._files.take_checkpoint(self._clock.now())
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._files.write_checkpoint, taken)
        except StorageError as error:
            # Nothing is lost by it: the next opening reads more of the log.
            logger.warning("A queue was closed without a checkpoint: %s", error)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Give up the folder as it is: what a killed process would leave behind."""
        self._commit.close()
        self._room.close()
        self._files.close()

    # Inside

    def _ended(self) -> None:
        self._on_settled()
        if self._queue.groups.lines:
            self._on_ready()  # it may be another's turn in a group

    def _room_again(self) -> None:
        self._upkeep.start_if_due()
        self._on_settled()  # for puts that wait for room
        self._on_ready()

    def _committed(self, sequence: int) -> None:
        fresh = sequence - self._queue.committed
        if fresh > 0:
            self._meter.commit_messages.observe(fresh)
        apply(self._queue, Committed(sequence))
        self._on_ready()
        self._upkeep.start_if_due()
        self._sweeper.start_if_due()
        self._room.start_if_due()


def _counted(batch: Batch) -> Batch:
    """Return a record batch, if one put may have as many messages; equal ones without arguments take no bytes."""
    if not 0 < batch.count < SKIPPED:
        raise BatchError(
            f"{batch.count} messages in one record batch; 1 to {SKIPPED - 1} may be put at a time"
        )
    return batch
