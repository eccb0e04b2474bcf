"""A queue with a hand-moved clock and a log in memory: what the engine does, without a disk."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeVar

import msgpack

from daskqueue.core import facts
from daskqueue.core.apply import apply
from daskqueue.core.commands import Ack, Command, Grant, Lease, Move, Moving, Put, Restart
from daskqueue.core.decide import decide
from daskqueue.core.encode import decode, encode
from daskqueue.core.invariants import check
from daskqueue.core.queue import TRANSITIONS, Queue, Settings
from daskqueue.core.runs import merge
from daskqueue.core.snapshot import carry, restore, snapshot
from daskqueue.core.tally import Delay, State, Tally
from daskqueue.message import Run, Terms

R = TypeVar("R")
ALICE, BOB = b"alice".ljust(16), b"bob".ljust(16)
SETTLED = (State.ACKED, State.CANCELLED, State.DROPPED, State.PURGED)
NEVER = math.inf  # when a message is due that waits for its turn in its group


class Stage:
    """Commands go through :meth:`do`; durable facts end in segments, from which :meth:`reopened` replays."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings(max_losses=3)
        self.queue = Queue(self.settings)
        self.now = 1000.0
        self.segments: list[list[tuple[int, bytes]]] = [[]]
        self.checkpoint: tuple[bytes, int, int] | None = None  # snapshot, segment, facts of it
        self.dropped = 0
        self.home: dict[int, int] = {}  # sequence -> number of the segment with its bytes
        self._number = 0
        self._requests = 0
        self.do(Restart(1, 30.0))

    def do(self, command: Command[R]) -> R:
        """Decide, write, apply; deciding must change nothing."""
        before = plain(self.queue)
        decision = decide(self.queue, command, self.now)
        assert plain(self.queue) == before, f"decide changed the state: {command}"
        for fact in decision.facts:
            self.happen(fact)
        return decision.reply

    def happen(self, fact: facts.Fact) -> None:
        """Write a fact and apply it; messages may move only as the table of transitions says."""
        if not fact.volatile:
            self.segments[-1].append(encode(fact))
        before = view(self.queue)
        apply(self.queue, fact)
        check_transitions(fact, before, view(self.queue))
        if isinstance(fact, facts.Enqueued):
            for sequence in range(fact.first, fact.first + fact.count):
                self.home[sequence] = self.dropped + len(self.segments) - 1

    def commit(self, sequence: int | None = None) -> None:
        self.happen(facts.Committed(self.queue.next_sequence if sequence is None else sequence))

    def put(self, count: int = 1, *, producer: bytes = ALICE, **options: Any) -> int:
        """Put messages under a new number, and commit them; return the reply.

        Args:
            options: fields of ``Put``, or of ``Terms``.
        """
        self._number += 1
        terms = {name: options.pop(name) for name in Terms._fields if name in options}
        reply = self.do(Put(producer, self._number, count, **options, terms=Terms(**terms)))
        self.commit()
        return reply

    def lease(self, want: int = 1000, consumer: str = "carol", seconds: float = 10.0) -> Grant | None:
        self._requests += 1
        return self.do(Lease(consumer, "pool", self._requests, want, seconds))

    def granted(self, want: int = 1000, consumer: str = "carol", seconds: float = 10.0) -> Grant:
        grant = self.lease(want, consumer, seconds)
        assert grant is not None
        return grant

    def ack(self, grant: Grant) -> None:
        assert self.do(Ack(grant.receipt, grant.runs)).counted == grant.runs

    def roll(self) -> None:
        """Start a segment with what it must know of those before it."""
        carried = carry(self.queue)
        before = plain(self.queue)
        self.segments.append([])
        self.happen(carried)
        assert plain(self.queue) == before, "to apply a carry here must change nothing"

    def drop(self) -> bool:
        """Roll, move the survivors of the oldest segment and drop it; False if leases pin it."""
        if len(self.segments) < 2:
            return False
        self.roll()
        live = view(self.queue)
        for run in merge([(s, s + 1) for s, home in self.home.items() if home == self.dropped and s in live]):
            moving: Moving = self.do(Move(run))
            for sequence in [s for part in moving.movable for s in range(*part)]:
                self.home[sequence] = self.dropped + len(self.segments) - 1
            if moving.leased:
                return False
        del self.segments[0]
        self.dropped += 1
        return True

    def save(self) -> None:
        """Keep a checkpoint of the log up to here."""
        packed = msgpack.packb(snapshot(self.queue))
        self.checkpoint = (packed, self.dropped + len(self.segments) - 1, len(self.segments[-1]))

    def replayed(
        self, segments: list[list[tuple[int, bytes]]] | None = None, *, checkpoint: bool = False
    ) -> Queue:
        """Return what replay makes of the log, from the checkpoint or from the oldest segment on."""
        segments = self.segments if segments is None else segments
        queue, segment, position = Queue(self.settings), self.dropped, 0
        if checkpoint and self.checkpoint is not None and self.checkpoint[1] >= self.dropped:
            packed, segment, position = self.checkpoint
            queue = restore(msgpack.unpackb(packed), self.settings)
        for frames in segments[segment - self.dropped :]:
            for kind, payload in frames[position:]:
                fact = decode(kind, payload)
                assert fact is not None
                apply(queue, fact)
            position = 0
        return queue

    def reopen(self, *, checkpoint: bool = False, grace: float = 10.0) -> None:
        """Go on with what replay makes of the log; it must be what was there."""
        queue = self.replayed(checkpoint=checkpoint)
        assert comparable(queue, self.now) == comparable(self.queue, self.now)
        if not self.dropped:
            assert queue.finished == self.queue.finished
        self.queue = queue
        self.do(Restart(queue.epoch + 1, grace))

    def check(self) -> None:
        check(self.queue)
        assert comparable(self.replayed(), self.now) == comparable(self.queue, self.now)
        assert comparable(self.replayed(checkpoint=True), self.now) == comparable(self.queue, self.now)


