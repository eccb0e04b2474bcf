"""The rules: ``decide(queue, command, now)`` says what happens; one small function a verb."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

from daskqueue.core import commands, facts, lending, settling, special
from daskqueue.core.commands import Command, Decision, Moving
from daskqueue.core.runs import Runs, contains, merge
from daskqueue.errors import QueueError, QueueFullError
from daskqueue.message import PLAIN, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from daskqueue.core.queue import Queue

R = TypeVar("R")


def decide(queue: Queue, command: Command[R], now: float) -> Decision[R]:
    """Say what *command* does to the queue at *now* (epoch seconds); nothing is changed.

    Raises:
        ValueError: the command makes no sense in any state.
        QueueFullError: a put beyond the bound of the queue.
        QueueError: a put that came before, so long ago that its place is forgotten.
        StaleReceiptError: a receipt of which nothing is known.
    """
    decision: Decision[R] = _DECIDE[type(command)](queue, command, now)
    return decision


def _put(queue: Queue, command: commands.Put, now: float) -> Decision[int]:
    if command.count < 1 or command.retries < 0 or command.number < 0:
        raise ValueError(f"a put needs count >= 1, retries >= 0 and number >= 0: {command}")
    if queue.producers.seen(command.producer, command.number):
        return _put_again(queue, command)
    terms = command.terms
    if terms.key:
        if command.count > 1:
            raise ValueError(f"a key is for one message, not for {command.count}")
        holder = queue.keys.holder(terms.key, now)
        if holder is not None:
            return Decision(-1 - holder, (facts.Matched(holder, command.producer, command.number),))
    room = _make_room(queue, command, now)
    if command.expires is not None:
        terms = terms._replace(expires_at=now + command.expires)
    first = queue.next_sequence
    fact = facts.Enqueued(
        first,
        command.count,
        command.producer,
        command.number,
        command.retries,
        _not_before(command, now),
        terms if terms != PLAIN else None,
    )
    return Decision(first, (*room, fact))


def _not_before(command: commands.Put, now: float) -> float | None:
    due_at = settling.due_at(now, command.delay)
    if command.not_before is None or command.not_before <= now:
        return due_at
    return max(command.not_before, due_at or 0.0)


def _make_room(queue: Queue, command: commands.Put, now: float) -> tuple[facts.Fact, ...]:
    """Return what has to go so that the put fits into the bounds; nothing in most cases."""
    bounds = queue.settings
    if bounds.max_messages is None and bounds.max_bytes is None:
        return ()
    unsettled = queue.waiting + queue.in_flight
    excess = 0 if bounds.max_messages is None else unsettled + command.count - bounds.max_messages
    if bounds.max_bytes is not None and unsettled:
        bytes_over = command.held_bytes + command.size_bytes - bounds.max_bytes
        excess = max(excess, ceil(bytes_over * unsettled / max(command.held_bytes, 1)))
    if excess <= 0:
        return ()
    if not command.drop_oldest or queue.waiting < excess:
        raise QueueFullError(_full(queue, command, unsettled))
    return (facts.Dropped(special.oldest(queue, excess), facts.DISPLACED, now),)


def _full(queue: Queue, command: commands.Put, unsettled: int) -> str:
    bounds = queue.settings
    told = f"the queue holds {unsettled} messages"
    if bounds.max_messages is not None:
        told += f" of at most {bounds.max_messages}"
    if bounds.max_bytes is not None:
        told += f", {command.held_bytes} bytes of at most {bounds.max_bytes}"
    return (
        f"{told}; {command.count} more ({command.size_bytes} bytes) do not fit" if bounds.max_bytes else told
    )


def _put_again(queue: Queue, command: commands.Put) -> Decision[int]:
    place = queue.producers.place(command.producer, command.number)
    if place is None:
        raise QueueError(f"put {command.number} was accepted before, too long ago to know where it is")
    first, accepted = place
    if not accepted:  # its key was taken
        return Decision(-1 - first, (facts.Deduplicated(command.count),))
    if accepted != command.count:
        raise QueueError(
            f"put {command.number} came before with {accepted} messages, now with {command.count}"
        )
    return Decision(first, (facts.Deduplicated(accepted),))


def _cancel(queue: Queue, command: commands.Cancel, now: float) -> Decision[Runs]:
    wanted = merge(command.runs)
    runs = merge(special.waiting_in(queue, wanted))
    leased = merge(
        [piece[:2] for lease in queue.leases.values() for run in wanted for piece in lease.runs.pieces(*run)]
    )
    _, asked = special.split_asked(queue, leased)
    happened: list[facts.Fact] = []
    if runs:
        happened.append(facts.Cancelled(runs, now))
    if asked:
        happened.append(facts.CancelAsked(asked))
    return Decision(runs, tuple(happened))


def _purge(queue: Queue, _command: commands.Purge, now: float) -> Decision[Runs]:
    runs = merge(special.waiting_in(queue, [(0, queue.next_sequence)]))
    return Decision(runs, (facts.Purged(runs, now),) if runs else ())


def _redrive(queue: Queue, command: commands.Redrive, _now: float) -> Decision[Runs]:
    runs = _limited(_dead(queue, command.runs), command.limit)
    return Decision(runs, (facts.Redriven(runs),) if runs else ())


def _discard(queue: Queue, command: commands.Discard, _now: float) -> Decision[Runs]:
    runs = _dead(queue, command.runs)
    return Decision(runs, (facts.Discarded(runs),) if runs else ())


def _dead(queue: Queue, given: Iterable[tuple[int, int]] | None) -> Runs:
    if given is None:
        return merge([entry[:2] for entry in queue.dead])
    return merge([piece[:2] for run in merge(given) for piece in queue.dead.pieces(*run)])


def _limited(runs: Runs, limit: int | None) -> Runs:
    if limit is None:
        return runs
    kept: list[Run] = []
    for first, last in runs:
        if limit <= 0:
            break
        kept.append(Run(first, min(last, first + limit)))
        limit -= kept[-1].count
    return tuple(kept)


def _pause(queue: Queue, command: commands.Pause, _now: float) -> Decision[None]:
    return Decision(None, (facts.Paused(command.paused),) if command.paused != queue.paused else ())


def _restart(queue: Queue, command: commands.Restart, now: float) -> Decision[None]:
    if command.epoch <= queue.epoch:
        raise ValueError(f"a restart needs an epoch above {queue.epoch}, not {command.epoch}")
    return Decision(None, (facts.Restarted(command.epoch, now + command.grace),))


def _move(queue: Queue, command: commands.Move, _now: float) -> Decision[Moving]:
    run = command.run
    waiting = sorted([*queue.ready.pieces(*run), *queue.blocked.pieces(*run)])
    ready = tuple([(first, last, *tally) for first, last, tally in waiting])
    delayed = tuple(
        [(first, last, *delay.tally, delay.due_at) for first, last, delay in queue.delayed.runs.pieces(*run)]
    )
    letters = list(queue.dead.pieces(*run))
    dead = tuple([(first, last, *letter.tally, letter.reason) for first, last, letter in letters])
    died_at = tuple([(*letter[:2], letter[2].died_at) for letter in letters if letter[2].died_at is not None])
    movable = merge([entry[:2] for entries in (ready, delayed, dead) for entry in entries])
    leased = merge([piece[:2] for lease in queue.leases.values() for piece in lease.runs.pieces(*run)])
    if not movable:
        return Decision(Moving(movable, leased))
    terms = tuple([(*piece[:2], *piece[2]) for part in movable for piece in queue.terms.pieces(*part)])
    notes = tuple([(sequence, note) for sequence, note in queue.notes.items() if contains(movable, sequence)])
    return Decision(Moving(movable, leased), (facts.Moved(ready, delayed, dead, terms, notes, died_at),))


_DECIDE: dict[type[Command[Any]], Callable[[Queue, Any, float], Decision[Any]]] = {
    commands.Put: _put,
    commands.Lease: lending.lease,
    commands.Ack: settling.ack,
    commands.Nack: settling.nack,
    commands.Release: settling.release,
    commands.Crash: settling.crash,
    commands.Stop: settling.stop,
    commands.Note: lending.note,
    commands.Extend: lending.extend,
    commands.Expire: lending.expire,
    commands.Lose: lending.lose,
    commands.Cancel: _cancel,
    commands.Purge: _purge,
    commands.Redrive: _redrive,
    commands.Discard: _discard,
    commands.Pause: _pause,
    commands.Restart: _restart,
    commands.Move: _move,
}
