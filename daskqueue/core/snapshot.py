"""The state as plain lists, for checkpoints; and the part of it that each segment carries at its head.

Deadlines and *committed* are not kept: what is read back from a disk is committed, and a restart gives every
lease new time.
"""

from __future__ import annotations

from typing import Any

from daskqueue.core import special
from daskqueue.core.facts import Carried
from daskqueue.core.keys import CARRIED_KEYS
from daskqueue.core.producers import Producers
from daskqueue.core.queue import Counters, Finished, HeldLease, Queue, Settings
from daskqueue.core.runs import RunMap, Runs, merge, subtract
from daskqueue.core.tally import DeadLetter, Tally
from daskqueue.errors import CorruptionError, FormatError
from daskqueue.message import Run, Terms

VERSION = 1
_NOTHING_SPECIAL: list[Any] = [[], [], [], [], [], []]


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
        CorruptionError: this is no snapshot.
    """
    try:
        version = data[0]
        if version == VERSION:
            return _restore(data, settings or Settings())
    except (TypeError, ValueError, IndexError, AttributeError) as error:
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
    queue.next_sequence, queue.epoch, queue.next_lease, queue.paused = numbers
    queue.committed = queue.next_sequence
    queue.counters = Counters(dict(dead_by_reason), *counters)
    queue.producers = Producers.load(producers)
    chosen = later[0] if later else _NOTHING_SPECIAL
    _restore_terms(queue, chosen[0])
    for first, last, *tally in ready:
        for since, until, terms in special.with_terms(queue, first, last):
            queue.ready.add(since, until, Tally(*tally), terms.priority)
    for first, last, due_at, *tally in delayed:
        queue.delayed.add(first, last, due_at, Tally(*tally))
    for first, last, reason, *tally in dead:
        queue.dead.add(first, last, DeadLetter(Tally(*tally), reason))
    for dumped in leases:
        _restore_lease(queue, dumped)
    for number, epoch, granted, lost in finished:
        queue.finished[number] = Finished(epoch, _runs(granted), _runs(lost))
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


def _restore_terms(queue: Queue, rows: list[Any]) -> None:
    for first, last, *fields in rows:
        queue.terms.add(first, last, Terms(*map(_frozen, fields[: len(Terms._fields)])))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _restore_special(queue: Queue, chosen: list[Any]) -> None:
    _, kept_keys, notes, asked, blocked, died_at, *_later = chosen
    queue.keys.load(kept_keys)
    queue.notes.update({sequence: bytes(note) for sequence, note in notes})
    for first, last in asked:
        queue.asked.add(first, last, True)
    for first, last, *tally in blocked:
        queue.blocked.add(first, last, Tally(*tally))
    for first, last, at in died_at:
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
    runs = RunMap((first, last, Tally(*tally)) for first, last, *tally in entries)
    queue.leases[number] = HeldLease(
        number, epoch, consumer, pool, request, _runs(granted), runs, 0.0, suspect, _runs(lost)
    )
    queue.held.setdefault(consumer, []).append(number)
    queue.deadlines.add(number, 0.0, queue.leases)


def _runs(pairs: list[tuple[int, int]]) -> Runs:
    return merge([(first, last) for first, last in pairs])
