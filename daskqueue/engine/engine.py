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
    Expire,
    Extend,
    Grant,
    Lease,
    Lose,
    Nack,
    Purge,
    Put,
    Release,
)
from daskqueue.core.decide import decide
from daskqueue.core.facts import Acked, Cancelled, Committed, Died, Fact, Purged
from daskqueue.core.runs import intersect, merge, subtract
from daskqueue.core.tally import Receipt, State
from daskqueue.engine.batches import BatchReader, Slice
from daskqueue.engine.commit import GroupCommit
from daskqueue.engine.files import Files
from daskqueue.engine.meter import Meter
from daskqueue.engine.outcomes import OutcomeStore, Page, cut
from daskqueue.engine.reading import QueueReading, read
from daskqueue.engine.records import CANCELLED, FAILED, RETURNED, Outcome, Witness, fact_frame, witness_bytes
from daskqueue.engine.recovery import Book
from daskqueue.engine.settings import QueueSettings
from daskqueue.engine.upkeep import Upkeep
from daskqueue.errors import QueueFullError, StaleReceiptError, StorageError
from daskqueue.message import Run

logger = logging.getLogger(__name__)

# A read larger than this leaves the event loop.
_LARGE_READ_BYTES = 256 << 10


_ENDINGS = (Acked, Died, Cancelled, Purged)


def _nothing(_: Fact) -> bytes:
    return b""


