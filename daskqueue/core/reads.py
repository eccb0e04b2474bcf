"""Questions to a queue that change nothing."""

from __future__ import annotations

from heapq import nsmallest
from itertools import chain
from typing import TYPE_CHECKING

from daskqueue.core import lending, special
from daskqueue.core.apply import count_pieces
from daskqueue.core.runs import Runs, merge, subtract
from daskqueue.core.tally import DeadLetter, Piece, Receipt, State, Tally
from daskqueue.message import PLAIN, Run, Terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daskqueue.core.commands import Grant
    from daskqueue.core.queue import Queue

    Upcoming = tuple[Run, State, Tally, float | None]  # the last: when it is due, None for now or unknown


def backlog(queue: Queue) -> int:
    """Return how many messages wait: ready, delayed, or for their turn."""
    return queue.waiting


def in_flight(queue: Queue) -> int:
    """Return how many messages are leased."""
    return queue.in_flight


def counts(queue: Queue) -> dict[State, int]:
    """Return how many messages are in each state that the queue remembers.

    Those that wait for their turn in their group count as delayed: no consumer could have them now.
    """
    return {
        State.READY: queue.ready.count,
        State.DELAYED: queue.delayed.count + queue.blocked.count,
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
    """Return when a delayed message is due, one expires, or a lease ends; None if none of it is ahead."""
    moments = (
        queue.delayed.next_due_at(),
        special.next_expiry_at(queue),
        queue.deadlines.earliest(queue.leases),
    )
    return min([moment for moment in moments if moment is not None], default=None)


def state_of(queue: Queue, run: Run) -> list[tuple[Run, State]]:
    """Return the run in parts with one state each, in order; cut where no message has been put yet."""
    whole = merge([(run.first, min(run.last, queue.next_sequence))])
    found: list[tuple[int, int, State]] = []
    for entries, state in (
        (queue.ready.pieces(*run), State.READY),
        (queue.delayed.runs.pieces(*run), State.DELAYED),
        (queue.blocked.pieces(*run), State.DELAYED),
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
    settled = sum((counters.acked, counters.cancelled, counters.purged, counters.expired, counters.displaced))
    live = queue.waiting + queue.in_flight + queue.dead.count
    return counters.enqueued - settled - live


def dead_letters(queue: Queue, first: int = 0, limit: int | None = None) -> list[tuple[Run, DeadLetter]]:
    """Return dead letters from sequence *first* on, at most *limit* messages."""
    letters: list[tuple[Run, DeadLetter]] = []
    for since, until, letter in queue.dead.pieces(first):
        if limit is not None and limit <= 0:
            break
        last = until if limit is None else min(until, since + limit)
        letters.append((Run(since, last), letter))
        limit = None if limit is None else limit - (last - since)
    return letters


def notes_on(
    queue: Queue, pieces: Iterable[Piece]
) -> list[tuple[int, int, int, int, Terms | None, bytes | None]]:
    """Return what there is to say of leased messages that are not as plain as can be.

    Returns:
        First, last, attempts, losses, terms (None for plain ones), and the last note of an earlier attempt.
    """
    told: list[tuple[int, int, int, int, Terms | None, bytes | None]] = []
    for first, last, (attempts, losses, _) in pieces:
        if not (attempts or losses or queue.terms.count or queue.notes):
            continue
        for since, until, terms in special.with_terms(queue, first, last):
            chosen = terms if terms != PLAIN else None
            noted = special.noted_in(queue, (Run(since, until),)) if queue.notes else []
            told += [(s, s + 1, attempts, losses, chosen, queue.notes[s]) for s in noted]
            if attempts or losses or chosen:
                rest = subtract((Run(since, until),), tuple([Run(s, s + 1) for s in noted]))
                told += [(*run, attempts, losses, chosen, None) for run in rest]
    return told


def asked_of(queue: Queue, consumer: str) -> Runs:
    """Return what a consumer holds whose cancel was asked for."""
    if not queue.asked.count:
        return ()
    held = merge(
        [piece[:2] for number in queue.held.get(consumer, ()) for piece in queue.leases[number].runs]
    )
    return special.split_asked(queue, held)[0]


def upcoming(queue: Queue, now: float, limit: int) -> list[Upcoming]:
    """Return what waits, *limit* messages at most, in the order of delivery as far as that is known.

    First what is ready, then what waits for its turn in its group, then what is delayed, the first due first.
    """
    found: list[Upcoming] = []
    for first, last, state, tally, due_at in chain(
        _ready(queue, now), _blocked(queue), _delayed(queue, now, limit)
    ):
        if limit <= 0:
            break
        run = Run(first, min(last, first + limit))
        found.append((run, state, tally, due_at))
        limit -= run.count
    return found


_Row = tuple[int, int, State, Tally, float | None]


def _ready(queue: Queue, now: float) -> Iterator[_Row]:
    due = queue.delayed.due(now)
    for first, last, tally in lending.front(queue, due, special.lapsed(queue, now)):
        yield first, last, State.READY, tally, None


def _blocked(queue: Queue) -> Iterator[_Row]:
    for first, last, tally in queue.blocked:
        yield first, last, State.DELAYED, tally, None


def _delayed(queue: Queue, now: float, limit: int) -> Iterable[_Row]:
    rows = ((d.due_at, first, last, d.tally) for first, last, d in queue.delayed.runs if d.due_at > now)
    for due_at, first, last, tally in nsmallest(limit, rows):
        yield first, last, State.DELAYED, tally, due_at
