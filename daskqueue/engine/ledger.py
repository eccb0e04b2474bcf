"""Decisions made and written down: where a command becomes facts, and facts become frames of the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from daskqueue.clock import Clock
from daskqueue.core.apply import apply
from daskqueue.core.commands import Command, Decision
from daskqueue.core.decide import decide
from daskqueue.core.facts import Acked, Cancelled, Died, Discarded, Dropped, Fact, Purged
from daskqueue.core.queue import Queue
from daskqueue.engine.book import Book
from daskqueue.engine.commit import GroupCommit
from daskqueue.engine.files import Files
from daskqueue.engine.outcomes import OutcomeStore
from daskqueue.engine.records import CANCELLED, Outcome, fact_frame
from daskqueue.errors import StorageError

if TYPE_CHECKING:
    from daskqueue.storage.log import Stretch
    from daskqueue.storage.writer import Frames

R = TypeVar("R")

_ENDINGS = (Acked, Cancelled, Died, Discarded, Dropped, Purged)


def _nothing(_: Fact) -> bytes:
    return b""


class Ledger:
    """The state of one open queue, and the only way to change it.

    Args:
        files: the opened files of the queue.
        commit: syncs what is written.
        clock: reads the time.
        on_settled: called when messages came to an end.

    Attributes:
        files: as given.
        clock: as given.
    """

    def __init__(
        self, files: Files, commit: GroupCommit, clock: Clock, on_settled: Callable[[], object]
    ) -> None:
        self.files = files
        self.clock = clock
        self._commit = commit
        self._on_settled = on_settled

    @property
    def book(self) -> Book:
        """The state, and where its bytes are."""
        return self.files.book

    @property
    def queue(self) -> Queue:
        """The state."""
        return self.files.book.queue

    @property
    def outcomes(self) -> OutcomeStore:
        """How messages ended."""
        return self.files.outcomes

    def decide(self, command: Command[R]) -> Decision[R]:
        """Say what a command does to the queue now; nothing is changed before :meth:`record`."""
        return decide(self.queue, command, self.clock.now())

    def record(
        self, facts: Sequence[Fact], attachment: Callable[[Fact], bytes] = _nothing, reserved: float = 1.0
    ) -> None:
        """Write facts to the log and let them take effect; the next sync covers them.

        Args:
            facts: of a decision, in order.
            attachment: returns the bytes that lie beside a fact.
            reserved: how much of the reserve they may use up on a full disk.

        Raises:
            DiskFullError: none of them has taken effect.
            QueueFailedError: nothing is accepted any more.
        """
        durable = [fact for fact in facts if not fact.volatile]
        frames = [fact_frame(fact, attachment(fact)) for fact in durable]
        stretches = iter(self.append(durable, frames, reserved) if frames else ())
        for fact in facts:
            if fact.volatile:
                apply(self.queue, fact)
            else:
                self.book.enter(fact, next(stretches))
        if durable:
            self._commit.soon()
        if any(isinstance(fact, _ENDINGS) for fact in facts):
            self._on_settled()

    def append(self, facts: Sequence[Fact], frames: Frames, reserved: float = 1.0) -> list[Stretch]:
        """Write the frames of facts, all or none of them, after the outcomes that they cause; nothing takes effect.

        An outcome without its fact counts for nothing, a fact without its outcome would leave a job that
        nobody can tell the end of.
        """
        ended = [fact for fact in facts if isinstance(fact, Cancelled | Dropped | Purged)]
        for fact in ended:
            ending = fact.reason if isinstance(fact, Dropped) else CANCELLED
            self.outcomes.append(Outcome(ending, "", "", fact.runs, b""), reserved)
        try:
            return self.files.log.append(frames, reserved)
        except StorageError:
            for fact in ended:
                self.outcomes.take_back(fact.runs)
            raise

    def keep(self, outcome: Outcome) -> None:
        """Write how messages ended of which the log says no more; the next sync covers it."""
        self.outcomes.append(outcome)
        self._commit.soon()
        self._on_settled()

    async def durable(self) -> None:
        """Return when all that was recorded is as durable as the queue's policy says."""
        await self._commit.durable()
