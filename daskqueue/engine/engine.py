"""The only door to a queue's state and files: every command, and how durable its answer is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from daskqueue.batch import Batch
from daskqueue.clock import Clock, Stopwatch, jitter
from daskqueue.core import reads
from daskqueue.core.apply import apply
from daskqueue.core.backoff import backoff
from daskqueue.core.commands import (
    Ack,
    Cancel,
    Command,
    Crash,
    Expire,
    Extend,
    Grant,
    Lease,
    Lose,
    Nack,
    Note,
    Pause,
    Purge,
    Put,
    Release,
    Settled,
    Stop,
)
from daskqueue.core.facts import Acked, Committed, Died, Enqueued, Fact
from daskqueue.core.runs import intersect, merge, subtract
from daskqueue.core.special import with_terms
from daskqueue.core.tally import Receipt, State
from daskqueue.engine.batches import BatchReader, Slice
from daskqueue.engine.commit import GroupCommit
from daskqueue.engine.dead_letters import DeadLetters
from daskqueue.engine.files import Files
from daskqueue.engine.ledger import Ledger
from daskqueue.engine.meter import Meter
from daskqueue.engine.outcomes import Missing, OutcomeStore, Page, cut
from daskqueue.engine.overview import Overview
from daskqueue.engine.reading import QueueReading, read
from daskqueue.engine.records import FAILED, RETURNED, Outcome, fact_frame
from daskqueue.engine.recovery import Book
from daskqueue.engine.settings import QueueSettings
from daskqueue.engine.upkeep import Upkeep
from daskqueue.errors import QueueFullError, StaleReceiptError, StorageError
from daskqueue.message import PLAIN, PutOptions, Run, Terms

logger = logging.getLogger(__name__)

# A read larger than this leaves the event loop.
_LARGE_READ_BYTES = 256 << 10

# What a consumer is told of messages that are not as plain as can be: first, last, attempts, losses, terms,
# and how far an earlier attempt said it was.
NoteOf = tuple[int, int, int, int, Terms | None, bytes | None]


class Leased(NamedTuple):
    """A lease with its messages: number and epoch are the receipt."""

    lease: int
    epoch: int
    slices: tuple[Slice, ...]
    notes: list[NoteOf]


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
        self._reader = BatchReader(files.log, files.book.positions)
        self._outcomes: OutcomeStore = files.outcomes
        self._commit = GroupCommit(
            self._meter.timed(files.log.sync),
            self._meter.timed(files.sync),
            lambda: self._queue.next_sequence,
            self._committed,
            thread,
            settings.lazy_seconds(),
        )
        self.ledger = Ledger(files, self._commit, clock, on_settled)
        self._upkeep = Upkeep(files, self._reader, thread, clock)
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
        await self.writable()
        now = self._clock.now()
        firsts: list[int] = []
        for put, batch in zip(puts, batches, strict=True):
            try:
                firsts.append(self._put_one(producer, put, batch, now))
            except QueueFullError:
                if firsts:
                    break
                raise
        await self._commit.durable()
        self._meter.put_seconds.observe(watch.seconds)
        return firsts

    def _put_one(self, producer: bytes, put: tuple[int, bytes, PutOptions], batch: Batch, now: float) -> int:
        number, data, options = put
        command = Put(
            producer, number, batch.count, *options, size_bytes=len(data), held_bytes=self.held_bytes
        )
        first, facts = self.ledger.decide(command)
        for fact in facts:
            if isinstance(fact, Enqueued):
                (stretch,) = self._files.log.append([fact_frame(fact, data)])
                self._book.enter(fact, stretch)
                self._book.marks.note(first, now)
                self._reader.remember(stretch, first, batch)
            else:
                self.ledger.record([fact])
        return first

    @property
    def held_bytes(self) -> int:
        """How many bytes the messages take that have not come to an end."""
        return self._book.sizes.total

    async def lease(self, consumer: str, pool: str, request: int, want: int, max_bytes: int) -> Leased | None:
        """Hand out up to *want* messages, about *max_bytes* of them at most, but at least one.

        Returns:
            The lease with its messages, or None when there is nothing for this consumer now.
        """
        await self.writable()
        command = Lease(consumer, pool, request, want, self._settings.lease_seconds)
        grant, facts = self.ledger.decide(command)
        if grant is None:
            self.ledger.record(facts)
            return None
        fitting = self._fitting(grant, max_bytes)
        if fitting < grant.count and facts:
            command = Lease(consumer, pool, request, fitting, self._settings.lease_seconds)
            grant, facts = self.ledger.decide(command)
            if grant is None:
                return None
        self.ledger.record(facts)
        if facts:
            self._meter.leased(grant, self._book.marks, self._clock.now())
        await self._warm(grant.runs)
        slices = tuple(self._reader.slices(grant.runs))
        await self._bury_damaged(grant, slices)
        return Leased(*grant.receipt, slices, reads.notes_on(self._queue, grant.pieces))

    def ack(self, receipt: Receipt, runs: Iterable[Run], blob: bytes | None) -> int:
        """Settle messages that returned; *blob* has their results in order, None to keep none.

        Returns:
            How many of them this lease no longer holds, so that their results are not kept.
        """
        lease = self._queue.leases.get(receipt.lease)
        runs = merge(runs)
        witness = b""
        now = self._clock.now()
        try:
            settled, facts = self.ledger.decide(Ack(receipt, runs))
        except StaleReceiptError:
            return sum(run.count for run in runs)
        self._meter.acked(settled.counted, self._book.marks, now)
        if lease is not None and blob is not None and settled.counted:
            returned = Outcome(RETURNED, lease.pool, lease.consumer, runs, blob)
            self._keep(returned, settled.counted)
            witness = self._outcomes.witness()
        self.ledger.record(facts, lambda fact: witness if isinstance(fact, Acked) else b"")
        return sum(run.count for run in settled.stale)

    def nack(self, receipt: Receipt, runs: Iterable[Run], blob: bytes, reason: str, *, final: bool) -> int:
        """Give back messages that raised; *blob* has their failures in order.

        Each is run again after a pause, or becomes a dead letter when it has no retry left or *final* is set.

        Returns:
            How many of them this lease no longer holds.
        """
        runs = merge(runs)
        failed = Outcome(FAILED, "", "", runs, blob)
        stale = 0
        for (attempts, terms), part in self._alike(receipt, runs).items():
            first, most = terms.backoff_seconds, terms.backoff_max_seconds
            pause = backoff(
                attempts + 1,
                self._settings.backoff_seconds if first is None else first,
                self._settings.backoff_max_seconds if most is None else most,
                jitter(),
            )
            settled = self._settle(
                Nack(receipt, part, reason, pause, final), lambda fact: _failures_of(fact, failed)
            )
            stale += sum(run.count for run in (part if settled is None else settled.stale))
        return stale

    def _settle(
        self, command: Command[Settled], attachment: Callable[[Fact], bytes] = lambda _: b""
    ) -> Settled | None:
        """Decide and record what a consumer says of a lease; None if nothing is known of the lease."""
        try:
            settled, facts = self.ledger.decide(command)
        except StaleReceiptError:
            return None
        self.ledger.record(facts, attachment)
        return settled

    def complete(self, pool: str, consumer: str, outcome: str, runs: Iterable[Run], blob: bytes) -> None:
        """Keep how messages ended that were acked before they ran."""
        self._outcomes.append(Outcome(outcome, pool, consumer, merge(runs), blob))
        self._commit.soon()
        self._on_settled()

    def release(self, receipt: Receipt, runs: Iterable[Run], delay_seconds: float = 0.0) -> None:
        """Give back messages: unstarted and ready again at once, or to be run after a while."""
        self._settle(Release(receipt, merge(runs), delay_seconds))
        self._on_ready()

    def crash(self, receipt: Receipt, runs: Iterable[Run]) -> None:
        """Note that messages have killed the process that ran them."""
        self._settle(Crash(receipt, merge(runs)))
        self._on_ready()

    def stop(self, receipt: Receipt, runs: Iterable[Run]) -> None:
        """Note that messages ended because they were asked to; they are cancelled."""
        self._settle(Stop(receipt, merge(runs)))

    def progress(self, receipt: Receipt, sequence: int, note: bytes) -> bool:
        """Keep how far a leased message is, and prolong its lease; return whether the lease lives."""
        held, facts = self.ledger.decide(Note(receipt, sequence, note, self._settings.lease_seconds))
        self.ledger.record(facts)
        return held

    def extend(self, consumer: str, leases: Collection[int]) -> tuple[int, ...]:
        """Prolong leases; return the numbers of those that the consumer still holds."""
        held, facts = self.ledger.decide(Extend(consumer, self._settings.lease_seconds, leases))
        self.ledger.record(facts)
        return held

    async def expire(self) -> None:
        """Take back what leases past their deadline hold, and wake whoever waits for delayed messages."""
        await self._ready_again(Expire())

    async def lose(self, consumers: Collection[str]) -> None:
        """Take back what consumers hold that are known to be gone."""
        await self._ready_again(Lose(consumers))

    async def _ready_again(self, command: Expire | Lose) -> None:
        await self.writable()
        _, facts = self.ledger.decide(command)
        self.ledger.record(facts)
        self._on_ready()

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
        # The turn in a group may have passed to a message that can run.
        self._on_ready()
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

    def asked(self, consumer: str) -> tuple[Run, ...]:
        """Return what a consumer holds whose cancel was asked for."""
        return reads.asked_of(self._queue, consumer)

    def notes(self, run: Run) -> list[tuple[int, bytes]]:
        """Return how far the messages of *run* said they are: sequence and note."""
        return sorted((s, note) for s, note in self._queue.notes.items() if run.first <= s < run.last)

    async def outcomes(self, run: Run) -> list[Outcome]:
        """Return how the messages of *run* ended, those of them that did and are still kept."""
        await self._scan_outcomes()
        failures = [
            part
            for entry in self._book.failures.overlapping(run.first, run.last)
            for part in self._files.read_failures(entry)
        ]
        return [part for outcome in self._outcomes.find(run) for part in self._of_settled(outcome)] + failures

    def missing(self) -> Missing:
        """Return what is to be said of settled messages that :meth:`outcomes` knows nothing of."""
        return self._outcomes.missing()

    async def page(self, pool: str, after: tuple[int, int] | None, max_bytes: int) -> Page:
        """Return a part of what the tasks of a consumer pool returned; see ``OutcomeStore.page``."""
        await self._scan_outcomes()
        loop = asyncio.get_running_loop()
        raw = await loop.run_in_executor(self._thread, self._outcomes.read_page, pool, after, max_bytes)
        page = self._outcomes.current(raw)
        return page._replace(
            outcomes=[part for outcome in page.outcomes for part in self._of_settled(outcome)]
        )

    async def close(self) -> None:
        """Sync, write a checkpoint, and give up the folder; a failed engine only gives it up."""
        await self._upkeep.wait()
        try:
            await self._commit.flush()
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

    def _committed(self, sequence: int) -> None:
        fresh = sequence - self._queue.committed
        if fresh > 0:
            self._meter.commit_messages.observe(fresh)
        apply(self._queue, Committed(sequence))
        self._on_ready()
        self._upkeep.start_if_due()

    def _keep(self, outcome: Outcome, counted: tuple[Run, ...]) -> None:
        if counted == outcome.runs:
            self._outcomes.append(outcome)
        else:
            for part in cut(outcome, counted):
                self._outcomes.append(part)

    def _alike(self, receipt: Receipt, runs: tuple[Run, ...]) -> dict[tuple[int, Terms], tuple[Run, ...]]:
        """Return the runs by what their next pause depends on: attempts and terms."""
        groups: dict[tuple[int, Terms], list[Run]] = {}
        for first, last, tally in reads.pieces_of(self._queue, receipt):
            for since, until, terms in with_terms(self._queue, first, last):
                part = intersect((Run(since, until),), runs)
                if part:
                    groups.setdefault((tally.attempts, terms), []).extend(part)
        return {alike: tuple(group) for alike, group in groups.items()} or {(0, PLAIN): runs}

    def _fitting(self, grant: Grant, max_bytes: int) -> int:
        each = self._reader.bytes_per_message(grant.runs[0])
        return grant.count if each * grant.count <= max_bytes else max(int(max_bytes / each), 1)

    async def _warm(self, runs: tuple[Run, ...]) -> None:
        cold = self._reader.cold(runs)
        if sum(stretch.length for stretch in cold) > _LARGE_READ_BYTES:
            loop = asyncio.get_running_loop()
            for stretch in cold:
                placed = await loop.run_in_executor(self._thread, self._reader.read, stretch)
                self._reader.admit(stretch, placed)

    async def _bury_damaged(self, grant: Grant, slices: tuple[Slice, ...]) -> None:
        """What was leased but cannot be read becomes a dead letter instead of being leased for ever."""
        whole = merge(Run(part.first, part.first + part.size) for part in slices)
        if whole != grant.runs:
            await self.writable()
            lost = subtract(grant.runs, whole)
            self._meter.damaged += sum(run.count for run in lost)
            _, facts = self.ledger.decide(Nack(grant.receipt, lost, "damaged", final=True))
            self.ledger.record(facts)

    def _of_settled(self, outcome: Outcome) -> Iterator[Outcome]:
        """Yield what an outcome says of settled messages; a crash may have come between result and ack."""
        settled = merge(
            part
            for run in outcome.runs
            for part, state in reads.state_of(self._queue, run)
            if state is State.SETTLED
        )
        if settled == outcome.runs:
            yield outcome
        else:
            yield from cut(outcome, settled)

    async def _scan_outcomes(self) -> None:
        if not self._outcomes.scanned:
            loop = asyncio.get_running_loop()
            self._outcomes.admit_old(await loop.run_in_executor(self._thread, self._outcomes.read_old))


def _failures_of(fact: Fact, failed: Outcome) -> bytes:
    if not isinstance(fact, Died):
        return b""
    return b"".join(bytes(part.blob) for part in cut(failed, fact.runs))
