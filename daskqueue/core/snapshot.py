"""The state as plain lists, for checkpoints; and the part of it that each segment carries at its head.

Deadlines and *committed* are not kept: what is read back from a disk is committed, and a restart gives every
lease new time.
"""

from __future__ import annotations

from typing import Any

from daskqueue.core import readers, special
from daskqueue.core.facts import Carried
from daskqueue.core.invariants import InvariantError, check_shape
from daskqueue.core.keys import CARRIED_KEYS
from daskqueue.core.producers import Producers
from daskqueue.core.queue import KINDS_COUNTED, Counters, Finished, HeldLease, Queue, Settings
from daskqueue.core.runs import RunMap, merge, subtract
from daskqueue.core.tally import DeadLetter, Tally
from daskqueue.errors import CorruptionError, FormatError
from daskqueue.message import Run, Terms

VERSION = 1
_NOTHING_SPECIAL: list[Any] = [[], [], [], [], [], []]

_COUNTED = readers.rows(readers.text, readers.count)
_READY = readers.run_rows(*readers.TALLY)
_DELAYED = readers.run_rows(readers.moment, *readers.TALLY)
_DEAD = readers.run_rows(readers.text, *readers.TALLY)
_NOTES = readers.rows(readers.message, readers.octets)
_ASKED = readers.run_rows()
_DIED_AT = readers.run_rows(readers.moment)


def snapshot(queue: Queue) -> list[Any]:
    """Return all that replay could not find out again, as lists that msgpack can pack."""
    counters = queue.counters
    return [
        VERSION,
        [queue.next_sequence, queue.epoch, queue.next_lease, queue.paused],
        [counters.numbers(), list(counters.dead.items())],
        queue.producers.dump(),
        [(first, last, *tally) for first, last, tally in queue.ready],
        [(first, last, delay.due_at, *delay.tally) for first, last, delay in queue.delayed.runs],
        [(first, last, letter.reason, *letter.tally) for first, last, letter in queue.dead],
        [_dump_lease(lease) for lease in queue.leases.values()],
        [(number, *finished) for number, finished in queue.finished.items()],
        _dump_special(queue),
    ]


def restore(data: list[Any] | tuple[Any, ...], settings: Settings | None = None) -> Queue:
    """Return the queue that :func:`snapshot` was called on; a restart must follow before it leases.

    Raises:
        FormatError: the snapshot was made by a later version.
        CorruptionError: this is no snapshot, or one that contradicts itself.
    """
    try:
        version = data[0]
        if version == VERSION:
            queue = _restore(data, settings or Settings())
            check_shape(queue)
            return queue
    except (TypeError, ValueError, IndexError, KeyError, InvariantError) as error:
        raise CorruptionError(f"this is no snapshot of a queue: {error}") from error
    raise FormatError(f"a snapshot of version {version!r}; this daskqueue reads version {VERSION}")


def carry(queue: Queue) -> Carried:
    """Return what the next segment must know of those before it; applying it here changes nothing."""
    counters = queue.counters
    return Carried(
        queue.next_sequence,
        queue.epoch,
        queue.next_lease,
        queue.paused,
        counters.numbers(),
        tuple(counters.dead.items()),
        queue.producers.dump(),
        queue.keys.dump(CARRIED_KEYS),
    )


def _restore(data: list[Any] | tuple[Any, ...], settings: Settings) -> Queue:
    queue = Queue(settings)
    (_, numbers, (counters, dead_by_reason), producers, ready, delayed, dead, leases, finished, *later) = data
    last, epoch, next_lease, paused = numbers
    queue.next_sequence = queue.committed = readers.below(readers.END + 1)(last)
    queue.epoch, queue.next_lease = readers.count(epoch), readers.count(next_lease)
    queue.paused = readers.flag(paused)
    counted = [readers.count(number) for number in counters]
    queue.counters = Counters(dict(_COUNTED(dead_by_reason)), *counted[:KINDS_COUNTED])
    queue.producers = Producers.load(readers.producers(producers))
    chosen = later[0] if later else _NOTHING_SPECIAL
    for first, last, *fields in readers.terms_rows(chosen[0]):
        queue.terms.add(first, last, Terms(*fields))
    for first, last, *tally in _READY(ready):
        for since, until, terms in special.with_terms(queue, first, last):
            queue.ready.add(since, until, Tally(*tally), terms.priority)
    for first, last, due_at, *tally in _DELAYED(delayed):
        queue.delayed.add(first, last, due_at, Tally(*tally))
    for first, last, reason, *tally in _DEAD(dead):
        queue.dead.add(first, last, DeadLetter(Tally(*tally), reason))
    for dumped in leases:
        _restore_lease(queue, dumped)
    for number, of_epoch, granted, lost in finished:
        done = Finished(readers.count(of_epoch), readers.runs(granted), readers.runs(lost))
        queue.finished[readers.count(number)] = done
    _restore_special(queue, chosen)
    return queue


def _dump_special(queue: Queue) -> list[Any]:
    """Return what only some messages have; all of it is empty in most queues."""
    return [
        [(first, last, *terms) for first, last, terms in queue.terms],
        queue.keys.dump(),
        list(queue.notes.items()),
        [entry[:2] for entry in queue.asked],
        [(first, last, *tally) for first, last, tally in queue.blocked],
        [(first, last, letter.died_at) for first, last, letter in queue.dead if letter.died_at is not None],
    ]


def _restore_special(queue: Queue, chosen: list[Any]) -> None:
    _, kept_keys, notes, asked, blocked, died_at, *_later = chosen
    queue.keys.load(readers.kept_keys(kept_keys))
    queue.notes.update(_NOTES(notes))
    for first, last in _ASKED(asked):
        queue.asked.add(first, last, True)
    for first, last, *tally in _READY(blocked):
        queue.blocked.add(first, last, Tally(*tally))
    for first, last, at in _DIED_AT(died_at):
        for since, until, letter in queue.dead.take(first, last):
            queue.dead.add(since, until, letter._replace(died_at=at))
    dead = merge([entry[:2] for entry in queue.dead])
    for first, last, terms in list(queue.terms):
        for part in subtract((Run(first, last),), dead):
            special.enlist(queue, *part, terms)
    for lease in queue.leases.values():
        special.start(queue, merge([entry[:2] for entry in lease.runs]))
    queue.expiries.rebuild(queue.terms)


def _dump_lease(lease: HeldLease) -> tuple[Any, ...]:
    return (
        lease.number,
        lease.epoch,
        lease.consumer,
        lease.pool,
        lease.request,
        lease.granted,
        [(first, last, *tally) for first, last, tally in lease.runs],
        lease.suspect,
        lease.lost,
    )


def _restore_lease(queue: Queue, dumped: list[Any]) -> None:
    number, epoch, consumer, pool, request, granted, entries, suspect, lost = dumped
    runs = RunMap((first, last, Tally(*tally)) for first, last, *tally in _READY(entries))
    lease = queue.leases[readers.count(number)] = HeldLease(
        number,
        readers.count(epoch),
        readers.text(consumer),
        readers.text(pool),
        readers.integer(request),
        readers.runs(granted),
        runs,
        0.0,
        readers.flag(suspect),
        readers.runs(lost),
    )
    queue.held.setdefault(lease.consumer, []).append(number)
    queue.deadlines.add(number, 0.0, queue.leases)
