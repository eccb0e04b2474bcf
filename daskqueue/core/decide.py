"""The rules: ``decide(queue, command, now)`` says what happens; one small function a verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from daskqueue.core import commands, facts, lending, settling
from daskqueue.core.commands import Command, Decision, Moving
from daskqueue.core.runs import Runs, merge
from daskqueue.errors import QueueError, QueueFullError
from daskqueue.message import Run

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
    bound = queue.settings.max_messages
    if bound is not None:
        unsettled = queue.ready.count + queue.delayed.count + queue.in_flight
        if unsettled + command.count > bound:
            raise QueueFullError(f"the queue holds {unsettled} messages of at most {bound}")
    first = queue.next_sequence
    due_at = settling.due_at(now, command.delay)
    fact = facts.Enqueued(first, command.count, command.producer, command.number, command.retries, due_at)
    return Decision(first, (fact,))


def _put_again(queue: Queue, command: commands.Put) -> Decision[int]:
    place = queue.producers.place(command.producer, command.number)
    if place is None:
        raise QueueError(f"put {command.number} was accepted before, too long ago to know where it is")
    first, accepted = place
    if accepted != command.count:
        raise QueueError(
            f"put {command.number} came before with {accepted} messages, now with {command.count}"
        )
    return Decision(first, (facts.Deduplicated(accepted),))


def _cancel(queue: Queue, command: commands.Cancel, _now: float) -> Decision[Runs]:
    waiting = [
        piece[:2]
        for run in merge(command.runs)
        for pieces in (queue.ready.pieces(*run), queue.delayed.runs.pieces(*run))
        for piece in pieces
    ]
    runs = merge(waiting)
    return Decision(runs, (facts.Cancelled(runs),) if runs else ())


def _purge(queue: Queue, _command: commands.Purge, _now: float) -> Decision[Runs]:
    runs = merge([entry[:2] for entries in (queue.ready, queue.delayed.runs) for entry in entries])
    return Decision(runs, (facts.Purged(runs),) if runs else ())


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
    ready = tuple([(first, last, *tally) for first, last, tally in queue.ready.pieces(*run)])
    delayed = tuple(
        [(first, last, *delay.tally, delay.due_at) for first, last, delay in queue.delayed.runs.pieces(*run)]
    )
    dead = tuple(
        [(first, last, *letter.tally, letter.reason) for first, last, letter in queue.dead.pieces(*run)]
    )
    movable = merge([entry[:2] for entries in (ready, delayed, dead) for entry in entries])
    leased = merge([piece[:2] for lease in queue.leases.values() for piece in lease.runs.pieces(*run)])
    return Decision(Moving(movable, leased), (facts.Moved(ready, delayed, dead),) if movable else ())


_DECIDE: dict[type[Command[Any]], Callable[[Queue, Any, float], Decision[Any]]] = {
    commands.Put: _put,
    commands.Lease: lending.lease,
    commands.Ack: settling.ack,
    commands.Nack: settling.nack,
    commands.Release: settling.release,
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
