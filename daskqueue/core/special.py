"""What only messages with terms have: priorities, groups, keys, expiry; and how they wait because of it.

Every function begins with the plain case, which costs one look at an empty map.
"""

from __future__ import annotations

from heapq import merge as merge_sorted
from typing import TYPE_CHECKING

from daskqueue.core.runs import contains, count, merge, subtract
from daskqueue.message import PLAIN, Run, Terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daskqueue.core.queue import Queue
    from daskqueue.core.runs import Runs
    from daskqueue.core.tally import Tally

Chosen = tuple[int, int, Terms]


def with_terms(queue: Queue, first: int, last: int) -> Iterator[Chosen]:
    """Yield the run in parts with the same terms each, in order."""
    at = first
    if queue.terms.count:
        for since, until, terms in queue.terms.pieces(first, last):
            if at < since:
                yield at, since, PLAIN
            yield since, until, terms
            at = until
    if at < last:
        yield at, last, PLAIN


def wait(queue: Queue, first: int, last: int, tally: Tally, due_at: float | None = None) -> None:
    """Let messages wait: until they are due, for their turn in their group, or only for a consumer."""
    if not queue.terms.count:
        if due_at is None:
            queue.ready.add(first, last, tally)
        else:
            queue.delayed.add(first, last, due_at, tally)
        return
    for since, until, terms in with_terms(queue, first, last):
        if terms.expires_at is not None:
            queue.expiries.add(since, until, terms.expires_at, queue.terms)
        turn = queue.groups.turn(terms.group) if terms.group else None
        if due_at is not None:
            queue.delayed.add(since, until, due_at, tally)
        elif terms.group:
            queue.blocked.add(since, until, tally)
        else:
            queue.ready.add(since, until, tally, terms.priority)
        if terms.group:
            queue.groups.rest(terms.group, since, until)
            _pass_turn(queue, terms.group, turn)


def _pass_turn(queue: Queue, group: str, before: int | None) -> None:
    """Let the one whose turn it is now be ready, and wait the one whose turn it was."""
    turn = queue.groups.turn(group)
    if before is not None and before != turn:
        for piece in queue.ready.take(before, before + 1):
            queue.blocked.add(*piece)
    if turn is not None:
        for first, last, tally in queue.blocked.take(turn, turn + 1):
            queue.ready.add(first, last, tally, next(with_terms(queue, first, last))[2].priority)


def begin(queue: Queue, first: int, last: int, terms: Terms) -> None:
    """Note the terms of messages that come into the queue, or into life again."""
    if terms == PLAIN:
        return
    queue.terms.take(first, last)
    queue.terms.add(first, last, terms)
    turn = queue.groups.turn(terms.group) if terms.group else None
    enlist(queue, first, last, terms)
    if terms.group:
        _pass_turn(queue, terms.group, turn)


def enlist(queue: Queue, first: int, last: int, terms: Terms) -> None:
    """Let messages be in the line of their group, and have their key."""
    if terms.group:
        queue.groups.join(terms.group, first, last)
    if terms.key:
        queue.keys.take(terms.key, first)


def start(queue: Queue, runs: Runs) -> None:
    """Note whose turn is leased. Live it was theirs before; on replay, who stood in front may be unknown."""
    if not queue.groups.lines:
        return
    for run in runs:
        for first, _, terms in list(queue.terms.pieces(*run)):
            if terms.group:
                turn = queue.groups.turn(terms.group)
                queue.groups.start(terms.group, first)
                if turn != first:
                    _pass_turn(queue, terms.group, turn)


def end(queue: Queue, runs: Runs, at: float | None, *, dead: bool = False) -> None:
    """Forget what is kept of messages that came to an end; dead letters keep their terms."""
    if queue.notes:
        for sequence in noted_in(queue, runs):
            del queue.notes[sequence]
    if queue.asked.count:
        for run in runs:
            queue.asked.take(*run)
    if queue.terms.count:
        for run in runs:
            _end_terms(queue, run, at)
            if not dead:
                queue.terms.take(*run)


def _end_terms(queue: Queue, run: Run, at: float | None) -> None:
    for first, last, terms in list(queue.terms.pieces(*run)):
        if terms.key:
            until = None if at is None else at + terms.key_seconds
            queue.keys.release(terms.key, first, until, at or 0.0)
        if terms.group:
            turn = queue.groups.turn(terms.group)
            queue.groups.leave(terms.group, first, last)
            _pass_turn(queue, terms.group, turn)


