"""How messages ended, with what they returned: segments of their own, bounded by bytes and age."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from daskqueue.batch import Batch
from daskqueue.core.runs import intersect
from daskqueue.engine.records import OUTCOME, RETURNED, Outcome, outcome_frame, read_outcome
from daskqueue.errors import StorageError
from daskqueue.message import Run
from daskqueue.storage.frame import Frame
from daskqueue.storage.log import Log, Position, Stretch
from daskqueue.storage.positions import Positions

SEGMENT_BYTES = 16 << 20
# A single result is looked for in at most so many bytes of others.
JOINED_BYTES = 4 << 10


class RawPage(NamedTuple):
    """What was read for a page: outcomes, where each lies, and where the next page begins."""

    found: list[tuple[Outcome, Stretch]]
    after: tuple[int, int] | None


class Page(NamedTuple):
    """A part of the outcomes in the order they were written; ``after`` is where the next part begins."""

    outcomes: list[Outcome]
    after: tuple[int, int] | None


Old = tuple[Outcome, Stretch]


class OutcomeStore:
    """Appends outcomes and finds them again by sequence.

    Nothing is read when a queue opens: what earlier openings wrote is scanned when somebody first asks.
    The newest outcome of a message counts.
    """

    def __init__(self, log: Log, max_bytes: int, ttl_seconds: float) -> None:
        self.log = log
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_seconds
        self._index = Positions(JOINED_BYTES)
        self._unscanned = [segment.number for segment in log.segments]
        self._sealed_at: deque[tuple[int, float]] = deque()
        self._oldest = 0
        # Where the first outcome of a consumer pool lies: what is before it need not be read for its results.
        self._began: dict[str, Position] = {}

    def start(self, now: float) -> None:
        """Begin this opening's segment."""
        self._sealed_at.extend((number, now) for number in self._unscanned)
        self.log.start(0)

    def append(self, outcome: Outcome) -> None:
        """Write an outcome to the page cache; the next sync of the queue covers it."""
        (stretch,) = self.log.append([outcome_frame(outcome)])
        self._enter(outcome, stretch)

    @property
    def scanned(self) -> bool:
        """Whether :meth:`find` knows what earlier openings left."""
        return not self._unscanned

    def read_old(self) -> list[Old]:
        """Return what earlier openings left, for :meth:`admit_old`; blocking, safe in any thread."""
        found: list[Old] = []
        for number in list(self._unscanned):
            # A segment may be retired meanwhile: what was in it is then no longer kept.
            with contextlib.suppress(StorageError):
                frames = (
                    (frame, stretch) for frame, stretch in self.log.scan(number) if frame.kind == OUTCOME
                )
                found.extend((read_outcome(frame)._replace(blob=b""), stretch) for frame, stretch in frames)
        return found

    def admit_old(self, old: list[Old]) -> None:
        """Enter what :meth:`read_old` returned, under what was written since."""
        if self.scanned:
            return
        newer = self._index.dump()
        began = self._began
        self._began = {}
        for outcome, stretch in old:
            if stretch.segment >= self._oldest:
                self._enter(outcome, stretch)
        self._began = began | self._began
        for first, last, *stretch_fields in newer:
            self._index.add(first, last, Stretch(*stretch_fields))
        self._unscanned.clear()

    def find(self, run: Run) -> Iterator[Outcome]:
        """Yield the outcomes of the messages of *run* that have one, cut to them."""
        for entry in self._index.overlapping(run.first, run.last):
            if entry.stretch.segment >= self._oldest:
                yield from self._cut(self.log.read(entry.stretch), Run(entry.first, entry.last))

    def covered(self, run: Run) -> list[Run]:
        """Return the parts of *run* whose messages have an outcome that is still kept."""
        return [
            Run(entry.first, entry.last)
            for entry in self._index.overlapping(run.first, run.last)
            if entry.stretch.segment >= self._oldest
        ]

    def read_page(self, pool: str, after: tuple[int, int] | None, max_bytes: int) -> RawPage:
        """Return outcomes of one consumer pool's tasks that returned, oldest first; safe in any thread.

        Args:
            pool: the id of the consumer pool.
            after: where the last page ended, None for the first.
            max_bytes: about how large a page may be.
        """
        found: list[tuple[Outcome, Stretch]] = []
        size = 0
        for frame, stretch in self.log.replay(Position(*after) if after else self._began.get(pool)):
            if frame.kind == OUTCOME:
                outcome = read_outcome(frame)
                if outcome.pool == pool and outcome.state == RETURNED:
                    found.append((outcome._replace(blob=bytes(outcome.blob)), stretch))
                    size += len(outcome.blob)
            if size >= max_bytes:
                return RawPage(found, (stretch.segment, stretch.offset + stretch.length))
        return RawPage(found, None)

    def current(self, raw: RawPage) -> Page:
        """Return the page without what later outcomes of the same messages have replaced."""
        kept = [part for outcome, stretch in raw.found for part in self._current(outcome, stretch)]
        return Page(kept, raw.after)

    @property
    def full(self) -> bool:
        """Whether the current segment should be sealed, or old ones dropped."""
        return self.log.segments[-1].length > SEGMENT_BYTES

    def roll(self, now: float) -> None:
        """Seal a full segment; blocking, for the engine's thread."""
        if self.full:
            self._sealed_at.append((self.log.segments[-1].number, now))
            self.log.roll(0)

    def retire(self, now: float) -> list[int]:
        """Forget what is too old or too much; return the numbers of the segments that may be dropped."""
        numbers: list[int] = []
        size = self.log.size_bytes
        lengths = {segment.number: segment.length for segment in self.log.segments}
        while self._sealed_at and (size > self._max_bytes or self._sealed_at[0][1] < now - self._ttl_seconds):
            number, _ = self._sealed_at.popleft()
            size -= lengths[number]
            numbers.append(number)
        if numbers:
            self._oldest = numbers[-1] + 1
            oldest = Position(self._oldest, 0)
            self._began = {pool: max(at, oldest) for pool, at in self._began.items()}
            self._unscanned = [number for number in self._unscanned if number not in numbers]
            self._index = Positions.load(
                [row for row in self._index.dump() if row[2] >= self._oldest], JOINED_BYTES
            )
        return numbers

    def _enter(self, outcome: Outcome, stretch: Stretch) -> None:
        self._began.setdefault(outcome.pool, Position(stretch.segment, stretch.offset))
        for run in outcome.runs:
            self._index.add(run.first, run.last, stretch)

    def _current(self, outcome: Outcome, stretch: Stretch) -> Iterator[Outcome]:
        """Yield the parts of an outcome that no later one has replaced."""
        holds = [
            Run(entry.first, entry.last)
            for run in outcome.runs
            for entry in self._index.overlapping(run.first, run.last)
            if _within(stretch, entry.stretch)
        ]
        if intersect(outcome.runs, holds) == outcome.runs:
            yield outcome
        else:
            yield from cut(outcome, holds)

    def _cut(self, frames: Iterable[Frame], wanted: Run) -> Iterator[Outcome]:
        for frame in frames:
            if frame.kind == OUTCOME:
                yield from cut(read_outcome(frame), [wanted])


def cut(outcome: Outcome, wanted: Iterable[Run]) -> Iterator[Outcome]:
    """Yield an outcome for each stretch of its messages that is also in *wanted*."""
    wanted = tuple(wanted)
    batch: Batch | None = None
    index = 0
    for run in outcome.runs:
        for part in intersect((run,), wanted):
            if batch is None and len(outcome.blob):
                batch = Batch.parse(outcome.blob, verify=False)
            start = index + part.first - run.first
            blob = batch.slice(start, start + part.count) if batch else b""
            yield outcome._replace(runs=(part,), blob=blob)
        index += run.count


def _within(inner: Stretch, outer: Stretch) -> bool:
    same_segment = inner.segment == outer.segment
    return same_segment and outer.offset <= inner.offset < outer.offset + outer.length
