"""The state of a queue, and which fact may bring a message from where to where.

All of the state is here, and only :mod:`daskqueue.core.apply` changes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from daskqueue.core import facts
from daskqueue.core.commands import Grant
from daskqueue.core.groups import Groups
from daskqueue.core.keys import Keys
from daskqueue.core.producers import Producers
from daskqueue.core.ready import ReadyRuns
from daskqueue.core.runs import RunMap, Runs
from daskqueue.core.tally import DeadLetter, Receipt, State, Tally
from daskqueue.core.timers import Deadlines, DelayedRuns, Expiries
from daskqueue.message import Terms

MAX_FINISHED = 2048  # leases that are remembered after their end, for acks that are sent twice
SUSPECT_LOSSES = 2  # lost as often as this, a message is suspected to kill its process


NEW = None  # where a message comes from that was not in the queue

TRANSITIONS: dict[type[facts.Fact], tuple[tuple[State | None, State], ...]] = {
    facts.Enqueued: ((NEW, State.READY), (NEW, State.DELAYED)),
    facts.Matured: ((State.DELAYED, State.READY),),
    facts.Leased: ((State.READY, State.LEASED),),
    facts.Acked: ((State.LEASED, State.ACKED),),
    facts.Retried: ((State.LEASED, State.READY), (State.LEASED, State.DELAYED)),
    facts.Released: ((State.LEASED, State.READY), (State.LEASED, State.DELAYED)),
    facts.LeaseLost: ((State.LEASED, State.READY),),
    facts.Died: ((State.LEASED, State.DEAD),),
    facts.Redriven: ((State.DEAD, State.READY),),
    facts.Cancelled: (
        (State.READY, State.CANCELLED),
        (State.DELAYED, State.CANCELLED),
        (State.LEASED, State.CANCELLED),
    ),
    facts.Dropped: ((State.READY, State.DROPPED), (State.DELAYED, State.DROPPED)),
    facts.Purged: ((State.READY, State.PURGED), (State.DELAYED, State.PURGED)),
    facts.Discarded: ((State.DEAD, State.PURGED),),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the owner of a queue chooses; not in the log, so it may differ at the next opening.

    Args:
        max_losses: deliveries that may be lost before a message is dead (``crash_loop``).
        max_messages: how many messages may be unsettled; None is no bound.
        max_bytes: how many bytes they may have together; None is no bound.
    """

    max_losses: int = 5
    max_messages: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.max_losses < 1:
            raise ValueError(f"max_losses must be at least 1, not {self.max_losses}")


@dataclass(slots=True)
class Counters:
    """What has happened since the queue was made; messages, where nothing else is said."""

    dead: dict[str, int] = field(default_factory=dict)  # by reason
    enqueued: int = 0
    delivered: int = 0
    redelivered: int = 0
    acked: int = 0
    retried: int = 0
    released: int = 0
    cancelled: int = 0
    purged: int = 0
    redriven: int = 0
    leases_expired: int = 0  # leases
    leases_lost: int = 0  # leases
    deduplicated: int = 0  # puts that came twice
    matched: int = 0  # puts whose key was taken
    snoozed: int = 0
    expired: int = 0
    displaced: int = 0  # dropped to make room

    def numbers(self) -> tuple[int, ...]:
        """Return all counters but the one by reason, in order."""
        return (
            self.enqueued,
            self.delivered,
            self.redelivered,
            self.acked,
            self.retried,
            self.released,
            self.cancelled,
            self.purged,
            self.redriven,
            self.leases_expired,
            self.leases_lost,
            self.deduplicated,
            self.matched,
            self.snoozed,
            self.expired,
            self.displaced,
        )


KINDS_COUNTED = len(Counters().numbers())  # those of a later version mean nothing here


@dataclass(slots=True, eq=False)
class HeldLease:
    """A lease that lives: what was granted and what is still out on it."""

    number: int
    epoch: int
    consumer: str
    pool: str
    request: int
    granted: Runs
    runs: RunMap[Tally]
    deadline: float
    suspect: bool  # it carries a message that was lost twice
    lost: Runs = ()  # granted, but taken from its holder

    @property
    def grant(self) -> Grant:
        """The lease as its holder sees it."""
        return Grant(Receipt(self.number, self.epoch), tuple(self.runs), self.deadline)


class Finished(NamedTuple):
    """A lease that has ended."""

    epoch: int
    granted: Runs
    lost: Runs  # granted, but taken from its holder; the rest the holder settled


@dataclass(slots=True, eq=False)
class Queue:
    """The messages of one queue, as runs; read it freely, change it with :func:`apply` only."""

    settings: Settings = field(default_factory=Settings)
    next_sequence: int = 0
    committed: int = 0  # messages from here on are written but not yet synced, and not leased
    epoch: int = 0
    next_lease: int = 1
    paused: bool = False
    ready: ReadyRuns = field(default_factory=ReadyRuns)
    delayed: DelayedRuns = field(default_factory=DelayedRuns)
    blocked: RunMap[Tally] = field(default_factory=RunMap)  # it is another's turn in their group
    leases: dict[int, HeldLease] = field(default_factory=dict)
    dead: RunMap[DeadLetter] = field(default_factory=RunMap)
    held: dict[str, list[int]] = field(default_factory=dict)  # consumer -> numbers of its leases
    finished: dict[int, Finished] = field(default_factory=dict)  # the oldest first
    producers: Producers = field(default_factory=Producers)
    counters: Counters = field(default_factory=Counters)
    deadlines: Deadlines = field(default_factory=Deadlines)
    # What only some messages have; a queue without such messages never looks further than these being empty.
    terms: RunMap[Terms] = field(default_factory=RunMap)
    groups: Groups = field(default_factory=Groups)
    keys: Keys = field(default_factory=Keys)
    expiries: Expiries = field(default_factory=Expiries)
    notes: dict[int, bytes] = field(default_factory=dict)  # how far tasks said they are, by sequence
    asked: RunMap[bool] = field(default_factory=RunMap)  # leased, and to be cancelled
    told_at: float | None = None  # the newest time in the log, as far as acks and the opening have told it

    @property
    def waiting(self) -> int:
        """How many messages are ready, delayed, or wait for their turn."""
        return self.ready.count + self.delayed.count + self.blocked.count

    @property
    def in_flight(self) -> int:
        """How many messages are leased."""
        return sum([lease.runs.count for lease in self.leases.values()])
