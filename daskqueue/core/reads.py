"""Questions to a queue that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskqueue.core.apply import count_pieces
from daskqueue.core.runs import merge, subtract
from daskqueue.core.tally import Piece, Receipt, State, Tally
from daskqueue.message import Run

if TYPE_CHECKING:
    from daskqueue.core.commands import Grant
    from daskqueue.core.queue import Queue


def backlog(queue: Queue) -> int:
    """Return how many messages wait, ready or delayed."""
    return queue.ready.count + queue.delayed.count


def in_flight(queue: Queue) -> int:
    """Return how many messages are leased."""
    return queue.in_flight


def counts(queue: Queue) -> dict[State, int]:
    """Return how many messages are in each state that the queue remembers."""
    return {
        State.READY: queue.ready.count,
        State.DELAYED: queue.delayed.count,
        State.LEASED: queue.in_flight,
        State.DEAD: queue.dead.count,
    }


def leasable(queue: Queue, now: float) -> int:
    """Return how many messages could be leased at *now* by consumers that hold nothing; 0 when paused."""
    if queue.paused:
        return 0
    uncommitted = count_pieces(queue.ready.pieces(queue.committed))
    due = sum([max(0, min(last, queue.committed) - first) for first, last, _ in queue.delayed.due(now)])
    return queue.ready.count - uncommitted + due


def next_event_at(queue: Queue) -> float | None:
    """Return when a delayed message is due or a lease ends, whichever is first; None if neither is ahead."""
    due_at = queue.delayed.next_due_at()
    deadline = queue.deadlines.earliest(queue.leases)
    if due_at is None or deadline is None:
        return deadline if due_at is None else due_at
    return min(due_at, deadline)


def state_of(queue: Queue, run: Run) -> list[tuple[Run, State]]:
    """Return the run in parts with one state each, in order; cut where no message has been put yet."""
    whole = merge([(run.first, min(run.last, queue.next_sequence))])
    found: list[tuple[int, int, State]] = []
    for entries, state in (
        (queue.ready.pieces(*run), State.READY),
        (queue.delayed.runs.pieces(*run), State.DELAYED),
        (queue.dead.pieces(*run), State.DEAD),
        *((lease.runs.pieces(*run), State.LEASED) for lease in queue.leases.values()),
    ):
        found += [(part.first, part.last, state) for part in merge([entry[:2] for entry in entries])]
    live = merge([part[:2] for part in found])
    found += [(first, last, State.SETTLED) for first, last in subtract(whole, live)]
    return [(Run(first, last), state) for first, last, state in sorted(found)]


def held_by(queue: Queue, consumer: str) -> tuple[Grant, ...]:
    """Return the leases that a consumer holds."""
    return tuple([queue.leases[number].grant for number in queue.held.get(consumer, ())])


def pieces_of(queue: Queue, receipt: Receipt) -> tuple[Piece, ...]:
    """Return what is still out on a lease, with its tallies; nothing if the lease has ended."""
    lease = queue.leases.get(receipt.lease)
    return tuple(lease.runs) if lease is not None and lease.epoch == receipt.epoch else ()


def missing(queue: Queue) -> int:
    """Return how many messages were accepted and are in no state: lost with damaged frames.

    Negative: as many that were settled have come back, because it was the fact of it that was damaged.
    """
    counters = queue.counters
    settled = counters.acked + counters.cancelled + counters.purged
    live = queue.ready.count + queue.delayed.count + queue.in_flight + queue.dead.count
    return counters.enqueued - settled - live


def dead_letters(queue: Queue, first: int = 0, limit: int | None = None) -> list[tuple[Run, Tally, str]]:
    """Return dead letters from sequence *first* on, at most *limit* messages."""
    letters: list[tuple[Run, Tally, str]] = []
    for since, until, letter in queue.dead.pieces(first):
        if limit is not None and limit <= 0:
            break
        last = until if limit is None else min(until, since + limit)
        letters.append((Run(since, last), letter.tally, letter.reason))
        limit = None if limit is None else limit - (last - since)
    return letters