def forget(queue: Queue, runs: Runs) -> None:
    """Forget what was chosen for messages of which all is about to be said again."""
    if queue.terms.count:
        for run in runs:
            _end_terms(queue, run, None)
            queue.terms.take(*run)


def forget_gone(queue: Queue) -> None:
    """Forget what was said to and by messages that are not there to hear it, as a damaged log leaves it behind."""
    leased = merge([entry[:2] for lease in queue.leases.values() for entry in lease.runs])
    asked = merge([entry[:2] for entry in queue.asked])
    for run in subtract(asked, leased):
        queue.asked.take(*run)
    if queue.notes:
        waiting = waiting_in(queue, [(0, queue.next_sequence)])
        there = merge([*waiting, *leased, *[entry[:2] for entry in queue.dead]])
        queue.notes = {sequence: note for sequence, note in queue.notes.items() if contains(there, sequence)}


def rejoin(queue: Queue, pieces: Iterable[tuple[int, int, Tally]]) -> None:
    """Put messages into the lines of their groups that may be dead letters; others are there already."""
    if not queue.terms.count:
        return
    for first, last, _ in pieces:
        for since, until, terms in list(queue.terms.pieces(first, last)):
            if terms.group:
                turn = queue.groups.turn(terms.group)
                queue.groups.join(terms.group, since, until)
                _pass_turn(queue, terms.group, turn)


def noted_in(queue: Queue, runs: Runs) -> list[int]:
    """Return which messages of the runs have a note, in order."""
    if count(runs) < len(queue.notes):
        return [sequence for run in runs for sequence in range(*run) if sequence in queue.notes]
    return sorted([sequence for sequence in queue.notes if contains(runs, sequence)])


def revive(queue: Queue, runs: Runs) -> None:
    """Let dead letters be in their groups and have their keys again; they do not expire a second time."""
    if not queue.terms.count:
        return
    for run in runs:
        for first, last, terms in list(queue.terms.pieces(*run)):
            queue.terms.take(first, last)  # they may be plain from here on
            terms = terms._replace(expires_at=None)  # noqa: PLW2901  as they are from now on
            if terms.key and terms.key not in queue.keys.pending:
                begin(queue, first, first + 1, terms)  # only one of them has the key
                first += 1  # noqa: PLW2901  the rest of the run
            if first < last:
                begin(queue, first, last, terms._replace(key=""))


def split_asked(queue: Queue, runs: Runs) -> tuple[Runs, Runs]:
    """Return which of the runs were asked to end, and the others."""
    if not queue.asked.count:
        return (), runs
    asked = merge([piece[:2] for run in runs for piece in queue.asked.pieces(*run)])
    return asked, subtract(runs, asked)


def next_expiry_at(queue: Queue) -> float | None:
    """Return when the first waiting message expires, None if none does."""
    while (entry := queue.expiries.first) is not None:
        expires_at, first, last = entry
        for since, until, terms in with_terms(queue, first, last):
            if terms.expires_at == expires_at and any(_waiting(queue, since, until)):
                return expires_at
        queue.expiries.forget_first()  # those have gone, or come back here when they wait again
    return None


def lapsed(queue: Queue, now: float) -> Runs:
    """Return the waiting messages whose time is over."""
    expires_at = next_expiry_at(queue)
    if expires_at is None or expires_at > now:
        return ()
    due = merge(queue.expiries.due(now))
    over = [
        (first, last)
        for run in due
        for first, last, terms in with_terms(queue, *run)
        if terms.expires_at is not None and terms.expires_at <= now
    ]
    return merge(waiting_in(queue, merge(over)))


def waiting_in(queue: Queue, runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the parts of the runs that wait: ready, delayed, or for their turn."""
    return [piece for run in runs for piece in _waiting(queue, *run)]


def oldest(queue: Queue, most: int) -> Runs:
    """Return the first messages that wait, at most so many."""
    found: list[tuple[int, int]] = []
    for first, last in _waiting(queue, 0, queue.next_sequence):
        if most <= 0:
            break
        found.append((first, min(last, first + most)))
        most -= last - first
    return merge(found)


def _waiting(queue: Queue, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield what waits of a run: ready, delayed, or for its turn; in order."""
    pieces = merge_sorted(
        queue.ready.pieces(first, last),
        queue.delayed.runs.pieces(first, last),
        queue.blocked.pieces(first, last),
    )
    return (piece[:2] for piece in pieces)
