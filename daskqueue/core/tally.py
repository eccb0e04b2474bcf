"""How often a message was tried and lost, the states it can be in, and the proof of a lease."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Tally(NamedTuple):
    """What counts against a message: tries that raised, deliveries that were lost, re-runs it may have."""

    attempts: int  # deliveries that ended in a nack
    losses: (
        int  # deliveries that ended neither in an ack nor in a nack: the lease expired or its consumer died
    )
    retries: int

    @property
    def attempt(self) -> int:
        """The number of the next try, from 1."""
        return self.attempts + self.losses + 1


Piece = tuple[int, int, Tally]  # first, last, tally


class Delay(NamedTuple):
    """A message that is not ready before *due_at*."""

    due_at: float
    tally: Tally


class DeadLetter(NamedTuple):
    """A message that is out of attempts or deliveries, with the reason."""

    tally: Tally
    reason: str
    died_at: float | None = None  # epoch seconds


class Receipt(NamedTuple):
    """The proof of a lease: its number, and the epoch of the queue that issued it."""

    lease: int
    epoch: int


class State(enum.StrEnum):
    """Where a message is; those after ``dead`` are all settled and are kept as counters only."""

    READY = "ready"
    DELAYED = "delayed"
    LEASED = "leased"
    DEAD = "dead"
    ACKED = "acked"
    CANCELLED = "cancelled"
    DROPPED = "dropped"
    PURGED = "purged"
    SETTLED = "settled"
