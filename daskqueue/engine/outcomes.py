"""How messages ended, and what they returned: where it is kept, for how long, and why it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from daskqueue.clock import Clock
from daskqueue.core.runs import Runs
from daskqueue.engine.outcome_log import Bounds, Old, OutcomeLog, Page, RawPage, Sealed, cut
from daskqueue.engine.records import LOST, RETURNED, UNKEPT, Outcome, Witness, witness_bytes
from daskqueue.engine.settings import QueueSettings
from daskqueue.message import Run
from daskqueue.storage.log import Log
from daskqueue.storage.memory import MemoryFileSystem

__all__ = ["Missing", "Old", "OutcomeStore", "Page", "RawPage", "cut"]

_FOLDER = Path("/results")


class Missing(NamedTuple):
    """What is said of messages that are settled and of which nothing is kept: a state, and why, in words."""

    state: str
    reason: str


class OutcomeStore:
    """The outcomes of one queue.

    All but results are written to the disk. Results go there too, or into memory, or nowhere, as the queue's
    settings say; what earlier openings wrote to the disk is found all the same.

    Args:
        log: the results' log in the queue's folder.
        settings: what is kept, and how much.
        clock: reads the time.
        sealed: which segments of the log were sealed when.

    Attributes:
        log: as given.
    """

    def __init__(self, log: Log, settings: QueueSettings, clock: Clock, sealed: Sealed = ()) -> None:
        self.log = log
        self._settings = settings
        self._clock = clock
        bounds = Bounds(settings.result_bytes, settings.result_count, settings.result_ttl_seconds)
        self._written = OutcomeLog(log, bounds, sealed)
        self._remembered = OutcomeLog(_memory_log(), bounds) if settings.results == "memory" else None
        self._logs = [self._written, self._remembered] if self._remembered else [self._written]

    def start(self) -> None:
        """Begin this opening's segments."""
        for log in self._logs:
            log.start(self._clock.now())

    def append(self, outcome: Outcome, reserved: float = 1.0) -> None:
        """Keep an outcome, as far as its kind is kept; the next sync of the queue covers it.

        Raises:
            DiskFullError: there is no room for it, not even in the part of the reserve that it may use.
        """
        if outcome.state != RETURNED:
            self._written.append(outcome, self._clock.now(), reserved)
        elif self._settings.results != "none":
            (self._remembered or self._written).append(outcome, self._clock.now(), reserved)

    def take_back(self, runs: Runs) -> None:
        """Forget the outcome that was just written of messages that have not ended after all."""
        self._written.forget(runs)

    def witness(self) -> bytes:
        """Return what an ack must say of the results that were appended for it; nothing unless they are durable."""
        if self._settings.results != "durable":
            return b""
        return witness_bytes(Witness(self.log.tail, self.log.synced))

    @property
    def scanned(self) -> bool:
        """Whether :meth:`find` knows what earlier openings left."""
        return self._written.scanned

    @property
    def sealed(self) -> list[tuple[int, float]]:
        """Which segments on the disk were sealed when, for the next opening."""
        return self._written.sealed

    @property
    def size_bytes(self) -> int:
        """What the outcomes take, in memory and on the disk."""
        return sum(log.log.size_bytes for log in self._logs)

    @property
    def segments(self) -> int:
        """How many files they are in, those in memory included."""
        return sum(len(log.log.segments) for log in self._logs)

    def read_old(self) -> list[Old]:
        """Return what earlier openings left, for :meth:`admit_old`; blocking, safe in any thread."""
        return self._written.read_old()

    def admit_old(self, old: list[Old]) -> None:
        """Enter what :meth:`read_old` returned, under what was written since."""
        self._written.admit_old(old)

    def find(self, run: Run) -> Iterator[Outcome]:
        """Yield the outcomes of the messages of *run* that have one, cut to them."""
        for log in self._logs:
            yield from log.find(run, self._clock.now())

    def missing(self) -> Missing:
        """Return what is to be said of settled messages that :meth:`find` knows nothing of."""
        if self._settings.results == "none":
            return Missing(UNKEPT, 'its result was not kept, because the pool has results="none"')
        reached = sorted(set[str]().union(*(log.dropped_by for log in self._logs)))
        causes = [f"{' and '.join(reached)} say how many are kept, and for how long"] if reached else []
        if self._settings.results == "memory":
            causes.append('the pool has results="memory", which ends when its queue is opened again')
        return Missing(LOST, "its result is no longer kept" + (f": {', or '.join(causes)}" if causes else ""))

    def read_page(self, pool: str, after: tuple[int, int] | None, max_bytes: int) -> RawPage:
        """Return a part of what the tasks of a consumer pool returned; see ``OutcomeLog.read_page``."""
        return (self._remembered or self._written).read_page(pool, after, max_bytes, self._clock.now())

    def current(self, raw: RawPage) -> Page:
        """Return the page without what later outcomes of the same messages have replaced."""
        return (self._remembered or self._written).current(raw)

    def is_due(self) -> bool:
        """Return whether a segment should be sealed, or old ones dropped."""
        return any(log.is_due(self._clock.now()) for log in self._logs)

    def roll(self, now: float) -> None:
        """Seal full segments; blocking, for the engine's thread."""
        for log in self._logs:
            log.roll(now)

    def retire(self, now: float) -> None:
        """Forget what is too old or too much; :meth:`drop` deletes it."""
        for log in self._logs:
            log.retire(now)

    def retire_empty(self) -> None:
        """Forget the oldest segments on the disk as long as they hold nothing."""
        self._written.retire_empty()

    def drop(self) -> None:
        """Delete what was retired; blocking."""
        for log in self._logs:
            log.drop()

    def close(self) -> None:
        """Close the files."""
        for log in self._logs:
            log.log.close()


def _memory_log() -> Log:
    fs = MemoryFileSystem()
    fs.make_folder(_FOLDER)
    return Log.open(fs, _FOLDER, ".results", queue_id=bytes(16))
