"""What a queue promises, one message at a time: a dict, no runs, no cleverness."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING

from daskqueue.core.tally import State
from daskqueue.message import PLAIN, Terms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daskqueue.core.commands import Put

ONCE_LOST_AT_ONCE = 32
BYTES = 10  # of each message
WAITING = (State.READY, State.DELAYED)


@dataclass
class Message:
    state: State
    retries: int
    attempts: int = 0
    losses: int = 0
    due_at: float = 0.0
    reason: str = ""
    died_at: float = 0.0
    terms: Terms = PLAIN
    note: bytes | None = None
    asked: bool = False  # to end


@dataclass
class ModelLease:
    number: int
    epoch: int
    consumer: str
    request: int
    deadline: float
    out: set[int]
    granted: set[int]
    lost: set[int] = field(default_factory=set)
    suspect: bool = False


class Model:
    """Messages by sequence, leases by number for ever, puts by (producer, number) for ever."""

    def __init__(
        self, max_losses: int, max_messages: int | None = None, max_bytes: int | None = None
    ) -> None:
        self.max_losses = max_losses
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.messages: dict[int, Message] = {}
        self.leases: dict[int, ModelLease] = {}
        self.puts: dict[tuple[bytes, int], int] = {}
        self.pending_keys: dict[str, int] = {}
        self.kept_keys: dict[str, tuple[int, float]] = {}
        self.matched = 0
        self.expired = 0
        self.committed = 0
        self.next_lease = 1
        self.epoch = 1
        self.paused = False

    def of(self, *states: State) -> list[int]:
        return sorted(s for s, message in self.messages.items() if message.state in states)

    # ------------------------------------------------------------------ putting

    def put(self, call: Put, now: float) -> int | None:
        """Return the reply, None if the queue is full."""
        name = (call.producer, call.number)
        if name in self.puts:
            return self.puts[name]
        holder = self.holder(call.terms.key, now)
        if holder is not None:
            self.matched += 1
            self.puts[name] = -1 - holder
            return -1 - holder
        if not self._make_room(call, now):
            return None
        terms = call.terms
        if call.expires is not None:
            terms = terms._replace(expires_at=now + call.expires)
        due_at = max(now + call.delay, call.not_before or 0.0)
        first = self.puts[name] = len(self.messages)
        for sequence in range(first, first + call.count):
            state = State.DELAYED if due_at > now else State.READY
            self.messages[sequence] = Message(state, call.retries, due_at=due_at, terms=terms)
        if terms.key:
            self._take_key(first)
        return first

    def _make_room(self, call: Put, now: float) -> bool:
        waiting = self.of(*WAITING)
        living = len(self.of(*WAITING, State.LEASED))
        excess = 0
        if self.max_messages is not None:
            excess = living + call.count - self.max_messages
        if self.max_bytes is not None and living:
            excess = max(excess, ceil((living + call.count) - self.max_bytes / BYTES))
        if excess > 0 and (not call.drop_oldest or len(waiting) < excess):
            return False
        self.settle(waiting[: max(excess, 0)], State.DROPPED, now)
        return True

    # ------------------------------------------------------------------ keys and groups

    def holder(self, key: str, now: float) -> int | None:
        if not key:
            return None
        if key in self.pending_keys:
            return self.pending_keys[key]
        sequence, until = self.kept_keys.get(key, (0, 0.0))
        return sequence if now < until else None

    def _take_key(self, sequence: int) -> None:
        key = self.messages[sequence].terms.key
        self.pending_keys[key] = sequence
        self.kept_keys.pop(key, None)

    def in_turn(self) -> set[int]:
        """Return who may run: of each group the one that runs, else the first; and all without a group."""
        alive = self.of(State.LEASED) + self.of(*WAITING)
        turns: dict[str, int] = {}
        for sequence in alive:
            turns.setdefault(self.messages[sequence].terms.group, sequence)
        return {s for s in alive if not self.messages[s].terms.group} | set(turns.values())

    # ------------------------------------------------------------------ leasing

    def mature(self, now: float) -> None:
        for sequence in self.of(State.DELAYED):
            if self.messages[sequence].due_at <= now:
                self.messages[sequence].state = State.READY

    def lapsed(self, now: float) -> list[int]:
        return [s for s in self.of(*WAITING) if (self.messages[s].terms.expires_at or now + 1) <= now]

    def expire_messages(self, now: float) -> None:
        lapsed = self.lapsed(now)
        self.expired += len(lapsed)
        self.settle(lapsed, State.DROPPED, now)

    def held(self, consumer: str) -> list[ModelLease]:
        return [lease for lease in self.leases.values() if lease.consumer == consumer and lease.out]

    def front(self, now: float) -> list[int]:
        """Return what could be leased now, in order."""
        lapsed, in_turn = set(self.lapsed(now)), self.in_turn()
        able = [
            s
            for s in self.of(*WAITING)
            if s < self.committed
            and s not in lapsed
            and (self.messages[s].state is State.READY or self.messages[s].due_at <= now)
            and s in in_turn
        ]
        urgent = max((self.messages[s].terms.priority for s in able), default=0)
        return [s for s in able if self.messages[s].terms.priority == urgent]

    def lease(self, consumer: str, request: int, want: int, now: float, seconds: float) -> ModelLease | None:
        held = self.held(consumer)
        for lease in held:
            if lease.request == request:
                return lease
        if self.paused or any(lease.suspect for lease in held):
            return None
        chosen = self._chosen(self.front(now), want, alone=not held)
        self.expire_messages(now)
        self.mature(now)
        if not chosen:
            return None
        lease = ModelLease(
            self.next_lease, self.epoch, consumer, request, now + seconds, set(chosen), set(chosen)
        )
        lease.suspect = self.messages[chosen[0]].losses >= 2
        self.leases[lease.number] = lease
        self.next_lease += 1
        for sequence in chosen:
            self.messages[sequence].state = State.LEASED
        return lease

    def _chosen(self, front: list[int], want: int, *, alone: bool) -> list[int]:
        if not front:
            return []
        danger = min(2, self.messages[front[0]].losses)
        if danger == 2 and not alone:
            return []
        chosen: list[int] = []
        for sequence in front[: min(want, (want, ONCE_LOST_AT_ONCE, 1)[danger])]:
            if min(2, self.messages[sequence].losses) != danger:
                break
            chosen.append(sequence)
        return chosen

    def judge(self, number: int, epoch: int, given: set[int]) -> tuple[set[int], set[int], set[int]] | None:
        """Return what counts, what is repeated and what is stale; None if nothing is known of the lease."""
        lease = self.leases.get(number)
        if lease is None or lease.epoch != epoch:
            return None
        counted = given & lease.out
        repeated = (given & lease.granted) - lease.out - lease.lost
        return counted, repeated, given - counted - repeated

    # ------------------------------------------------------------------ ends

    def settle(self, sequences: Iterable[int], state: State, now: float) -> None:
        """Let messages come to an end."""
        for sequence in sequences:
            message = self.messages[sequence]
            message.state, message.note, message.asked = state, None, False
            key, seconds = message.terms.key, message.terms.key_seconds
            if self.pending_keys.get(key) == sequence:
                del self.pending_keys[key]
                if seconds:
                    self.kept_keys[key] = (sequence, now + seconds)

    def bury(self, sequence: int, reason: str, now: float) -> None:
        self.settle([sequence], State.DEAD, now)
        self.messages[sequence].reason = reason
        self.messages[sequence].died_at = now

    def come_back(self, sequence: int, due_at: float | None = None) -> None:
        message = self.messages[sequence]
        message.state = State.READY if due_at is None else State.DELAYED
        message.due_at = due_at or 0.0

    def split_asked(self, lease: ModelLease, counted: set[int], now: float) -> tuple[set[int], list[int]]:
        """Take messages out of a lease; cancel those that were asked to end, and return both kinds."""
        lease.out -= counted
        asked = {s for s in counted if self.messages[s].asked}
        self.settle(asked, State.CANCELLED, now)
        return asked, sorted(counted - asked)

    def nack(
        self, lease: ModelLease, counted: set[int], reason: str, delay: float, now: float, *, final: bool
    ) -> set[int]:
        asked, others = self.split_asked(lease, counted, now)
        for sequence in others:
            message = self.messages[sequence]
            message.attempts += 1
            if final or message.attempts > message.retries:
                self.bury(sequence, reason, now)
            else:
                self.come_back(sequence, now + delay if delay else None)
        return asked

    def release(self, lease: ModelLease, counted: set[int], delay: float, now: float) -> set[int]:
        asked, others = self.split_asked(lease, counted, now)
        for sequence in others:
            self.come_back(sequence, now + delay if delay else None)
        return asked

    def lose(self, lease: ModelLease, out: set[int], now: float) -> set[int]:
        asked, others = self.split_asked(lease, out, now)
        lease.lost |= set(others)
        for sequence in others:
            message = self.messages[sequence]
            message.losses += 1
            if message.losses >= self.max_losses:
                self.bury(sequence, "crash_loop", now)
            else:
                self.come_back(sequence)
        return asked

    def redrive(self, sequences: list[int]) -> None:
        for sequence in sequences:
            message = self.messages[sequence]
            terms = message.terms._replace(expires_at=None)
            if terms.key in self.pending_keys:
                terms = terms._replace(key="")
            self.messages[sequence] = replace(Message(State.READY, message.retries), terms=terms)
            if terms.key:
                self._take_key(sequence)
