"""The changes: ``apply(queue, fact)``, one small function a fact.

Live, each fact fits the state, because it was decided on that state. On replay it may not: a segment was
dropped, a damaged frame is missing, volatile facts were never written. So a fact takes its messages where it
expects them, and else wherever they are; sequences that are nowhere are ignored, but counted: an acked
message never returns, whatever else was lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskqueue.core import facts, special
from daskqueue.core.producers import Producers
from daskqueue.core.queue import (
    KINDS_COUNTED,
    MAX_FINISHED,
    SUSPECT_LOSSES,
    Counters,
    Finished,
    HeldLease,
    Queue,
)
from daskqueue.core.runs import END, RunMap, Runs, contains, count, intersect, merge, subtract
from daskqueue.core.special import wait
from daskqueue.core.tally import DeadLetter, Piece, Tally
from daskqueue.message import Run, Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def apply(queue: Queue, fact: facts.Fact) -> None:
    """Change the state by what has happened; live operation and replay both come here."""
    _APPLY[type(fact)](queue, fact)


def _enqueued(queue: Queue, fact: facts.Enqueued) -> None:
    first, last = max(fact.first, queue.next_sequence), fact.first + fact.count
    queue.producers.record(fact.producer, fact.number, fact.first, fact.count)
    if first >= last:
        return
    queue.counters.enqueued += last - queue.next_sequence  # a gap: its frame was damaged
    queue.next_sequence = last
    if fact.terms is not None:
        special.begin(queue, first, last, fact.terms)
    wait(queue, first, last, Tally(0, 0, fact.retries), fact.due_at)


def _matched(queue: Queue, fact: facts.Matched) -> None:
    _must_have(queue, fact.sequence + 1)
    queue.producers.record(fact.producer, fact.number, fact.sequence, 0)  # none of it was put
    queue.counters.matched += 1


def _committed(queue: Queue, fact: facts.Committed) -> None:
    queue.committed = max(queue.committed, min(fact.sequence, queue.next_sequence))


def _matured(queue: Queue, fact: facts.Matured) -> None:
    for piece in queue.delayed.mature(fact.at):
        wait(queue, *piece)


def _leased(queue: Queue, fact: facts.Leased) -> None:
    taken: list[Piece] = []
    for run in fact.runs:
        taken += queue.ready.take(*run)
    wanted = count(fact.runs)
    if count_pieces(taken) < wanted:
        taken = sorted(taken + _take_living(queue, fact.runs))
    queue.counters.delivered += wanted
    queue.counters.redelivered += fact.redelivered
    queue.next_lease = max(queue.next_lease, fact.lease + 1)
    if not taken:
        return
    _make_way(queue, fact.lease)
    lease = HeldLease(
        fact.lease,
        fact.epoch,
        fact.consumer,
        fact.pool,
        fact.request,
        fact.runs,
        RunMap(taken),
        fact.deadline,
        any(tally.losses >= SUSPECT_LOSSES for _, _, tally in taken),
    )
    special.start(queue, fact.runs)
    queue.leases[fact.lease] = lease
    queue.held.setdefault(fact.consumer, []).append(fact.lease)
    queue.deadlines.add(fact.lease, fact.deadline, queue.leases)


def _make_way(queue: Queue, number: int) -> None:
    """Let what is known of an older lease of the same number go, as only a log that makes no sense has it."""
    queue.finished.pop(number, None)
    lease = queue.leases.get(number)
    if lease is not None:
        for piece in lease.runs.take(0, END):
            wait(queue, *piece)
        _finish(queue, number)
        del queue.finished[number]


def _acked(queue: Queue, fact: facts.Acked) -> None:
    _take(queue, fact.lease, fact.runs)
    queue.counters.acked += count(fact.runs)
    special.end(queue, fact.runs, fact.at)
    _finish(queue, fact.lease)
    if fact.at is not None:
        queue.told_at = fact.at


def _retried(queue: Queue, fact: facts.Retried) -> None:
    for first, last, tally in _take(queue, fact.lease, fact.runs):
        wait(queue, first, last, tally._replace(attempts=tally.attempts + 1), fact.due_at)
    queue.counters.retried += count(fact.runs)
    _finish(queue, fact.lease)


def _released(queue: Queue, fact: facts.Released) -> None:
    for piece in _take(queue, fact.lease, fact.runs):
        wait(queue, *piece, fact.due_at)
    if fact.due_at is None:
        queue.counters.released += count(fact.runs)
    else:
        queue.counters.snoozed += count(fact.runs)
    _finish(queue, fact.lease)


def _lease_lost(queue: Queue, fact: facts.LeaseLost) -> None:
    _lost(queue, fact.lease, fact.runs)
    for first, last, tally in _take(queue, fact.lease, fact.runs):
        wait(queue, first, last, tally._replace(losses=tally.losses + 1))
    if fact.reason == facts.EXPIRED:
        queue.counters.leases_expired += 1
    else:
        queue.counters.leases_lost += 1
    _finish(queue, fact.lease)


def _died(queue: Queue, fact: facts.Died) -> None:
    if fact.lost:
        _lost(queue, fact.lease, fact.runs)
    for first, last, tally in _take(queue, fact.lease, fact.runs):
        last_tally = (
            tally._replace(losses=tally.losses + 1)
            if fact.lost
            else tally._replace(attempts=tally.attempts + 1)
        )
        queue.dead.add(first, last, DeadLetter(last_tally, fact.reason, fact.at))
    dead = queue.counters.dead
    dead[fact.reason] = dead.get(fact.reason, 0) + count(fact.runs)
    special.end(queue, fact.runs, fact.at, dead=True)
    _finish(queue, fact.lease)


def _redriven(queue: Queue, fact: facts.Redriven) -> None:
    taken = _take_anywhere(queue, fact.runs)
    special.revive(queue, fact.runs)
    for first, last, tally in taken:
        wait(queue, first, last, Tally(0, 0, tally.retries))
    queue.counters.redriven += count(fact.runs)


def _discarded(queue: Queue, fact: facts.Discarded) -> None:
    _take_anywhere(queue, fact.runs)
    queue.counters.purged += count(fact.runs)
    special.end(queue, fact.runs, None)


def _cancel_asked(queue: Queue, fact: facts.CancelAsked) -> None:
    _must_have(queue, fact.runs[-1].last if fact.runs else 0)
    for run in fact.runs:
        queue.asked.take(*run)
        queue.asked.add(*run, True)


def _cancelled(queue: Queue, fact: facts.Cancelled) -> None:
    _take_anywhere(queue, fact.runs)
    queue.counters.cancelled += count(fact.runs)
    special.end(queue, fact.runs, fact.at)


def _dropped(queue: Queue, fact: facts.Dropped) -> None:
    _take_anywhere(queue, fact.runs)
    if fact.reason == facts.EXPIRED:
        queue.counters.expired += count(fact.runs)
    else:
        queue.counters.displaced += count(fact.runs)
    special.end(queue, fact.runs, fact.at)


def _progressed(queue: Queue, fact: facts.Progressed) -> None:
    _must_have(queue, fact.sequence + 1)
    queue.notes[fact.sequence] = fact.note


def _purged(queue: Queue, fact: facts.Purged) -> None:
    _take_anywhere(queue, fact.runs)
    queue.counters.purged += count(fact.runs)
    special.end(queue, fact.runs, fact.at)


def _paused(queue: Queue, fact: facts.Paused) -> None:
    queue.paused = fact.paused


def _restarted(queue: Queue, fact: facts.Restarted) -> None:
    queue.epoch = fact.epoch
    queue.told_at = fact.deadline
    queue.committed = queue.next_sequence
    for lease in queue.leases.values():
        lease.deadline = fact.deadline
    queue.deadlines.rebuild(queue.leases)
    special.forget_gone(queue)


def _extended(queue: Queue, fact: facts.Extended) -> None:
    for number in fact.leases:
        lease = queue.leases[number]
        lease.deadline = max(lease.deadline, fact.deadline)


def _deduplicated(queue: Queue, fact: facts.Deduplicated) -> None:
    queue.counters.deduplicated += fact.count


def _moved(queue: Queue, fact: facts.Moved) -> None:
    """Say again where messages are: nothing changes where they are known, the unknown come into being."""
    runs = merge([row[:2] for rows in (fact.ready, fact.delayed, fact.dead) for row in rows])
    if not runs:
        return
    _take_anywhere(queue, runs)
    special.forget(queue, runs)
    alive = merge([row[:2] for rows in (fact.ready, fact.delayed) for row in rows])
    for first, last, *fields in fact.terms:
        _moved_terms(queue, intersect(runs, (Run(first, last),)), Terms(*fields), alive)
    queue.notes.update([noted for noted in fact.notes if contains(runs, noted[0])])
    for first, last, *tally in fact.ready:
        wait(queue, first, last, Tally(*tally))
    for first, last, attempts, losses, retries, due_at in fact.delayed:
        wait(queue, first, last, Tally(attempts, losses, retries), due_at)
    died_at: RunMap[float | None] = RunMap(fact.died_at)
    for first, last, attempts, losses, retries, reason in fact.dead:
        moments = [*died_at.pieces(first, last)]
        known = merge([piece[:2] for piece in moments])
        moments += [(*run, None) for run in subtract((Run(first, last),), known)]
        for since, until, at in sorted(moments):
            letter = DeadLetter(Tally(attempts, losses, retries), reason, at)
            queue.dead.add(since, until, letter)


def _moved_terms(queue: Queue, runs: Runs, terms: Terms, alive: Runs) -> None:
    for part in intersect(alive, runs):
        special.begin(queue, *part, terms)
    for part in subtract(runs, alive):
        queue.terms.add(*part, terms)


def _carried(queue: Queue, fact: facts.Carried) -> None:
    queue.next_sequence = max(queue.next_sequence, fact.next_sequence)
    queue.epoch = fact.epoch
    queue.next_lease = max(queue.next_lease, fact.next_lease)
    queue.paused = fact.paused
    queue.counters = Counters(dict(fact.dead_by_reason), *fact.counters[:KINDS_COUNTED])
    queue.producers = Producers.load(fact.producers)
    queue.keys.load(fact.kept_keys)


def _take(queue: Queue, number: int, runs: Runs) -> list[Piece]:
    """Take the runs out of a lease, or, where it has not all of them, out of whatever has them."""
    lease = queue.leases.get(number)
    taken: list[Piece] = []
    if lease is not None:
        for run in runs:
            taken += lease.runs.take(*run)
    if count_pieces(taken) < count(runs):
        taken += _take_living(queue, runs)
    return taken


def _take_living(queue: Queue, runs: Runs) -> list[Piece]:
    """Take the runs out of whatever has them, to be leased or to wait: dead letters are in their groups again."""
    taken = _take_anywhere(queue, runs)
    special.rejoin(queue, taken)
    return taken


def _must_have(queue: Queue, last: int) -> None:
    """Count messages up to *last*, of which a fact speaks: they were put, even if that frame was damaged."""
    if last > queue.next_sequence:
        queue.counters.enqueued += last - queue.next_sequence
        queue.next_sequence = last


def _take_anywhere(queue: Queue, runs: Runs) -> list[Piece]:
    taken: list[Piece] = []
    _must_have(queue, runs[-1].last if runs else 0)
    for first, last in runs:
        taken += queue.ready.take(first, last)
        taken += queue.delayed.take(first, last)
        taken += queue.blocked.take(first, last)
        taken += [(since, until, letter.tally) for since, until, letter in queue.dead.take(first, last)]
        for lease in list(queue.leases.values()):
            taken += lease.runs.take(first, last)
            _finish(queue, lease.number)
    return taken


def _lost(queue: Queue, number: int, runs: Runs) -> None:
    lease = queue.leases.get(number)
    if lease is not None:
        lease.lost = merge(lease.lost + runs)


def _finish(queue: Queue, number: int) -> None:
    """Let a lease end with the last of its messages; remember it for acks that come again."""
    lease = queue.leases.get(number)
    if lease is None or lease.runs.count:
        return
    del queue.leases[number]
    numbers = queue.held[lease.consumer]
    numbers.remove(number)
    if not numbers:
        del queue.held[lease.consumer]
    queue.finished[number] = Finished(lease.epoch, lease.granted, lease.lost)
    if len(queue.finished) > MAX_FINISHED:
        del queue.finished[next(iter(queue.finished))]


def count_pieces(pieces: Iterable[tuple[int, int, Any]]) -> int:
    """Return how many messages are in *pieces*."""
    return sum([last - first for first, last, _ in pieces])


_APPLY: dict[type[facts.Fact], Callable[[Queue, Any], None]] = {
    facts.Enqueued: _enqueued,
    facts.Matched: _matched,
    facts.Committed: _committed,
    facts.Matured: _matured,
    facts.Leased: _leased,
    facts.Acked: _acked,
    facts.Retried: _retried,
    facts.Released: _released,
    facts.LeaseLost: _lease_lost,
    facts.Died: _died,
    facts.Redriven: _redriven,
    facts.Discarded: _discarded,
    facts.CancelAsked: _cancel_asked,
    facts.Cancelled: _cancelled,
    facts.Dropped: _dropped,
    facts.Progressed: _progressed,
    facts.Purged: _purged,
    facts.Paused: _paused,
    facts.Restarted: _restarted,
    facts.Extended: _extended,
    facts.Deduplicated: _deduplicated,
    facts.Moved: _moved,
    facts.Carried: _carried,
}
