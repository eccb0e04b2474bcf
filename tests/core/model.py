"""What a queue promises, one message at a time: a dict, no runs, no cleverness."""

from __future__ import annotations

from dataclasses import dataclass, field

from daskqueue.core.tally import State

ONCE_LOST_AT_ONCE = 32


@dataclass
class Message:
    state: State
    retries: int
    attempts: int = 0
    losses: int = 0
    due_at: float = 0.0
    reason: str = ""


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

    def __init__(self, max_losses: int) -> None:
        self.max_losses = max_losses
        self.messages: dict[int, Message] = {}
        self.leases: dict[int, ModelLease] = {}
        self.puts: dict[tuple[bytes, int], int] = {}
        self.committed = 0
        self.next_lease = 1
        self.epoch = 1
        self.paused = False

    def of(self, *states: State) -> list[int]:
        return sorted(s for s, message in self.messages.items() if message.state in states)

    def put(self, key: tuple[bytes, int], count: int, retries: int, due_at: float | None) -> int:
        if key in self.puts:
            return self.puts[key]
        first = self.puts[key] = len(self.messages)
        for sequence in range(first, first + count):
            if due_at is None:
                self.messages[sequence] = Message(State.READY, retries)
            else:
                self.messages[sequence] = Message(State.DELAYED, retries, due_at=due_at)
        return first

    def mature(self, now: float) -> None:
        for sequence in self.of(State.DELAYED):
            if self.messages[sequence].due_at <= now:
                self.messages[sequence].state = State.READY

    def held(self, consumer: str) -> list[ModelLease]:
        return [lease for lease in self.leases.values() if lease.consumer == consumer and lease.out]

    def lease(self, consumer: str, request: int, want: int, now: float, seconds: float) -> ModelLease | None:
        held = self.held(consumer)
        for lease in held:
            if lease.request == request:
                return lease
        if self.paused or any(lease.suspect for lease in held):
            return None
        self.mature(now)
        front = [s for s in self.of(State.READY) if s < self.committed]
        chosen = self._chosen(front, want, alone=not held)
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

    def end(self, number: int, sequences: set[int], state: State, *, due_at: float = 0.0) -> None:
        self.leases[number].out -= sequences
        for sequence in sequences:
            self.messages[sequence].state = state
            self.messages[sequence].due_at = due_at

    def nack(
        self, number: int, sequences: set[int], reason: str, due_at: float | None, *, final: bool
    ) -> None:
        for sequence in sequences:
            message = self.messages[sequence]
            message.attempts += 1
            if final or message.attempts > message.retries:
                message.reason = reason
                self.end(number, {sequence}, State.DEAD)
            elif due_at is None:
                self.end(number, {sequence}, State.READY)
            else:
                self.end(number, {sequence}, State.DELAYED, due_at=due_at)

    def lose(self, lease: ModelLease) -> None:
        lease.lost |= lease.out
        for sequence in sorted(lease.out):
            message = self.messages[sequence]
            message.losses += 1
            dead = message.losses >= self.max_losses
            message.reason = "crash_loop" if dead else ""
            self.end(lease.number, {sequence}, State.DEAD if dead else State.READY)

    def redrive(self, sequences: list[int]) -> None:
        for sequence in sequences:
            self.messages[sequence] = Message(State.READY, self.messages[sequence].retries)

    def settle(self, sequences: list[int], state: State) -> None:
        for sequence in sequences:
            self.messages[sequence].state = state
