"""What consumers do with a queue: lease messages, say how they ended, and keep what they hold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

from daskqueue.clock import jitter
from daskqueue.core import reads
from daskqueue.core.backoff import backoff
from daskqueue.core.commands import (
    Ack,
    Command,
    Crash,
    Expire,
    Extend,
    Grant,
    Lease,
    Lose,
    Nack,
    Note,
    Release,
    Settled,
    Stop,
)
from daskqueue.core.facts import Acked, Died, Fact
from daskqueue.core.runs import intersect, merge, subtract
from daskqueue.core.special import with_terms
from daskqueue.core.tally import Receipt
from daskqueue.engine.batches import BatchReader, Slice
from daskqueue.engine.gaps import DAMAGED
from daskqueue.engine.ledger import Ledger
from daskqueue.engine.meter import Meter
from daskqueue.engine.outcomes import cut
from daskqueue.engine.records import FAILED, RETURNED, Outcome
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import DiskFullError, StaleReceiptError, StorageError
from daskqueue.message import PLAIN, Run, Terms

logger = logging.getLogger(__name__)

# On a full disk leases take this part of the reserve: what is leased must be acked, with a result, from the rest.
LEASING_PART = 0.125
# What the disk did not read is not tried again for so long.
READ_AGAIN_SECONDS = 5.0
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


class Leases:
    """The verbs of consumers; each must follow :meth:`Engine.writable` at once, or waits for it itself.

    Args:
        ledger: decides and writes.
        reader: has the messages' bytes.
        meter: measures what happens.
        settings: of the queue.
        thread: the engine's own thread, for large reads.
        writable: returns when no segment is being sealed.
        on_ready: called when messages may have become ready to lease.
    """

    def __init__(
        self,
        ledger: Ledger,
        reader: BatchReader,
        meter: Meter,
        settings: QueueSettings,
        thread: ThreadPoolExecutor,
        writable: Callable[[], Coroutine[Any, Any, None]],
        on_ready: Callable[[], object],
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._meter = meter
        self._settings = settings
        self._thread = thread
        self._writable = writable
        self._on_ready = on_ready

    async def lease(self, consumer: str, pool: str, request: int, want: int, max_bytes: int) -> Leased | None:
        """Hand out up to *want* messages, about *max_bytes* of them at most, but at least one.

        Returns:
            The lease with its messages, or None when there is nothing for this consumer now. What the disk
            cannot read just now is not among them, and is ready again a little later.

        Raises:
            DiskFullError: what is left of the reserve is for those who have messages already.
        """
        await self._writable()
        command = Lease(consumer, pool, request, want, self._settings.lease_seconds)
        grant, facts = self._ledger.decide(command)
        if grant is None:
            self._ledger.record(facts, reserved=LEASING_PART)
            return None
        fitting = self._fitting(grant, max_bytes)
        if fitting < grant.count and facts:
            command = Lease(consumer, pool, request, fitting, self._settings.lease_seconds)
            grant, facts = self._ledger.decide(command)
            if grant is None:
                return None
        self._ledger.record(facts, reserved=LEASING_PART)
        if facts:
            self._meter.leased(grant, self._ledger.book.marks, self._ledger.clock.now())
        await self._warm(grant.runs)
        slices, unreadable = self._read(grant.runs)
        await self._put_aside(grant, unreadable)
        await self._bury_damaged(grant, slices, unreadable)
        return Leased(*grant.receipt, slices, reads.notes_on(self._ledger.queue, grant.pieces))

    def ack(self, receipt: Receipt, runs: Iterable[Run], blob: bytes | None) -> int:
        """Settle messages that returned; *blob* has their results in order, None to keep none.

        Returns:
            How many of them this lease no longer holds, so that their results are not kept.
        """
        lease = self._ledger.queue.leases.get(receipt.lease)
        runs = merge(runs)
        witness = b""
        now = self._ledger.clock.now()
        try:
            settled, facts = self._ledger.decide(Ack(receipt, runs))
        except StaleReceiptError:
            return sum(run.count for run in runs)
        if lease is not None and blob is not None and settled.counted:
            returned = Outcome(RETURNED, lease.pool, lease.consumer, runs, blob)
            self._keep(returned, settled.counted)
            witness = self._ledger.outcomes.witness()
        self._ledger.record(facts, lambda fact: witness if isinstance(fact, Acked) else b"")
        self._meter.acked(settled.counted, self._ledger.book.marks, now)
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
            settled, facts = self._ledger.decide(command)
        except StaleReceiptError:
            return None
        self._ledger.record(facts, attachment)
        return settled

    def complete(self, pool: str, consumer: str, outcome: str, runs: Iterable[Run], blob: bytes) -> None:
        """Keep how messages ended that were acked before they ran."""
        self._ledger.keep(Outcome(outcome, pool, consumer, merge(runs), blob))

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
        held, facts = self._ledger.decide(Note(receipt, sequence, note, self._settings.lease_seconds))
        try:
            self._ledger.record(facts, reserved=0.0)
        except DiskFullError:
            # A note is worth no room that acks may need; the sign of life counts.
            self._ledger.record([fact for fact in facts if fact.volatile])
        return held

    def extend(self, consumer: str, leases: Collection[int]) -> tuple[int, ...]:
        """Prolong leases; return the numbers of those that the consumer still holds."""
        held, facts = self._ledger.decide(Extend(consumer, self._settings.lease_seconds, leases))
        self._ledger.record(facts)
        return held

    async def expire(self) -> None:
        """Take back what leases past their deadline hold, and wake whoever waits for delayed messages."""
        await self._ready_again(Expire())

    async def lose(self, consumers: Collection[str]) -> None:
        """Take back what consumers hold that are known to be gone."""
        await self._ready_again(Lose(consumers))

    async def _ready_again(self, command: Expire | Lose) -> None:
        await self._writable()
        _, facts = self._ledger.decide(command)
        self._ledger.record(facts)
        self._on_ready()

    def asked(self, consumer: str) -> tuple[Run, ...]:
        """Return what a consumer holds whose cancel was asked for."""
        return reads.asked_of(self._ledger.queue, consumer)

    def _keep(self, outcome: Outcome, counted: tuple[Run, ...]) -> None:
        if counted == outcome.runs:
            self._ledger.outcomes.append(outcome)
        else:
            for part in cut(outcome, counted):
                self._ledger.outcomes.append(part)

    def _alike(self, receipt: Receipt, runs: tuple[Run, ...]) -> dict[tuple[int, Terms], tuple[Run, ...]]:
        """Return the runs by what their next pause depends on: attempts and terms."""
        groups: dict[tuple[int, Terms], list[Run]] = {}
        for first, last, tally in reads.pieces_of(self._ledger.queue, receipt):
            for since, until, terms in with_terms(self._ledger.queue, first, last):
                part = intersect((Run(since, until),), runs)
                if part:
                    groups.setdefault((tally.attempts, terms), []).extend(part)
        return {alike: tuple(group) for alike, group in groups.items()} or {(0, PLAIN): runs}

    def _fitting(self, grant: Grant, max_bytes: int) -> int:
        first = grant.runs[0].first
        each = max(self._reader.bytes_per_message(grant.runs[0]), self._ledger.book.sizes.of(first))
        return grant.count if each * grant.count <= max_bytes else max(int(max_bytes / each), 1)

    async def _warm(self, runs: tuple[Run, ...]) -> None:
        cold = self._reader.cold(runs)
        large = any(self._ledger.book.large.has(*run) for run in runs)
        if large or sum(stretch.length for stretch in cold) > _LARGE_READ_BYTES:
            loop = asyncio.get_running_loop()
            for stretch in cold:
                with suppress(StorageError):  # whoever reads it next hears of it again
                    placed = await loop.run_in_executor(self._thread, self._reader.read, stretch)
                    self._reader.admit(stretch, placed)

    def _read(self, runs: tuple[Run, ...]) -> tuple[tuple[Slice, ...], tuple[Run, ...]]:
        """Return the slices of messages, and the runs that the disk cannot read now."""
        try:
            return tuple(self._reader.slices(runs)), ()
        except StorageError:
            pass
        slices: list[Slice] = []
        unreadable: list[Run] = []
        for run in runs:
            for entry in self._ledger.book.positions.overlapping(*run):
                part = Run(entry.first, entry.last)
                try:
                    slices += self._reader.slices([part])
                except StorageError as error:
                    logger.warning(
                        "Messages %d to %d are tried again later: %s", part.first, part.last - 1, error
                    )
                    unreadable.append(part)
        return tuple(slices), merge(unreadable)

    async def _put_aside(self, grant: Grant, unreadable: tuple[Run, ...]) -> None:
        """Let messages that the disk did not read wait for a while: it may have been too busy, and others go on."""
        if unreadable:
            await self._writable()
            self._settle(Release(grant.receipt, unreadable, READ_AGAIN_SECONDS))
            self._on_ready()

    async def _bury_damaged(
        self, grant: Grant, slices: tuple[Slice, ...], unreadable: tuple[Run, ...]
    ) -> None:
        """What was leased but is damaged becomes a dead letter instead of being leased for ever."""
        whole = merge([*unreadable, *(Run(part.first, part.first + part.size) for part in slices)])
        if whole != grant.runs:
            await self._writable()
            lost = subtract(grant.runs, whole)
            self._meter.damaged += sum(run.count for run in lost)
            _, facts = self._ledger.decide(Nack(grant.receipt, lost, DAMAGED, final=True))
            self._ledger.record(facts)


def _failures_of(fact: Fact, failed: Outcome) -> bytes:
    if not isinstance(fact, Died):
        return b""
    return b"".join(bytes(part.blob) for part in cut(failed, fact.runs))
