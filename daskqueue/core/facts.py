"""What can have happened to a queue, in the past tense. The log holds these and nothing else.

A volatile fact changes the state and is not written: replay learns the same otherwise, or needs it not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from daskqueue.core.runs import Runs
    from daskqueue.message import Terms

CRASH_LOOP = "crash_loop"
CRASHED = "crashed"
DISPLACED = "displaced"
EXPIRED = "expired"
LOST = "lost"


class Fact:
    """The root of all facts."""

    __slots__ = ()
    volatile: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Enqueued(Fact):
    """Messages were put; their bytes lie beside this fact."""

    first: int
    count: int
    producer: bytes
    number: int
    retries: int
    due_at: float | None = None
    terms: Terms | None = None


@dataclass(frozen=True, slots=True)
class Matched(Fact):
    """A put found its key taken by a message, and is that message."""

    sequence: int
    producer: bytes
    number: int


@dataclass(frozen=True, slots=True)
class Leased(Fact):
    """Messages were given to a consumer; in the log before it can run them."""

    lease: int
    epoch: int
    consumer: str
    pool: str
    request: int
    runs: Runs
    deadline: float  # means something in this incarnation only
    redelivered: int = 0  # how many of them were delivered before


@dataclass(frozen=True, slots=True)
class Acked(Fact):
    """Leased messages are done."""

    lease: int
    runs: Runs
    at: float | None = (
        None  # where it matters: some of them have terms, or the log has not told the time for long
    )


@dataclass(frozen=True, slots=True)
class Retried(Fact):
    """Leased messages raised and will run again."""

    lease: int
    runs: Runs
    due_at: float | None = None


@dataclass(frozen=True, slots=True)
class Released(Fact):
    """Leased messages were given back, unstarted or to be run later."""

    lease: int
    runs: Runs
    due_at: float | None = None


@dataclass(frozen=True, slots=True)
class LeaseLost(Fact):
    """A lease ended without its holder; its messages are ready again."""

    lease: int
    runs: Runs
    reason: str


@dataclass(frozen=True, slots=True)
class Died(Fact):
    """Leased messages became dead letters: out of attempts, or (*lost*) out of deliveries."""

    lease: int
    runs: Runs
    reason: str
    lost: bool = False
    at: float | None = None


@dataclass(frozen=True, slots=True)
class CancelAsked(Fact):
    """The owner of leased messages wants them to end: they will not run again."""

    runs: Runs


@dataclass(frozen=True, slots=True)
class Cancelled(Fact):
    """Messages were taken out by their owner."""

    runs: Runs
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Dropped(Fact):
    """Waiting messages were dropped by the queue itself: they expired, or had to make room."""

    runs: Runs
    reason: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Progressed(Fact):
    """A task said how far it is."""

    sequence: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Purged(Fact):
    """All waiting messages were thrown away."""

    runs: Runs
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Redriven(Fact):
    """Dead letters are ready again, with all their attempts."""

    runs: Runs


@dataclass(frozen=True, slots=True)
class Discarded(Fact):
    """Dead letters were thrown away."""

    runs: Runs


@dataclass(frozen=True, slots=True)
class Paused(Fact):
    """Leasing stopped, or goes on."""

    paused: bool


@dataclass(frozen=True, slots=True)
class Restarted(Fact):
    """The queue was opened: a new epoch, in which the leases of the old one live until *deadline*."""

    epoch: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Moved(Fact):
    """Messages whose bytes were written again further on, with all that is known about them."""

    ready: tuple[tuple[int, int, int, int, int], ...] = ()  # first, last, attempts, losses, retries
    delayed: tuple[tuple[int, int, int, int, int, float], ...] = ()  # ..., due_at
    dead: tuple[tuple[int, int, int, int, int, str], ...] = ()  # ..., reason
    terms: tuple[tuple[Any, ...], ...] = ()  # first, last, the fields of Terms; of those that have any
    notes: tuple[tuple[int, bytes], ...] = ()  # sequence, note
    died_at: tuple[tuple[int, int, float], ...] = ()  # first, last, when; of dead letters


@dataclass(frozen=True, slots=True)
class Carried(Fact):
    """What a segment must know of the segments before it: replay may begin at any segment."""

    next_sequence: int
    epoch: int
    next_lease: int
    paused: bool
    counters: tuple[int, ...]
    dead_by_reason: tuple[tuple[str, int], ...]
    producers: tuple[Any, ...]
    kept_keys: tuple[tuple[str, int, float], ...] = ()  # key, sequence, until; of messages that have ended


@dataclass(frozen=True, slots=True)
class Committed(Fact):
    """All messages below *sequence* are on disk and may be leased."""

    volatile: ClassVar[bool] = True
    sequence: int


@dataclass(frozen=True, slots=True)
class Matured(Fact):
    """Delayed messages that were due at *at* are ready."""

    volatile: ClassVar[bool] = True
    at: float


@dataclass(frozen=True, slots=True)
class Extended(Fact):
    """Leases got more time."""

    volatile: ClassVar[bool] = True
    leases: tuple[int, ...]
    deadline: float


@dataclass(frozen=True, slots=True)
class Deduplicated(Fact):
    """A put that is in the queue already came again."""

    volatile: ClassVar[bool] = True
    count: int
