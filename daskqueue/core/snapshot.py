"""The state as plain lists, for checkpoints; and the part of it that each segment carries at its head.

Deadlines and *committed* are not kept: what is read back from a disk is committed, and a restart gives every
lease new time.
"""

from __future__ import annotations

from typing import Any

from daskqueue.core.facts import Carried
from daskqueue.core.producers import Producers
from daskqueue.core.queue import Counters, Finished, HeldLease, Queue, Settings
from daskqueue.core.runs import RunMap, Runs, merge
from daskqueue.core.tally import DeadLetter, Tally
from daskqueue.errors import CorruptionError, FormatError

VERSION = 1


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
    )


def _restore(data: list[Any] | tuple[Any, ...], settings: Settings) -> Queue:
    queue = Queue(settings)
    (_, numbers, (counters, dead_by_reason), producers, ready, delayed, dead, leases, finished, *_later) = (
        data
    )
    queue.next_sequence, queue.epoch, queue.next_lease, queue.paused = numbers
    queue.committed = queue.next_sequence
    queue.counters = Counters(dict(dead_by_reason), *counters)
    queue.producers = Producers.load(producers)
    for first, last, *tally in ready:
        queue.ready.add(first, last, Tally(*tally))
    for first, last, due_at, *tally in delayed:
        queue.delayed.add(first, last, due_at, Tally(*tally))
    for first, last, reason, *tally in dead:
        queue.dead.add(first, last, DeadLetter(Tally(*tally), reason))
    for dumped in leases:
        _restore_lease(queue, dumped)
    for number, epoch, granted, lost in finished:
        queue.finished[number] = Finished(epoch, _runs(granted), _runs(lost))
    return queue


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
