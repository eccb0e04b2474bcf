"""Write a queue anew: the state that its folder comes to, and all of its bytes that are whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daskqueue.clock import ManualClock
from daskqueue.core.apply import apply
from daskqueue.core.commands import Move
from daskqueue.core.decide import decide
from daskqueue.core.facts import CancelAsked, Discarded, Leased, Released
from daskqueue.core.queue import Queue
from daskqueue.core.runs import Runs, count, merge, subtract
from daskqueue.core.snapshot import carry
from daskqueue.engine.book import Book
from daskqueue.engine.failures import read_failures
from daskqueue.engine.gaps import DAMAGED
from daskqueue.engine.records import (
    FAILED,
    Outcome,
    fact_frame,
    moved_attachment,
    outcome_frame,
    position_bytes,
    read_fact,
)
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import CorruptionError
from daskqueue.message import Run
from daskqueue.storage import checkpoint
from daskqueue.storage.catalogue import Catalogue, survey
from daskqueue.storage.log import Log
from daskqueue.storage.segment import SegmentFolder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from daskqueue.core.facts import Fact
    from daskqueue.core.queue import HeldLease
    from daskqueue.inspecting.opened import Opened
    from daskqueue.inspecting.progress import Progress
    from daskqueue.storage.frame import Buffer, Frame
    from daskqueue.storage.fs import FileSystem
    from daskqueue.storage.log import Stretch

_GROUP_BYTES = 1 << 20


@dataclass(slots=True)
class Rebuilt:
    """What was written of a queue.

    Attributes:
        messages: how many.
        results: frames of results.
        left_behind: messages whose bytes are not whole; their jobs fail with the reason ``damaged``.
        without_failure: dead letters of which it is no longer known why they died.
        unknown: records that this version does not know, written again as they were.
    """

    messages: int = 0
    results: int = 0
    left_behind: Runs = ()
    without_failure: list[Run] = field(default_factory=list)
    unknown: int = 0


class Rebuilding:
    """One queue on its way into a new folder.

    Its sequences, its epoch and its leases go on, so job handles and the numbers of puts keep their meaning.

    Args:
        source: the old folder.
        gone: messages that cannot be written again.
        fs: where the new folder is.
        folder: the new folder; it is there, and empty.
        name: how the folder will be called in the end.
    """

    def __init__(self, source: Opened, gone: Runs, fs: FileSystem, folder: Path, name: str) -> None:
        self.rebuilt = Rebuilt(left_behind=gone)
        self._source = source
        self._gone = gone
        self._fs = fs
        self._folder = folder
        self._index_path = folder / f"{name}.index"
        self._settings = QueueSettings()
        self._old, _ = source.fold()
        self._known_at = _known_at(source)
        self._reader = source.reader(self._old)
        self._new = Book(Queue(self._settings.of_core()))
        self._log = self._begun(".log", source.log)
        self._results = self._begun(".results", source.results)
        self._sealed: list[tuple[int, float]] = []

    def run(self, progress: Progress) -> Book:
        """Write everything; it is on the disk when this returns. Return the state that was written."""
        try:
            self._copy_results(progress)
            self._write_state(progress)
            self._write_checkpoint()
        finally:
            self._log.close()
            self._results.close()
        return self._new

    def expected(self) -> Queue:
        """Return the state of the old folder, without the messages that are left behind."""
        book, _ = self._source.fold()
        self._leave_behind(book.queue)
        return book.queue

    def _begun(self, suffix: str, old: Log) -> Log:
        """Return a log in the new folder whose segments and epoch go on behind those of the old one."""
        place = SegmentFolder(self._source.fs, self._source.path, suffix)
        found = survey(place, old.queue_id, sure=True)
        follows = Catalogue(old.queue_id, [], [], [], found.highest_number, old.epoch - 1)
        return Log(SegmentFolder(self._fs, self._folder, suffix), old.queue_id, follows)

    # Results

    def _copy_results(self, progress: Progress) -> None:
        """Write the whole frames of the results again, segment by segment, as they are dropped one day."""
        known = dict(self._old.sealed)
        for place, segment in enumerate(self._source.results.segments or [None]):
            if place:
                self._results.roll(0)
            else:
                self._results.start(0)
            if segment is not None:
                self._copy(self._source.results.scan(segment.number), progress)
                if segment.number in known:
                    self._sealed.append((self._results.tail.segment, known[segment.number]))
        if self._gone:
            self._results.append([outcome_frame(Outcome(FAILED, "", "", self._gone, b"", DAMAGED))])
        self._results.sync()

    def _copy(self, replay: Iterable[tuple[Frame, Stretch]], progress: Progress) -> None:
        group: list[tuple[int, list[memoryview]]] = []
        size = 0
        for frame, stretch in replay:
            group.append((frame.kind, [frame.payload]))
            size += stretch.length
            if size >= _GROUP_BYTES:
                self._results.append(group)
                progress.advance(size)
                self.rebuilt.results += len(group)
                group, size = [], 0
        if group:
            self._results.append(group)
            self.rebuilt.results += len(group)

    # Messages

    def _write_state(self, progress: Progress) -> None:
        queue = self._old.queue
        self._leave_behind(queue)
        head = carry(queue)
        (stretch,) = self._log.start(queue.next_sequence, [self._head(queue)])
        self._new.enter(head, stretch)
        # Only what waits or is dead can be moved: what is leased is given back first, and leased again.
        leases = [(lease, merge(piece[:2] for piece in lease.runs)) for lease in queue.leases.values()]
        asked = merge(piece[:2] for piece in queue.asked)
        for lease, runs in leases:
            apply(queue, Released(lease.number, runs))
        for run in self._runs():
            self._move(run)
            progress.advance(0)
        for lease, runs in leases:
            self._append(_again(lease, runs))
        if asked:
            self._append(CancelAsked(asked))
        self._copy_unknown()
        self._append(head, position_bytes(self._results.synced))  # leasing again has counted deliveries twice

    def _copy_unknown(self) -> None:
        """Write the records again that only a later version knows."""
        for frame, _ in self._source.log.replay():
            try:
                fact, _ = read_fact(frame)
            except CorruptionError:
                continue
            if fact is None:
                (stretch,) = self._log.append([(frame.kind, [frame.payload])])
                self._new.unknown.setdefault(stretch.segment, set()).add(frame.kind)
                self.rebuilt.unknown += 1

    def _leave_behind(self, queue: Queue) -> None:
        """Let messages that cannot be read be dead letters that were thrown away."""
        dead = merge(piece[:2] for piece in queue.dead)
        died = count(subtract(self._gone, dead))
        if self._gone:
            apply(queue, Discarded(self._gone))
        if died:
            queue.counters.dead[DAMAGED] = queue.counters.dead.get(DAMAGED, 0) + died

    def _runs(self) -> Iterator[Run]:
        """Yield the messages, as they lie together in the old log: alive, or dead of one reason each."""
        for first, last, *_ in self._old.positions.dump():
            for run in subtract((Run(first, last),), self._gone):
                dead = [Run(*piece[:2]) for piece in self._old.queue.dead.pieces(*run)]
                for grave in dead:
                    told = merge(part for outcome in self._failures(grave) for part in outcome.runs)
                    yield from (*told, *subtract((grave,), told))
                yield from subtract((run,), merge(dead))

    def _move(self, run: Run) -> None:
        """Write the messages of a run, with all that is known about them."""
        parts = list(self._reader.slices([run]))
        if sum(part.size for part in parts) != run.count:
            raise CorruptionError(
                f"the messages {run.first} to {run.last - 1} were whole, and cannot be read now"
            )
        failures = b"".join(bytes(outcome.blob) for outcome in self._failures(run))
        _, facts = decide(self._old.queue, Move(run), self._known_at)
        for fact in facts:
            self._append(fact, *moved_attachment(b"".join(part.data for part in parts), failures))
        self.rebuilt.messages += run.count

    def _failures(self, run: Run) -> list[Outcome]:
        """Return why dead letters died, as far as it can be read and there is something to tell."""
        found: list[Outcome] = []
        for entry in self._old.failures.overlapping(*run):
            for outcome in read_failures(self._source.log, entry):
                if len(outcome.blob):
                    found.append(outcome)
                elif outcome.reason == DAMAGED:
                    self.rebuilt.without_failure += outcome.runs
        return found

    # Files

    def _append(self, fact: Fact, *beside: Buffer) -> None:
        (stretch,) = self._log.append([fact_frame(fact, *beside)])
        self._new.enter(fact, stretch)
        if self._log.tail.offset > self._settings.segment_bytes:
            self._log.roll(self._new.queue.next_sequence, [self._head(self._new.queue)])

    def _head(self, queue: Queue) -> tuple[int, list[Buffer]]:
        return fact_frame(carry(queue), position_bytes(self._results.synced))

    def _write_checkpoint(self) -> None:
        """Write what the log does not say: when messages were put and results sealed, who has finished how much."""
        self._log.sync()
        new, old = self._new, self._old
        new.marks, new.finished, new.sealed = old.marks, old.finished, self._sealed
        payload = new.dump(self._results.tail, self._known_at)
        checkpoint.write(self._fs, self._index_path, self._log.queue_id, self._log.tail, payload)


def _known_at(source: Opened) -> float:
    """Return the newest moment that a folder tells: the new one must not be later than that, whoever's clock is."""
    clock = ManualClock(0.0)
    source.fold(clock=clock)
    return clock.now()


def _again(lease: HeldLease, runs: Runs) -> Leased:
    """Return the fact of a lease that goes on; how long it does is decided when the folder is opened."""
    return Leased(lease.number, lease.epoch, lease.consumer, lease.pool, lease.request, runs, 0.0)