class Leased(NamedTuple):
    """A lease with its messages: number and epoch are the receipt."""

    lease: int
    epoch: int
    slices: tuple[Slice, ...]


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
        self._upkeep = Upkeep(files, self._reader, thread, clock)

    # Commands

    async def writable(self) -> None:
        """Return when no segment is being sealed; the commands that do not wait must follow it at once."""
        await self._upkeep.wait()

    async def put(
        self, producer: bytes, puts: Sequence[tuple[int, bytes]], retries: int = 0, delay_seconds: float = 0.0
    ) -> list[int]:
        """Append record batches; return the sequence of each one's first message once they are durable.

        When the queue becomes full on the way, only those that fitted are put, and returned.

        Args:
            producer: 16 bytes that name who puts.
            puts: the producer's number and the bytes of each record batch. A number put before is not put
                again; its first sequence is returned.
            retries: how often a message that raised is run again.
            delay_seconds: how long the messages are held back.

        Raises:
            BatchError: bytes that are no record batch; nothing is put.
            QueueFullError: no room for the first of them.
            StorageError: the disk refused.
        """
        batches = [Batch.parse(data) for _, data in puts]
        watch = Stopwatch()
        await self.writable()
        now = self._clock.now()
        firsts: list[int] = []
        for (number, data), batch in zip(puts, batches, strict=True):
            command = Put(producer, number, batch.count, retries, delay_seconds)
            try:
                first, facts = decide(self._queue, command, now)
            except QueueFullError:
                if firsts:
                    break
                raise
            for fact in facts:
                self._enter_put(fact, first, data, batch, now)
            firsts.append(first)
        await self._commit.durable()
        self._meter.put_seconds.observe(watch.seconds)
        return firsts

    async def lease(self, consumer: str, pool: str, request: int, want: int, max_bytes: int) -> Leased | None:
        """Hand out up to *want* messages, about *max_bytes* of them at most, but at least one.

        Returns:
            The lease with its messages, or None when there is nothing for this consumer now.
        """
        await self.writable()
        command = Lease(consumer, pool, request, want, self._settings.lease_seconds)
        grant, facts = decide(self._queue, command, self._clock.now())
        if grant is None:
            self._record(facts)
            return None
        fitting = self._fitting(grant, max_bytes)
        if fitting < grant.count and facts:
            command = Lease(consumer, pool, request, fitting, self._settings.lease_seconds)
            grant, facts = decide(self._queue, command, self._clock.now())
            if grant is None:
                return None
        self._record(facts)
        if facts:
            self._meter.leased(grant, self._book.marks, self._clock.now())
        await self._warm(grant.runs)
        slices = tuple(self._reader.slices(grant.runs))
        await self._bury_damaged(grant, slices)
        return Leased(grant.receipt.lease, grant.receipt.epoch, slices)

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
            settled, facts = decide(self._queue, Ack(receipt, runs), now)
        except StaleReceiptError:
            return sum(run.count for run in runs)
        self._meter.acked(settled.counted, self._book.marks, now)
        if lease is not None and blob is not None and settled.counted:
            returned = Outcome(RETURNED, lease.pool, lease.consumer, runs, blob)
            self._keep(returned, settled.counted)
            witness = witness_bytes(Witness(self._outcomes.log.tail, self._outcomes.log.synced))
        self._record(facts, lambda fact: witness if isinstance(fact, Acked) else b"")
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
        for attempts, part in self._by_attempts(receipt, runs).items():
            pause = backoff(
                attempts + 1, self._settings.backoff_seconds, self._settings.backoff_max_seconds, jitter()
            )
            try:
                command = Nack(receipt, part, reason, pause, final)
                settled, facts = decide(self._queue, command, self._clock.now())
            except StaleReceiptError:
                stale += sum(run.count for run in part)
                continue
            self._record(facts, lambda fact: _failures_of(fact, failed))
            stale += sum(run.count for run in settled.stale)
        return stale

    def complete(self, pool: str, consumer: str, outcome: str, runs: Iterable[Run], blob: bytes) -> None:
        """Keep how messages ended that were acked before they ran."""
        self._outcomes.append(Outcome(outcome, pool, consumer, merge(runs), blob))
        self._commit.soon()
        self._on_settled()

    def release(self, receipt: Receipt, runs: Iterable[Run]) -> None:
        """Give back messages that were not started; they are ready again at once."""
        try:
            _, facts = decide(self._queue, Release(receipt, merge(runs)), self._clock.now())
        except StaleReceiptError:
            return
        self._record(facts)
        self._on_ready()

    def extend(self, consumer: str, leases: Collection[int]) -> tuple[int, ...]:
        """Prolong leases; return the numbers of those that the consumer still holds."""
        command = Extend(consumer, self._settings.lease_seconds, leases)
        held, facts = decide(self._queue, command, self._clock.now())
        self._record(facts)
        return held

    async def expire(self) -> None:
        """Take back what leases past their deadline hold, and wake whoever waits for delayed messages."""
        await self.writable()
        _, facts = decide(self._queue, Expire(), self._clock.now())
        self._record(facts)
        self._on_ready()

    async def lose(self, consumers: Collection[str]) -> None:
        """Take back what consumers hold that are known to be gone."""
        await self.writable()
        _, facts = decide(self._queue, Lose(consumers), self._clock.now())
        self._record(facts)
        self._on_ready()

    async def cancel(self, runs: Iterable[Run]) -> tuple[Run, ...]:
        """Drop messages that wait; return those that were dropped, once that is durable."""
        return await self._drop(Cancel(merge(runs)))

    async def purge(self) -> tuple[Run, ...]:
        """Drop all messages that wait; return them, once that is durable."""
        return await self._drop(Purge())

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

    async def outcomes(self, run: Run) -> list[Outcome]:
        """Return how the messages of *run* ended, those of them that did and are still kept."""
        await self._scan_outcomes()
        failures = [
            part
            for entry in self._book.failures.overlapping(run.first, run.last)
            for part in self._files.read_failures(entry)
        ]
        return [part for outcome in self._outcomes.find(run) for part in self._of_settled(outcome)] + failures

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

    def _record(self, facts: Sequence[Fact], attachment: Callable[[Fact], bytes] = _nothing) -> None:
        durable = [fact for fact in facts if not fact.volatile]
        frames = [fact_frame(fact, attachment(fact)) for fact in durable]
        stretches = iter(self._files.log.append(frames) if frames else ())
        for fact in facts:
            if fact.volatile:
                apply(self._queue, fact)
            else:
                self._book.enter(fact, next(stretches))
        if durable:
            self._commit.soon()
        if any(isinstance(fact, _ENDINGS) for fact in facts):
            self._on_settled()

    def _enter_put(self, fact: Fact, first: int, data: bytes, batch: Batch, now: float) -> None:
        if fact.volatile:
            apply(self._queue, fact)
            return
        (stretch,) = self._files.log.append([fact_frame(fact, data)])
        self._book.enter(fact, stretch)
        self._book.marks.note(first, now)
        self._reader.remember(stretch, first, batch)

    def _committed(self, sequence: int) -> None:
        fresh = sequence - self._queue.committed
        if fresh > 0:
            self._meter.commit_messages.observe(fresh)
        apply(self._queue, Committed(sequence))
        self._on_ready()
        self._upkeep.start_if_due()

    async def _drop(self, command: Cancel | Purge) -> tuple[Run, ...]:
        await self.writable()
        runs, facts = decide(self._queue, command, self._clock.now())
        if runs:
            self._outcomes.append(Outcome(CANCELLED, "", "", runs, b""))
        self._record(facts)
        await self._commit.durable()
        return runs

    def _keep(self, outcome: Outcome, counted: tuple[Run, ...]) -> None:
        if counted == outcome.runs:
            self._outcomes.append(outcome)
        else:
            for part in cut(outcome, counted):
                self._outcomes.append(part)

    def _by_attempts(self, receipt: Receipt, runs: tuple[Run, ...]) -> dict[int, tuple[Run, ...]]:
        groups: dict[int, list[Run]] = {}
        for first, last, tally in reads.pieces_of(self._queue, receipt):
            groups.setdefault(tally.attempts, []).extend(intersect((Run(first, last),), runs))
        known = {attempts: tuple(group) for attempts, group in groups.items() if group}
        return known or {0: runs}

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
            _, facts = decide(
                self._queue, Nack(grant.receipt, lost, "damaged", final=True), self._clock.now()
            )
            self._record(facts)

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
