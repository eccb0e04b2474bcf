"""What can be asked of a queue, and the replies. Times are epoch seconds, durations seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from daskqueue.core.runs import Runs, merge
from daskqueue.message import PLAIN, Terms

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from daskqueue.core.facts import Fact
    from daskqueue.core.tally import Piece, Receipt
    from daskqueue.message import Run

R_co = TypeVar("R_co", covariant=True)


class Decision(NamedTuple, Generic[R_co]):
    """The reply to a command, and the facts that make it true once they are applied."""

    reply: R_co
    facts: tuple[Fact, ...] = ()


class Command(Generic[R_co]):
    """The root of all commands; the parameter is the type of the reply."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease as its holder sees it: what is still out on it, and until when."""

    receipt: Receipt
    pieces: tuple[Piece, ...]
    deadline: float

    @property
    def runs(self) -> Runs:
        return merge([(first, last) for first, last, _ in self.pieces])

    @property
    def count(self) -> int:
        return sum([last - first for first, last, _ in self.pieces])


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the runs that a receipt was shown for.

    *counted* took effect now (for a nack it is *retried*, *died* and *cancelled* together); *repeated* were
    settled by the same lease before; *stale* are not, or no longer, this lease's: what its holder says of them
    is ignored.
    """

    counted: Runs = ()
    repeated: Runs = ()
    stale: Runs = ()
    retried: Runs = ()
    died: Runs = ()
    cancelled: Runs = ()


@dataclass(frozen=True, slots=True)
class Lost:
    """A lease that ended without its holder: what is ready again, and what died of it."""

    lease: int
    consumer: str
    pool: str
    back: Runs
    died: Runs


@dataclass(frozen=True, slots=True)
class Moving:
    """Which messages may be written again further on, and which are leased and must stay for now."""

    movable: Runs
    leased: Runs


@dataclass(frozen=True, slots=True)
class Put(Command[int]):
    """Take *count* messages; the reply is the first sequence.

    The same (producer, number) again gets the same reply and changes nothing. A message may be re-run
    *retries* times after its first try, is not ready before *delay* seconds are over and it is *not_before*,
    and is dropped if it has not begun to run in *expires* seconds. Where its key is taken, nothing is put,
    and the reply is ``-1 - sequence`` of the message that has it. *size_bytes* is what the messages take,
    *held_bytes* what all pending ones do.
    """

    producer: bytes
    number: int
    count: int
    retries: int = 0
    delay: float = 0.0
    not_before: float | None = None
    expires: float | None = None
    drop_oldest: bool = False
    terms: Terms = PLAIN
    size_bytes: int = 0
    held_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Lease(Command["Grant | None"]):
    """Give up to *want* messages from the front to a consumer for *seconds*.

    The same (consumer, request) again gets the same lease while it lives, so a consumer that starts anew must
    have a new name. None means nothing for this consumer now; it may ask again when it has settled something.
    """

    consumer: str
    pool: str
    request: int
    want: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ack(Command[Settled]):
    """The runs are done."""

    receipt: Receipt
    runs: Iterable[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Nack(Command[Settled]):
    """The runs raised: run again after *delay* seconds, or, if out of attempts or *final*, stay dead."""

    receipt: Receipt
    runs: Iterable[tuple[int, int]]
    reason: str
    delay: float = 0.0
    final: bool = False


@dataclass(frozen=True, slots=True)
class Release(Command[Settled]):
    """The runs go back as they were, unstarted or to be run after *delay* seconds; no attempt is burned."""

    receipt: Receipt
    runs: Iterable[tuple[int, int]]
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Crash(Command[Settled]):
    """The runs killed the process that ran them: a delivery was lost, though their consumer lives."""

    receipt: Receipt
    runs: Iterable[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Stop(Command[Settled]):
    """The runs ended because they were asked to."""

    receipt: Receipt
    runs: Iterable[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Note(Command[bool]):
    """Keep how far a leased message is, and prolong its lease; the reply is whether the lease lives."""

    receipt: Receipt
    sequence: int
    note: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class Extend(Command[tuple[int, ...]]):
    """Give a consumer's leases *seconds* from now on; the reply names those it still holds.

    With *leases*, only those are extended: a lease whose grant never arrived must be able to expire.
    """

    consumer: str
    seconds: float
    leases: Collection[int] | None = None


@dataclass(frozen=True, slots=True)
class Expire(Command[tuple[Lost, ...]]):
    """End the leases that are past their deadline, and drop the messages that are past their expiry."""


@dataclass(frozen=True, slots=True)
class Lose(Command[tuple[Lost, ...]]):
    """End all leases of consumers that are known to be gone."""

    consumers: Collection[str]


@dataclass(frozen=True, slots=True)
class Cancel(Command[Runs]):
    """Take waiting messages out; the reply is what was. Leased ones end when their task does, and never run again."""

    runs: Iterable[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Purge(Command[Runs]):
    """Throw all waiting messages away; the reply is what was."""


@dataclass(frozen=True, slots=True)
class Redrive(Command[Runs]):
    """Make dead letters ready again, all or those in *runs*, at most *limit*; the reply is which."""

    runs: Iterable[tuple[int, int]] | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Discard(Command[Runs]):
    """Throw dead letters away, all or those in *runs*; the reply is which."""

    runs: Iterable[tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class Pause(Command[None]):
    """Stop leasing, or with False go on."""

    paused: bool = True


@dataclass(frozen=True, slots=True)
class Restart(Command[None]):
    """Begin a new epoch after replay: all is committed, and leases live for *grace* seconds from now."""

    epoch: int
    grace: float


@dataclass(frozen=True, slots=True)
class Move(Command[Moving]):
    """Say again what is known of the messages in *run*, before their bytes are written further on."""

    run: Run
