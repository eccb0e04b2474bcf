"""The rules of receipts: what an ack, a nack or a release still stands for, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskqueue.core import commands, facts
from daskqueue.core.commands import Decision, Settled
from daskqueue.core.runs import Runs, count, intersect, merge, subtract
from daskqueue.errors import StaleReceiptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from daskqueue.core.queue import HeldLease, Queue
    from daskqueue.core.tally import Receipt, Tally


def ack(queue: Queue, command: commands.Ack, _now: float) -> Decision[Settled]:
    reply = _judge(queue, command.receipt, command.runs)
    return Decision(reply, (facts.Acked(command.receipt.lease, reply.counted),) if reply.counted else ())


def release(queue: Queue, command: commands.Release, _now: float) -> Decision[Settled]:
    reply = _judge(queue, command.receipt, command.runs)
    return Decision(reply, (facts.Released(command.receipt.lease, reply.counted),) if reply.counted else ())


def nack(queue: Queue, command: commands.Nack, now: float) -> Decision[Settled]:
    judged = _judge(queue, command.receipt, command.runs)
    if not judged.counted:
        return Decision(judged)
    number = command.receipt.lease
    again, dead = split(
        queue.leases[number],
        judged.counted,
        lambda tally: command.final or tally.attempts + 1 > tally.retries,
    )
    happened: list[facts.Fact] = []
    if again:
        happened.append(facts.Retried(number, again, due_at(now, command.delay)))
    if dead:
        happened.append(facts.Died(number, dead, command.reason))
    reply = Settled(judged.counted, judged.repeated, judged.stale, again, dead)
    return Decision(reply, tuple(happened))


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
