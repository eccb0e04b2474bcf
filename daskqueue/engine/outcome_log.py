"""One log of outcomes: appended, found again by sequence, and dropped by age, bytes and count."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from daskqueue.batch import Batch
from daskqueue.core.runs import Runs, count, intersect
from daskqueue.engine.records import OUTCOME, RETURNED, Outcome, outcome_frame, read_outcome
from daskqueue.errors import BatchError, CorruptionError, StorageError
from daskqueue.message import Run
from daskqueue.storage.frame import Frame
from daskqueue.storage.log import Log, Position, Replay, Stretch
from daskqueue.storage.positions import Positions

SEGMENT_BYTES = 16 << 20
SMALLEST_SEGMENT_BYTES = 64 << 10
# Results are dropped a segment at a time: this many of them share what the results may take.
SEGMENTS = 8
# A longer segment is not empty, or was made by an opening that found very many others.
MOST_EMPTY_BYTES = 4 << 10
# A single result is looked for in at most so many bytes of others.
JOINED_BYTES = 4 << 10

Sealed = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: bytes (as segments), messages whose task returned, and seconds."""

    max_bytes: int
    max_count: int | None
    ttl_seconds: float

    @property
    def segment_bytes(self) -> int:
        """How long a segment may become."""
        return min(max(self.max_bytes // SEGMENTS, SMALLEST_SEGMENT_BYTES), SEGMENT_BYTES)


class RawPage(NamedTuple):
    """What was read for a page: outcomes, where each lies, and where the next page begins."""

    found: list[tuple[Outcome, Stretch]]
    after: tuple[int, int] | None


class Page(NamedTuple):
    """A part of the outcomes in the order they were written; ``after`` is where the next part begins."""

    outcomes: list[Outcome]
    after: tuple[int, int] | None


Old = tuple[Outcome, Stretch]


class OutcomeLog:
    """Appends outcomes and finds them again by sequence.

    Nothing is read when a queue opens: what earlier openings wrote is scanned when somebody first asks.
    The newest outcome of a message counts.

    Args:
        log: where they are written.
        bounds: how much is kept.
        sealed: which segments of *log* were sealed when, as far as it is known.

    Attributes:
        dropped_by: names of the settings whose bound was reached so far.
    """

    def __init__(self, log: Log, bounds: Bounds, sealed: Sealed = ()) -> None:
        self.log = log
        self.dropped_by: set[str] = set()
        self._bounds = bounds
        self._index = Positions(JOINED_BYTES)
        self._unscanned = [segment.number for segment in log.segments]
        self._sealed_at = deque(sealed)
        self._oldest = 0
        self._begun_at: float | None = None  # the first append to the segment that is being written
        # The oldest first; nothing where there is no bound to act on.
        self._counted: deque[tuple[Runs, Stretch]] = deque()
        self._count = 0
        # Where the first outcome of a consumer pool lies: what is before it need not be read for its results.
        self._began: dict[str, Position] = {}

    def start(self, now: float) -> None:
        """Begin this opening's segment; the last one's goes if nothing was ever written to it."""
        empty = self.log.leave_out_empty()
        self._unscanned = [number for number in self._unscanned if number != empty]
        known = dict(self._sealed_at)
        self._sealed_at = deque((number, known.get(number, now)) for number in self._unscanned)
        self.log.start(0)

    def retire_empty(self) -> None:
        """Forget the oldest segments that hold nothing: each opening makes one, and :meth:`drop` deletes them."""
        for segment in self.log.segments:
            if segment.number not in self._unscanned or segment.length > MOST_EMPTY_BYTES:
                break
            replay = self.log.scan(segment.number)
            if any(True for _ in replay) or replay.report.damaged:
                break
            self._oldest = segment.number + 1
            self._unscanned.remove(segment.number)
            self._sealed_at.popleft()

    def append(self, outcome: Outcome, now: float, reserved: float = 1.0) -> None:
        """Write an outcome to the page cache; the next sync of the queue covers it."""
        (stretch,) = self.log.append([outcome_frame(outcome._replace(at=now))], reserved)
        if self._begun_at is None:
            self._begun_at = now
        self._enter(outcome, stretch)
        self._forget_surplus()

    def forget(self, runs: Runs) -> None:
        """Find nothing about some messages any more, until their next outcome is written."""
        for run in runs:
            self._index.remove(run.first, run.last)

    @property
    def scanned(self) -> bool:
        """Whether :meth:`find` knows what earlier openings left."""
        return not self._unscanned

    @property
    def sealed(self) -> list[tuple[int, float]]:
        """Which segments were sealed when, for the next opening."""
        return list(self._sealed_at)

    def read_old(self) -> list[Old]:
        """Return what earlier openings left, for :meth:`admit_old`; blocking, safe in any thread."""
        found: list[Old] = []
        for number in list(self._unscanned):
            try:
                old = _outcomes(self.log.scan(number))
                found.extend((outcome._replace(blob=b""), stretch) for outcome, stretch in old)
            except StorageError:
                # It may have been retired meanwhile: what was in it is then no longer kept.
                if number in self._unscanned:
                    raise
        return found

    def admit_old(self, old: list[Old]) -> None:
        """Enter what :meth:`read_old` returned, under what was written since."""
        if self.scanned:
            return
        newer, counted, began = self._index.dump(), self._counted, self._began
        self._began, self._counted = {}, deque()
        for outcome, stretch in old:
            if stretch.segment >= self._oldest:
                self._enter(outcome, stretch)
        self._began = began | self._began
        self._counted += counted
        for first, last, *stretch_fields in newer:
            self._index.add(first, last, Stretch(*stretch_fields))
        self._unscanned.clear()
        self._forget_surplus()

    def find(self, run: Run, now: float) -> Iterator[Outcome]:
        """Yield the outcomes of the messages of *run* that have one, cut to them."""
        for entry in self._index.overlapping(run.first, run.last):
            if entry.stretch.segment >= self._oldest:
                found = self._cut(self.log.readable(entry.stretch), Run(entry.first, entry.last))
                yield from filter(lambda outcome: self._is_young(outcome, now), found)

    def read_page(self, pool: str, after: tuple[int, int] | None, max_bytes: int, now: float) -> RawPage:
        """Return outcomes of one consumer pool's tasks that returned, oldest first; safe in any thread.

        Args:
            pool: the id of the consumer pool.
            after: where the last page ended, None for the first.
            max_bytes: about how large a page may be.
            now: what is too old by then is left out.
        """
        found: list[tuple[Outcome, Stretch]] = []
        size = 0
        for outcome, stretch in _outcomes(
            self.log.replay(Position(*after) if after else self._began.get(pool))
        ):
            if outcome.pool == pool and outcome.state == RETURNED and self._is_young(outcome, now):
                found.append((outcome._replace(blob=bytes(outcome.blob)), stretch))
                size += len(outcome.blob)
            if size >= max_bytes:
                return RawPage(found, (stretch.segment, stretch.offset + stretch.length))
        return RawPage(found, None)

    def current(self, raw: RawPage) -> Page:
        """Return the page without what later outcomes of the same messages have replaced."""
        kept = [part for outcome, stretch in raw.found for part in self._current(outcome, stretch)]
        return Page(kept, raw.after)

    def is_due(self, now: float) -> bool:
        """Return whether :meth:`roll` or :meth:`retire` has something to do."""
        return self._should_roll(now) or self._is_over(self.log.size_bytes, now)

    def roll(self, now: float) -> None:
        """Seal a segment that is full, or so old that it may have to go soon; blocking, for the engine's thread."""
        if self._should_roll(now):
            number = self.log.segments[-1].number
            self.log.roll(0)
            self._sealed_at.append((number, now))
            self._begun_at = None

    def retire(self, now: float) -> None:
        """Forget what is too old or too much; :meth:`drop` deletes it."""
        numbers: list[int] = []
        size = self.log.size_bytes
        lengths = {segment.number: segment.length for segment in self.log.segments}
        while self._is_over(size, now):
            number, _ = self._sealed_at.popleft()
            self.dropped_by.add("result_bytes" if size > self._bounds.max_bytes else "result_ttl")
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
            while self._counted and self._counted[0][1].segment < self._oldest:
                self._count -= count(self._counted.popleft()[0])

    def drop(self) -> None:
        """Delete segments that were retired, now or when the disk refused; blocking."""
        for segment in self.log.segments:
            if segment.number < self._oldest:
                self.log.drop(segment.number)

    def _should_roll(self, now: float) -> bool:
        old = self._begun_at is not None and self._begun_at < now - self._bounds.ttl_seconds / SEGMENTS
        return old or self.log.tail.offset > self._bounds.segment_bytes

    def _is_over(self, size: int, now: float) -> bool:
        if not self._sealed_at:
            return False
        return size > self._bounds.max_bytes or self._sealed_at[0][1] < now - self._bounds.ttl_seconds

    def _is_young(self, outcome: Outcome, now: float) -> bool:
        if outcome.at >= now - self._bounds.ttl_seconds or not outcome.at:  # version 1 wrote no time
            return True
        self.dropped_by.add("result_ttl")
        return False

    def _enter(self, outcome: Outcome, stretch: Stretch) -> None:
        self._began.setdefault(outcome.pool, Position(stretch.segment, stretch.offset))
        for run in outcome.runs:
            self._index.add(run.first, run.last, stretch)
        if self._bounds.max_count is not None and outcome.state == RETURNED:
            self._counted.append((outcome.runs, stretch))
            self._count += count(outcome.runs)

    def _forget_surplus(self) -> None:
        """Let the oldest results go where there are more than may be kept; their bytes go with their segment."""
        most = self._bounds.max_count
        while most is not None and self._count > most:
            self.dropped_by.add("result_count")
            runs, stretch = self._counted.popleft()
            gone, rest = _split(runs, self._count - most)
            self._count -= count(gone)
            if rest:
                self._counted.appendleft((rest, stretch))
            for run in self._holding(gone, stretch):
                self._index.remove(run.first, run.last)

    def _current(self, outcome: Outcome, stretch: Stretch) -> Iterator[Outcome]:
        """Yield the parts of an outcome that no later one has replaced."""
        holds = self._holding(outcome.runs, stretch)
        if intersect(outcome.runs, holds) == outcome.runs:
            yield outcome
        else:
            yield from cut(outcome, holds)

    def _holding(self, runs: Runs, stretch: Stretch) -> list[Run]:
        """Return the parts of runs whose newest outcome is the one at a stretch."""
        return [
            Run(entry.first, entry.last)
            for run in runs
            for entry in self._index.overlapping(run.first, run.last)
            if _within(stretch, entry.stretch)
        ]

    def _cut(self, frames: Iterable[Frame], wanted: Run) -> Iterator[Outcome]:
        for frame in frames:
            with suppress(CorruptionError, BatchError):
                if frame.kind == OUTCOME:
                    yield from cut(read_outcome(frame), [wanted])


def _outcomes(replay: Replay) -> Iterator[tuple[Outcome, Stretch]]:
    """Yield the outcomes of a log; what makes no sense is noted as damage, unknown kinds are left alone."""
    for frame, stretch in replay:
        if frame.kind != OUTCOME:
            continue
        try:
            yield read_outcome(frame), stretch
        except CorruptionError:
            replay.damage(stretch)


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


def _split(runs: Runs, size: int) -> tuple[Runs, Runs]:
    """Return the first *size* messages of the runs, and the others."""
    before: list[Run] = []
    after: list[Run] = []
    for first, last in runs:
        middle = min(first + max(size, 0), last)
        size -= last - first
        before += [Run(first, middle)] if first < middle else []
        after += [Run(middle, last)] if middle < last else []
    return tuple(before), tuple(after)


def _within(inner: Stretch, outer: Stretch) -> bool:
    same_segment = inner.segment == outer.segment
    return same_segment and outer.offset <= inner.offset < outer.offset + outer.length
