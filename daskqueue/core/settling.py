"""The rules of receipts: what an ack, a nack or a release still stands for, and what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from daskqueue.core import commands, facts, special
from daskqueue.core.commands import Decision, Settled
from daskqueue.core.runs import Runs, count, intersect, merge, subtract
from daskqueue.errors import StaleReceiptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from daskqueue.core.queue import HeldLease, Queue
    from daskqueue.core.tally import Receipt, Tally

# An opening whose clock has gone back goes on from the newest time in the log: acks tell it so often.
TELL_SECONDS = 60.0


def ack(queue: Queue, command: commands.Ack, now: float) -> Decision[Settled]:
    reply = _judge(queue, command.receipt, command.runs)
    if not reply.counted:
        return Decision(reply)
    at = now if queue.keys.pending or _is_late(queue, now) else None
    return Decision(reply, (facts.Acked(command.receipt.lease, reply.counted, at),))


def _is_late(queue: Queue, now: float) -> bool:
    """Return whether the log should say again what time it is."""
    return queue.told_at is not None and now - queue.told_at > TELL_SECONDS


def release(queue: Queue, command: commands.Release, now: float) -> Decision[Settled]:
    judged = _judge(queue, command.receipt, command.runs)
    asked, back = special.split_asked(queue, judged.counted)
    happened: list[facts.Fact] = []
    if back:
        happened.append(facts.Released(command.receipt.lease, back, due_at(now, command.delay)))
    if asked:
        happened.append(facts.Cancelled(asked, now))
    return Decision(replace(judged, cancelled=asked), tuple(happened))


def stop(queue: Queue, command: commands.Stop, now: float) -> Decision[Settled]:
    judged = _judge(queue, command.receipt, command.runs)
    happened = (facts.Cancelled(judged.counted, now),) if judged.counted else ()
    return Decision(replace(judged, cancelled=judged.counted), happened)


def crash(queue: Queue, command: commands.Crash, now: float) -> Decision[Settled]:
    judged = _judge(queue, command.receipt, command.runs)
    if not judged.counted:
        return Decision(judged)
    happened, back, died, asked = losing(
        queue, queue.leases[command.receipt.lease], judged.counted, facts.CRASHED, now
    )
    return Decision(replace(judged, retried=back, died=died, cancelled=asked), happened)


def losing(
    queue: Queue, lease: HeldLease, runs: Runs, reason: str, now: float
) -> tuple[tuple[facts.Fact, ...], Runs, Runs, Runs]:
    """Return what a lost delivery of runs of a lease makes of them: facts; what is back, died, was cancelled."""
    asked, others = special.split_asked(queue, runs)
    limit = queue.settings.max_losses
    back, dead = split(lease, others, lambda tally: tally.losses + 1 >= limit)
    happened: list[facts.Fact] = []
    if asked:
        happened.append(facts.Cancelled(asked, now))
    if dead:
        happened.append(facts.Died(lease.number, dead, facts.CRASH_LOOP, lost=True, at=now))
    happened.append(facts.LeaseLost(lease.number, back, reason))
    return tuple(happened), back, dead, asked


def nack(queue: Queue, command: commands.Nack, now: float) -> Decision[Settled]:
    judged = _judge(queue, command.receipt, command.runs)
    if not judged.counted:
        return Decision(judged)
    number = command.receipt.lease
    asked, others = special.split_asked(queue, judged.counted)
    again, dead = split(
        queue.leases[number],
        others,
        lambda tally: command.final or tally.attempts + 1 > tally.retries,
    )
    happened: list[facts.Fact] = [facts.Cancelled(asked, now)] if asked else []
    if again:
        happened.append(facts.Retried(number, again, due_at(now, command.delay)))
    if dead:
        happened.append(facts.Died(number, dead, command.reason, at=now))
    return Decision(replace(judged, retried=again, died=dead, cancelled=asked), tuple(happened))


def _judge(queue: Queue, receipt: Receipt, given: Iterable[tuple[int, int]]) -> Settled:
    """Say which of the given runs a receipt still stands for."""
    runs = merge(given)
    lease = queue.leases.get(receipt.lease)
    if lease is not None and lease.epoch == receipt.epoch:
        counted = merge([piece[:2] for run in runs for piece in lease.runs.pieces(*run)])
        if count(counted) == count(runs):
            return Settled(counted)
        granted, lost = lease.granted, lease.lost
        runs = subtract(runs, counted)
    else:
        finished = queue.finished.get(receipt.lease)
        if finished is None or finished.epoch != receipt.epoch:
            raise StaleReceiptError(f"nothing is known of lease {receipt.lease} of epoch {receipt.epoch}")
        counted = ()
        _, granted, lost = finished
    repeated = subtract(intersect(runs, granted), lost)
    return Settled(counted, repeated, subtract(runs, repeated))


def split(lease: HeldLease, runs: Runs, dies: Callable[[Tally], bool]) -> tuple[Runs, Runs]:
    """Return which of the lease's runs live on and which die."""
    back: list[tuple[int, int]] = []
    dead: list[tuple[int, int]] = []
    for run in runs:
        for first, last, tally in lease.runs.pieces(*run):
            (dead if dies(tally) else back).append((first, last))
    return merge(back), merge(dead)


def due_at(now: float, delay: float) -> float | None:
    """Return when a message that waits for *delay* seconds is due, None if it does not wait."""
    return now + delay if delay > 0 else None
