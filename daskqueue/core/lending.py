"""The rules of leases: who gets what, for how long, and what becomes of it when its holder is gone."""

from __future__ import annotations

from heapq import merge as merge_sorted
from typing import TYPE_CHECKING

from daskqueue.core import commands, facts
from daskqueue.core.commands import Decision, Grant, Lost
from daskqueue.core.queue import SUSPECT_LOSSES, HeldLease, Queue
from daskqueue.core.runs import merge
from daskqueue.core.settling import split
from daskqueue.core.tally import Piece, Receipt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LOST_ONCE_AT_ONCE = 32  # messages that were lost once go out in leases of at most this many


def lease(queue: Queue, command: commands.Lease, now: float) -> Decision[Grant | None]:
    if command.want < 1:
        raise ValueError(f"a lease is for at least 1 message, not {command.want}")
    held = [queue.leases[number] for number in queue.held.get(command.consumer, ())]
    for lease in held:
        if lease.request == command.request:
            return Decision(lease.grant)
    if queue.paused or any(lease.suspect for lease in held):
        return Decision(None)
    due = queue.delayed.due(now)
    matured = (facts.Matured(now),) if due else ()
    pieces = _choose(_front(queue, due), command.want, alone=not held)
    if not pieces:
        return Decision(None, matured)
    receipt = Receipt(queue.next_lease, queue.epoch)
    deadline = now + command.seconds
    fact = facts.Leased(
        *receipt,
        command.consumer,
        command.pool,
        command.request,
        merge([(first, last) for first, last, _ in pieces]),
        deadline,
        sum([last - first for first, last, tally in pieces if tally.attempts or tally.losses]),
    )
    return Decision(Grant(receipt, tuple(pieces), deadline), (*matured, fact))


def _front(queue: Queue, due: list[Piece]) -> Iterator[Piece]:
    """Yield what may be leased, in order of sequence: ready or due, and committed."""
    committed = queue.committed
    ready = queue.ready.pieces(0, committed)
    if not due:
        return ready
    return merge_sorted(
        ready, ((first, min(last, committed), tally) for first, last, tally in due if first < committed)
    )


def _choose(front: Iterable[Piece], want: int, *, alone: bool) -> list[Piece]:
    """Return the pieces of one lease: messages that are equally dangerous, the more so the fewer.

    A suspect goes out alone, to a consumer that holds nothing else, so that its crash costs only itself. A
    consumer that holds something gets nothing while a suspect is in front: else no consumer that fetches
    ahead would ever take it.
    """
    chosen: list[Piece] = []
    danger = 0
    for first, last, tally in front:
        if not chosen:
            danger = min(tally.losses, SUSPECT_LOSSES)
            if danger == SUSPECT_LOSSES:
                return [(first, first + 1, tally)] if alone else []
            if danger:
                want = min(want, LOST_ONCE_AT_ONCE)
        elif min(tally.losses, SUSPECT_LOSSES) != danger:
            break
        last = min(last, first + want)  # noqa: PLW2901  the rest of the piece stays
        chosen.append((first, last, tally))
        want -= last - first
        if not want:
            break
    return chosen


def extend(queue: Queue, command: commands.Extend, now: float) -> Decision[tuple[int, ...]]:
    held = queue.held.get(command.consumer, ())
    known = command.leases
    numbers = tuple([number for number in held if known is None or number in known])
    return Decision(numbers, (facts.Extended(numbers, now + command.seconds),) if numbers else ())


def expire(queue: Queue, _command: commands.Expire, now: float) -> Decision[tuple[Lost, ...]]:
    over = [lease for lease in queue.leases.values() if lease.deadline <= now]
    return _end(queue, over, facts.EXPIRED)


def lose(queue: Queue, command: commands.Lose, _now: float) -> Decision[tuple[Lost, ...]]:
    numbers = [
        number for consumer in dict.fromkeys(command.consumers) for number in queue.held.get(consumer, ())
    ]
    return _end(queue, [queue.leases[number] for number in numbers], facts.LOST)


def _end(queue: Queue, leases: list[HeldLease], reason: str) -> Decision[tuple[Lost, ...]]:
    limit = queue.settings.max_losses
    reply: list[Lost] = []
    happened: list[facts.Fact] = []
    for lease in leases:
        out = merge([(first, last) for first, last, _ in lease.runs])
        back, dead = split(lease, out, lambda tally: tally.losses + 1 >= limit)
        if dead:
            happened.append(facts.Died(lease.number, dead, facts.CRASH_LOOP, lost=True))
        happened.append(facts.LeaseLost(lease.number, back, reason))
        reply.append(Lost(lease.number, lease.consumer, lease.pool, back, dead))
    return Decision(tuple(reply), tuple(happened))
