"""Whether two states of one queue are the same, as far as two ways to replay it must agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from daskqueue.core.runs import RunMap, Runs, contains, merge, subtract
from daskqueue.core.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daskqueue.core.queue import Queue

    Pieces = Iterable[tuple[int, int, Any]]


class Difference(NamedTuple):
    """Something that two states say differently.

    Attributes:
        what: what it is about.
        runs: the messages that it concerns; empty where it concerns the queue as a whole.
        words: what the one says and the other does, for the queue as a whole.
    """

    what: str
    runs: Runs = ()
    words: str = ""


def differences(one: Queue, other: Queue, known_at: float) -> list[Difference]:
    """Return what two states disagree in.

    What is never written down does not count: which of the delayed messages were already due at *known_at*
    (epoch seconds), until when leases last, and how many puts came twice.
    """
    found: list[Difference] = []
    views = zip(_views(one, known_at), _views(other, known_at), strict=True)
    for (what, these), (_, those) in views:
        if runs := _unlike(these, those):
            found.append(Difference(what, runs))
    these_puts, those_puts = _puts(one), _puts(other)
    unlike = [name for name in these_puts | those_puts if these_puts.get(name) != those_puts.get(name)]
    if unlike:
        found.append(Difference("the puts that were seen", (), f"of producers {', '.join(unlike):.200}"))
    whole = zip(_numbers(one), _numbers(other), strict=True)
    found += [Difference(what, (), f"{a!r:.80} and {b!r:.80}") for (what, a), (_, b) in whole if a != b]
    return found


def live(queue: Queue) -> Runs:
    """Return the messages that wait, run, or are dead letters."""
    maps = (queue.ready, queue.delayed.runs, queue.blocked, queue.dead)
    pieces = [piece[:2] for runs in maps for piece in runs]
    return merge(pieces + [piece[:2] for lease in queue.leases.values() for piece in lease.runs])


def _views(queue: Queue, known_at: float) -> Iterator[tuple[str, RunMap[Any]]]:
    yield "messages that wait", _map(_waiting(queue, known_at))
    leases = queue.leases.values()
    yield (
        "messages that are leased",
        _map((*p[:2], (x.number, x.epoch, p[2])) for x in leases for p in x.runs),
    )
    yield "dead letters", _map(queue.dead)
    yield "what was chosen for messages", _map(queue.terms)
    yield "what is to be cancelled", _map(queue.asked)
    alive = live(queue)
    noted = sorted(queue.notes.items())
    yield "the notes of tasks", _map((at, at + 1, note) for at, note in noted if contains(alive, at))


def _waiting(queue: Queue, known_at: float) -> Iterator[tuple[int, int, tuple[Tally, float | None]]]:
    for runs in (queue.ready, queue.blocked):
        for first, last, tally in runs:
            yield first, last, (tally, None)
    for first, last, delay in queue.delayed.runs:
        yield first, last, (delay.tally, delay.due_at if delay.due_at > known_at else None)


def _map(pieces: Pieces) -> RunMap[Any]:
    made: RunMap[Any] = RunMap()
    for first, last, value in pieces:
        made.take(first, last)
        made.add(first, last, value)
    return made


def _unlike(these: RunMap[Any], those: RunMap[Any]) -> Runs:
    alike = [
        (since, until)
        for first, last, value in these
        for since, until, found in those.pieces(first, last)
        if found == value
    ]
    known = merge(piece[:2] for runs in (these, those) for piece in runs)
    return subtract(known, merge(alike))


def _puts(queue: Queue) -> dict[str, Any]:
    """Return which puts were seen, by the producer in hexadecimal digits."""
    return {name.hex(): known for name, *known in queue.producers.dump()}


def _numbers(queue: Queue) -> Iterator[tuple[str, Any]]:
    yield "the next sequence", queue.next_sequence
    yield "the epoch", queue.epoch
    yield "the next lease", queue.next_lease
    yield "whether it is paused", queue.paused
    yield "the keys of waiting messages", queue.keys.pending
    counters = queue.counters
    for name in counters.__slots__:
        if name != "deduplicated":
            yield f"the counter {name}", getattr(counters, name)