def view(queue: Queue) -> dict[int, tuple[State, Any]]:
    """Return each living message with its state and what is known of it."""
    seen: dict[int, tuple[State, Any]] = {}
    maps: list[tuple[State, Any]] = [
        (State.READY, queue.ready),
        (State.DELAYED, queue.delayed.runs),
        (State.DELAYED, [(first, last, Delay(NEVER, tally)) for first, last, tally in queue.blocked]),
        (State.DEAD, queue.dead),
    ]
    maps += [(State.LEASED, lease.runs) for lease in queue.leases.values()]
    for state, runs in maps:
        for first, last, value in runs:
            for sequence in range(first, last):
                assert sequence not in seen, f"{sequence} is in two states"
                seen[sequence] = (state, value)
    return seen


def matured(queue: Queue, now: float) -> dict[int, tuple[State, Any]]:
    """Return the view, but count what is due as ready: maturing is not written, so replay may be behind."""
    seen = view(queue)
    for first, last, tally in queue.delayed.due(now):
        for sequence in range(first, last):
            seen[sequence] = come(queue, sequence, tally)
    return seen


def come(queue: Queue, sequence: int, tally: Tally) -> tuple[State, Any]:
    """Return the state of a message that is due: ready, or it waits for its turn."""
    for _, _, terms in queue.terms.pieces(sequence, sequence + 1):
        if terms.group and queue.groups.turn(terms.group) != sequence:
            return State.DELAYED, Delay(NEVER, tally)
    return State.READY, tally


def comparable(queue: Queue, now: float) -> dict[str, Any]:
    """Return all that replay must find again: not deadlines, not what is committed, not repeated puts."""
    return {
        "messages": matured(queue, now),
        "numbers": (queue.next_sequence, queue.next_lease, queue.epoch, queue.paused),
        "counters": replace(queue.counters, deduplicated=0),
        "producers": queue.producers.dump(),
        "held": queue.held,
        "terms": list(queue.terms),
        "keys": (queue.keys.pending, {key: held for key, held in queue.keys.kept.items() if held[1] > now}),
        "groups": {group: (list(line.runs), line.running) for group, line in queue.groups.lines.items()},
        "notes": queue.notes,
        "asked": list(queue.asked),
        "leases": {
            lease.number: (
                lease.epoch, lease.consumer, lease.pool, lease.request,
                lease.granted, lease.lost, lease.suspect,
            )
            for lease in queue.leases.values()
        },
    }  # fmt: skip


def plain(queue: Queue) -> Any:
    """Return the whole state, deadlines too, as something that can be compared."""
    return snapshot(queue), queue.committed, [lease.deadline for lease in queue.leases.values()]


def check_transitions(
    fact: facts.Fact, before: dict[int, tuple[State, Any]], after: dict[int, tuple[State, Any]]
) -> None:
    """Each message that changed its state did so along a line of the table."""
    allowed = TRANSITIONS.get(type(fact), ())
    for sequence in before.keys() | after.keys():
        old, new = (_state(before, sequence), _state(after, sequence))
        if old is new:
            continue
        ends = (new,) if new is not None else SETTLED
        assert any((old, end) in allowed for end in ends), f"{fact} took {sequence} from {old} to {new}"


def _state(seen: dict[int, tuple[State, Any]], sequence: int) -> State | None:
    """Return a message's state; whose turn it is follows from others, so to wait for it counts as ready."""
    if sequence not in seen:
        return None
    state, value = seen[sequence]
    return State.READY if state is State.DELAYED and value.due_at == NEVER else state


def run(first: int, last: int) -> tuple[Run]:
    return (Run(first, last),)
