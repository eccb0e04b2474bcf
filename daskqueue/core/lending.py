"""The rules of leases: who gets what, for how long, and what becomes of it when its holder is gone."""

from __future__ import annotations

from heapq import merge as merge_sorted
from itertools import chain
from typing import TYPE_CHECKING

from daskqueue.core import commands, facts, special
from daskqueue.core.commands import Decision, Grant, Lost
from daskqueue.core.queue import SUSPECT_LOSSES, HeldLease, Queue
from daskqueue.core.runs import RunMap, Runs, merge, subtract
from daskqueue.core.settling import losing
from daskqueue.core.tally import Piece, Receipt, Tally
from daskqueue.message import Run

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
    before, over = _housekeeping(queue, now)
    urgent = _most_urgent(_lanes(queue, queue.delayed.due(now), over))
    pieces = _choose(urgent, command.want, alone=not held)
    if not pieces:
        return Decision(None, before)
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
    return Decision(Grant(receipt, tuple(pieces), deadline), (*before, fact))


def _housekeeping(queue: Queue, now: float) -> tuple[tuple[facts.Fact, ...], Runs]:
    """Return what time has done to waiting messages, and which of them have expired."""
    over = special.lapsed(queue, now)
    happened: list[facts.Fact] = []
    if over:
        happened.append(facts.Dropped(over, facts.EXPIRED, now))
    if queue.delayed.due(now):
        happened.append(facts.Matured(now))
    return tuple(happened), over


def front(queue: Queue, due: list[Piece], over: Runs = ()) -> Iterator[Piece]:
    """Yield what may be leased: committed, ready or due; by priority, and of one priority by sequence."""
    return chain.from_iterable(_lanes(queue, due, over))


def _lanes(queue: Queue, due: list[Piece], over: Runs) -> Iterator[Iterator[Piece]]:
    """Yield what may be leased of each priority, the largest first."""
    if not queue.terms.count:
        yield _in_order(queue.ready.pieces(0, queue.committed), due, queue.committed)
        return
    chosen = _by_priority(queue, due)
    lanes = dict(queue.ready.lanes)
    empty: RunMap[Tally] = RunMap()
    for priority in sorted({*lanes, *chosen}, reverse=True):
        ready = lanes.get(priority, empty).pieces(0, queue.committed)
        pieces = _in_order(ready, chosen.get(priority, []), queue.committed)
        yield _without(pieces, over) if over else pieces


def _most_urgent(lanes: Iterable[Iterator[Piece]]) -> Iterator[Piece]:
    """Return the first lane that has anything: behind others in a lease its messages would have to wait."""
    for lane in lanes:
        for piece in lane:
            return chain((piece,), lane)
    return iter(())


def _in_order(ready: Iterator[Piece], due: list[Piece], committed: int) -> Iterator[Piece]:
    if not due:
        return ready
    return merge_sorted(
        ready, ((first, min(last, committed), tally) for first, last, tally in due if first < committed)
    )


def _by_priority(queue: Queue, due: list[Piece]) -> dict[int, list[Piece]]:
    """Return those of the due messages that may run, by priority: of a group only the one whose turn it is."""
    chosen: dict[int, list[Piece]] = {}
    for first, last, tally in due:
        for since, until, terms in special.with_terms(queue, first, last):
            piece = (since, until, tally)
            if terms.group:
                turn = queue.groups.turn(terms.group)
                if turn is None or not since <= turn < until:
                    continue
                piece = (turn, turn + 1, tally)
            chosen.setdefault(terms.priority, []).append(piece)
    return chosen


def _without(pieces: Iterable[Piece], over: Runs) -> Iterator[Piece]:
    for first, last, tally in pieces:
        for part in subtract((Run(first, last),), over):
            yield (*part, tally)


def _choose(pieces: Iterable[Piece], want: int, *, alone: bool) -> list[Piece]:
    """Return the pieces of one lease: messages that are equally dangerous, the more so the fewer.

    A suspect goes out alone, to a consumer that holds nothing else, so that its crash costs only itself. A
    consumer that holds something gets nothing while a suspect is in front: else no consumer that fetches
    ahead would ever take it.
    """
    chosen: list[Piece] = []
    danger = 0
    for first, last, tally in pieces:
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
    gone = special.lapsed(queue, now)
    over = [lease for lease in queue.leases.values() if lease.deadline <= now]
    reply, happened = _end(queue, over, facts.EXPIRED, now)
    return Decision(reply, (facts.Dropped(gone, facts.EXPIRED, now), *happened) if gone else happened)


def lose(queue: Queue, command: commands.Lose, now: float) -> Decision[tuple[Lost, ...]]:
    numbers = [
        number for consumer in dict.fromkeys(command.consumers) for number in queue.held.get(consumer, ())
    ]
    return _end(queue, [queue.leases[number] for number in numbers], facts.LOST, now)


def note(queue: Queue, command: commands.Note, now: float) -> Decision[bool]:
    number, epoch = command.receipt
    lease = queue.leases.get(number)
    if (
        lease is None
        or lease.epoch != epoch
        or not any(lease.runs.pieces(command.sequence, command.sequence + 1))
    ):
        return Decision(False)
    extended = facts.Extended((number,), now + command.seconds)
    return Decision(True, (facts.Progressed(command.sequence, command.note), extended))


def _end(queue: Queue, leases: list[HeldLease], reason: str, now: float) -> Decision[tuple[Lost, ...]]:
    reply: list[Lost] = []
    happened: list[facts.Fact] = []
    for lease in leases:
        out = merge([(first, last) for first, last, _ in lease.runs])
        lost, back, dead, _ = losing(queue, lease, out, reason, now)
        happened += lost
        reply.append(Lost(lease.number, lease.consumer, lease.pool, back, dead))
    return Decision(tuple(reply), tuple(happened))
