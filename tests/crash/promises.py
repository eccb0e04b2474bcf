"""What a queue has answered, and whether it still holds after a crash.

A promise is a put, or an event of one message, with three places in the order of the disk's calls: when its
command began, when it was answered, and when the answer was sure to survive a power cut. After a kill all
that was answered holds; after a power cut what was sure. What was begun and no more may have happened, each
event for itself, but a put wholly or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from core.stage import matured

from daskqueue.core.tally import State
from daskqueue.message import PLAIN, Terms

NEVER = float("inf")


class Alive(NamedTuple):
    """A message that may run: tries that raised, deliveries that were lost, not before when, not to run again."""

    attempts: int
    losses: int
    due_at: float | None = None
    asked: bool = False

    def at(self, now):
        """Return the status without a moment that is over."""
        waits = self.due_at is not None and now < self.due_at < NEVER
        return self if waits else self._replace(due_at=None)


class Dead(NamedTuple):
    """A dead letter."""

    reason: str

    def at(self, now):
        del now
        return self


@dataclass
class Promise:
    """What one command has done.

    Attributes:
        began: how many calls there were when the command began.
        done: how many when it was answered.
        sure: how many when it was on the disk, None while it is not.
        why: the command.
    """

    began: int
    done: int
    sure: int | None = None
    why: str = ""

    def holds(self, n, *, power):
        """Say whether it must hold after a crash after *n* calls."""
        return self.sure is not None and self.sure <= n if power else self.done <= n

    def may_hold(self, n):
        return self.began <= n


@dataclass
class Put(Promise):
    """A record batch that was put: *first* is the answer."""

    producer: bytes = b""
    number: int = 0
    values: tuple[object, ...] = ()
    first: int = 0

    @property
    def sequences(self):
        return range(self.first, self.first + len(self.values)) if self.first >= 0 else range(0)


@dataclass
class Event(Promise):
    """Something that happened to one message: what it was before, and what after (None: it has ended)."""

    before: Alive | Dead | None = None
    after: Alive | Dead | None = None

    def turn(self, status):
        """Return what a message becomes that has a status."""
        if status is None or self.after is None:
            return None
        if any(isinstance(each, Dead) for each in (status, self.before, self.after)):
            return self.after
        return Alive(
            status.attempts + self.after.attempts - self.before.attempts,
            status.losses + self.after.losses - self.before.losses,
            self.after.due_at,
            status.asked or self.after.asked,
        )


@dataclass
class Message:
    """What is known of one message for good: its payload, its terms, and what happened to it."""

    value: object
    status: Alive | Dead | None = None
    terms: Terms = PLAIN
    events: list[Event] = field(default_factory=list)

    def statuses(self, n, *, power):
        """Return what it may be after a crash, and why it may have ended."""
        found, why = {self.status}, set()
        for event in self.events:
            if not event.may_hold(n):
                break
            turned = {event.turn(status) for status in found}
            found = turned if event.holds(n, power=power) else found | turned
            if event.after is None:
                why.add(event.why)
        return found, why


class Promises:
    """All that was promised.

    Attributes:
        commands: all of them, in order.
        puts: in order.
        messages: by sequence.
        pauses: whether it was paused when; the first is how it began.
        moments: what time it was, with the number of calls.
        known: what was known of the queue when a command was answered, by the number of calls.
    """

    def __init__(self):
        self.commands = []
        self.puts = []
        self.messages = {}
        self.pauses = [(Promise(0, 0, 0), False)]
        self.moments = [(0, 0.0)]
        self.known = {}

    def moment(self, n):
        """Return what time it was after *n* calls."""
        return max(at for calls, at in self.moments if calls <= n)

    def settled(self, n, *, power):
        """Say whether it must be as it was when the last command was answered: all holds that was begun."""
        return n in self.known and all(
            command.holds(n, power=power) for command in self.commands if command.began < n
        )

    def paused(self, n, *, power):
        """Return whether it may be paused: the possible answers."""
        found = set()
        for promise, paused in self.pauses:
            if promise.may_hold(n):
                found = {paused} if promise.holds(n, power=power) else found | {paused}
        return found

    def adopt(self, n, queue):
        """Take what a crash has left as what was promised; calls are counted from 0 again."""
        seen = statuses(queue)
        self.moments = [(0, self.moment(n))]
        self.known, self.commands = {}, []
        self.puts = [put for put in self.puts if put.may_hold(n) and is_there(queue, put)]
        there = {sequence for put in self.puts for sequence in put.sequences}
        self.messages = {s: message for s, message in self.messages.items() if s in there}
        for put in self.puts:
            put.began = put.done = put.sure = 0
        chosen = {s: terms for first, last, terms in queue.terms for s in range(first, last)}
        for sequence, message in self.messages.items():
            message.events, message.status = [], seen.get(sequence)
            message.terms = chosen.get(sequence, PLAIN)
        self.pauses = [(Promise(0, 0, 0), queue.paused)]


def is_there(queue, put):
    """Say whether a put has happened, as the queue knows it."""
    count = len(put.values) if put.first >= 0 else 0
    first = put.first if put.first >= 0 else -1 - put.first
    return queue.producers.place(put.producer, put.number) == (first, count)


def statuses(queue, now=-NEVER):
    """Return the status of every message that has not ended."""
    asked = {sequence for first, last, _ in queue.asked for sequence in range(first, last)}
    found = {}
    for sequence, (state, value) in matured(queue, now).items():
        if state is State.DEAD:
            found[sequence] = Dead(value.reason)
        else:
            tally = value.tally if state is State.DELAYED else value
            due_at = value.due_at if state is State.DELAYED and value.due_at < NEVER else None
            found[sequence] = Alive(tally.attempts, tally.losses, due_at, sequence in asked).at(now)
    return found
