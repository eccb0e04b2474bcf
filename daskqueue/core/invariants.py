"""What must hold after every fact; tests check it, and so may whoever doubts a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskqueue.core import special
from daskqueue.core.queue import MAX_FINISHED
from daskqueue.core.reads import missing
from daskqueue.core.runs import RunMap, Runs, contains, count, intersect, merge, subtract
from daskqueue.message import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskqueue.core.queue import HeldLease, Queue
    from daskqueue.core.tally import Tally


class InvariantError(AssertionError):
    """The state of a queue contradicts itself."""


def check(queue: Queue) -> None:
    """Say what is wrong with the state of a queue all of whose facts are known, if anything is.

    Raises:
        InvariantError: with a sentence that names the broken rule.
    """
    check_shape(queue)
    _check_tallies(queue)
    for lease in queue.leases.values():
        _check_story(queue, lease)
    _check_turns(queue)
    _check_asked(queue)
    _require(missing(queue) == 0, f"{missing(queue)} messages were accepted and are in no state")


def check_shape(queue: Queue) -> None:
    """Say what contradicts itself in the state, which may come from a log with holes, or one that makes no sense.

    Raises:
        InvariantError: with a sentence that names the broken rule.
    """
    _check_maps(queue)
    _check_states(queue)
    _check_leases(queue)
    _check_time(queue)
    _check_special(queue)


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise InvariantError(sentence)


def _maps(queue: Queue) -> Iterator[tuple[str, RunMap[Any]]]:
    for priority, lane in queue.ready.lanes:
        yield f"ready with priority {priority}", lane
    yield "delayed", queue.delayed.runs
    yield "blocked", queue.blocked
    yield "dead", queue.dead
    for lease in queue.leases.values():
        yield f"lease {lease.number}", lease.runs


def _check_maps(queue: Queue) -> None:
    for name, runs in _maps(queue):
        size, end, before = 0, -1, None
        for first, last, value in runs:
            # No _require: a sentence for each of a million entries would take longer than the look.
            if not end <= first < last:
                raise InvariantError(f"{name} is not sorted, or has an empty run: {first}, {last}")
            if first == end and value == before:
                raise InvariantError(f"{name} could be merged at {first}")
            size += last - first
            end, before = last, value
        _require(runs.count == size, f"{name} is counted wrongly")


def _check_states(queue: Queue) -> None:
    """Each sequence is in at most one state; what is in none is settled."""
    end, before = 0, ""
    for first, last, name in sorted((*entry[:2], name) for name, runs in _maps(queue) for entry in runs):
        if first < end:
            raise InvariantError(f"message {first} is in two states: {before}, {name}")
        end, before = last, name
    _require(end <= queue.next_sequence, f"message {end - 1} was never put")
    _require(queue.committed <= queue.next_sequence, "more is committed than was put")


def _check_tallies(queue: Queue) -> None:
    waiting: list[tuple[str, Tally]] = [("ready", tally) for _, _, tally in queue.ready]
    waiting += [("blocked", tally) for _, _, tally in queue.blocked]
    waiting += [("delayed", delay.tally) for _, _, delay in queue.delayed.runs]
    waiting += [("leased", tally) for lease in queue.leases.values() for _, _, tally in lease.runs]
    for name, tally in waiting:
        _require(tally.attempts <= tally.retries, f"{name} beyond its attempts: {tally}")
        _require(tally.losses < queue.settings.max_losses, f"{name} beyond its deliveries: {tally}")


def _check_leases(queue: Queue) -> None:
    held = sorted(number for numbers in queue.held.values() for number in numbers)
    _require(held == sorted(queue.leases), "the leases by consumer are not the leases")
    for number, lease in queue.leases.items():
        _require(number == lease.number < queue.next_lease, f"lease {number} has a number yet to come")
        _require(number in queue.held[lease.consumer], f"lease {number} is not with its consumer")
        _require(number not in queue.finished, f"lease {number} has ended and has not")
        _check_out(queue, lease)
    _require(len(queue.finished) <= MAX_FINISHED, "too many finished leases are remembered")


def _check_out(queue: Queue, lease: HeldLease) -> None:
    out = merge([entry[:2] for entry in lease.runs])
    _require(bool(out), f"lease {lease.number} has nothing out and lives")
    _require(not subtract(out, lease.granted), f"lease {lease.number} has more out than was granted")
    _require(not intersect(out, lease.lost), f"lease {lease.number} has out what it lost")
    _require(out[-1].last <= queue.committed, f"lease {lease.number} has out what is not committed")


def _check_story(queue: Queue, lease: HeldLease) -> None:
    """What follows from the rules by which leases are given, if no fact is missing."""
    _require(lease.epoch <= queue.epoch, f"lease {lease.number} has an epoch yet to come")
    if lease.suspect:
        _require(count(lease.granted) == 1, f"lease {lease.number} has a suspect with others")
        alone = queue.held[lease.consumer] == [lease.number]
        _require(alone, f"{lease.consumer} holds a suspect and more")


def _check_time(queue: Queue) -> None:
    due = [delay.due_at for _, _, delay in queue.delayed.runs]
    _require(queue.delayed.next_due_at() == min(due, default=None), "the next due moment is wrong")
    deadlines = [lease.deadline for lease in queue.leases.values()]
    earliest = queue.deadlines.earliest(queue.leases)
    _require(earliest == min(deadlines, default=None), "the earliest deadline is wrong")
    expiries = [
        terms.expires_at
        for run in special.waiting_in(queue, [(0, queue.next_sequence)] if queue.terms.count else [])
        for _, _, terms in special.with_terms(queue, *run)
        if terms.expires_at is not None
    ]
    _require(special.next_expiry_at(queue) == min(expiries, default=None), "the next expiry is wrong")


def _check_special(queue: Queue) -> None:
    """Terms belong to messages that are there; of a group one message runs or may run, and in its turn."""
    if not queue.terms.count and not queue.groups.lines and len(queue.ready.lanes) == 1:
        return
    live = merge([entry[:2] for _, runs in _maps(queue) for entry in runs])
    dead = merge([entry[:2] for entry in queue.dead])
    terms = merge([entry[:2] for entry in queue.terms])
    _require(not subtract(terms, live), "terms are kept of messages that are gone")
    for priority, lane in queue.ready.lanes:
        for first, last, _ in lane:
            for _, _, chosen in special.with_terms(queue, first, last):
                _require(chosen.priority == priority, f"[{first}, {last}) has another priority")
    _check_groups(queue, dead)


def _check_asked(queue: Queue) -> None:
    """What tasks and owners said is kept of those only that are there to hear it."""
    live = merge([entry[:2] for _, runs in _maps(queue) for entry in runs])
    asked = merge([entry[:2] for entry in queue.asked])
    leased = merge([entry[:2] for lease in queue.leases.values() for entry in lease.runs])
    _require(not subtract(asked, leased), "what is asked to end is not leased")
    _require(all(contains(live, s) for s in queue.notes), "a note is kept of a message that is gone")


def _check_groups(queue: Queue, dead: Runs) -> None:
    lines: dict[str, list[tuple[int, int]]] = {}
    for first, last, terms in queue.terms:
        if terms.group:
            lines.setdefault(terms.group, []).extend(subtract((Run(first, last),), dead))
    expected = {group: merge(runs) for group, runs in lines.items() if merge(runs)}
    found = {group: merge([entry[:2] for entry in line.runs]) for group, line in queue.groups.lines.items()}
    _require(found == expected, f"the lines of groups are {found}, the messages {expected}")
    for group, line in queue.groups.lines.items():
        _require(contains(found[group], line.turn), f"it is nobody's turn in group {group!r}")
        _require(
            not any(queue.blocked.pieces(line.turn, line.turn + 1)), f"{line.turn} waits in its own turn"
        )
        for run in found[group]:
            for ready in queue.ready.pieces(*run):
                _require(
                    ready[:2] == (line.turn, line.turn + 1), f"{ready[:2]} of group {group!r} is out of turn"
                )


def _check_turns(queue: Queue) -> None:
    """Of a group only that message is leased whose turn it is."""
    for group, line in queue.groups.lines.items():
        running = [] if line.running is None else [(line.running, line.running + 1)]
        leased = [
            piece[:2]
            for lease in queue.leases.values()
            for first, last, _ in line.runs
            for piece in lease.runs.pieces(first, last)
        ]
        _require(leased == running, f"of group {group!r} {leased} is leased, not {line.running}")
