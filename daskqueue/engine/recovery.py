"""Opening a queue: the newest valid checkpoint, then the log after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from daskqueue.clock import Clock
from daskqueue.core.encode import is_known
from daskqueue.core.facts import Acked, Carried, Enqueued, Fact, Moved
from daskqueue.core.queue import Queue
from daskqueue.core.runs import Runs
from daskqueue.engine.book import Book, Saved, load
from daskqueue.engine.gaps import Gaps
from daskqueue.engine.large import read_reference
from daskqueue.engine.records import check_put, read_fact, read_moved, read_position, read_witness
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import CorruptionError, FormatError
from daskqueue.storage import checkpoint
from daskqueue.storage.fs import FileSystem
from daskqueue.storage.log import Log, Position, Replay, Stretch
from daskqueue.storage.segment import HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Recovered:
    """What opening a queue found.

    Attributes:
        frames: how many were replayed after the checkpoint.
        torn_bytes: of unfinished last writes.
        damaged: places of the log that were once good and are not.
        seconds: how long it took.
        saved_at: when the checkpoint was written.
        results: up to where the results are known to be whole.
        lost: messages of which is only known that they were put, because that record is damaged; they are ready.
        checkpoint_problem: why the checkpoint was not used; empty if it was.
        checkpoint_damaged: whether that is because it is damaged.
    """

    frames: int
    torn_bytes: int
    damaged: tuple[Stretch, ...]
    seconds: float
    saved_at: float
    results: Position
    lost: Runs = ()
    checkpoint_problem: str = ""
    checkpoint_damaged: bool = False

    @property
    def damaged_frames(self) -> int:
        """How many places of the log are damaged; neighbours may count as one."""
        return len(self.damaged)


def recover(
    fs: FileSystem,
    log: Log,
    results: Log,
    index_path: Path,
    settings: QueueSettings,
    clock: Clock,
    *,
    use_checkpoint: bool = True,
) -> tuple[Book, Recovered]:
    """Read a queue back from its folder; changes nothing there.

    Args:
        fs: where the folder lies.
        log: the queue's log, not yet started.
        results: its results, not yet started.
        index_path: its checkpoint.
        settings: what can be set about the queue.
        clock: reads the time; moved forward to the newest moment that the folder tells.
        use_checkpoint: false to read all of the log.

    Raises:
        FormatError: a newer version wrote the checkpoint.
        StorageError: the disk fails.
    """
    began = clock.now()
    saved, problem = (
        _saved(fs, log, index_path, settings) if use_checkpoint else (None, "it was not asked for")
    )
    replay = log.replay(saved.position if saved else None)
    seen_at = saved.at if saved else 0.0
    if saved is None or replay.relocated:
        problem = problem or "the part of the log that it belongs to is gone"
        saved = Saved(Book(Queue(settings.of_core())))
    book, unmarked = saved.book, saved.book.queue.next_sequence
    acks = _Acks(results, saved.results)
    gaps = Gaps(book.queue, replay.report, _floor(log) if problem else 0)
    for fact, attachment, stretch in _facts(replay, book):
        seen_at = max(seen_at, getattr(fact, "at", None) or 0.0)
        if isinstance(fact, Acked) and not acks.proven(fact, stretch, attachment):
            continue
        if isinstance(fact, Carried):
            # Its counters include the acks before it, so they are entered first.
            acks.judge(book, read_position(attachment))
        gaps.before(fact)
        reference = read_reference(attachment) if isinstance(fact, Enqueued) else None
        book.enter(fact, stretch, reference)
    acks.judge(book)
    gaps.close()
    seconds = clock.now() - began
    # The clock of the system may have gone back since, or have begun anew in 1970.
    clock.not_before(seen_at)
    # Puts have no time: what the checkpoint does not know counts from this opening on.
    book.marks.note(unmarked, clock.now())
    report = replay.report
    found = Recovered(
        frames=report.frames,
        torn_bytes=report.torn_bytes,
        damaged=tuple(report.damaged),
        seconds=seconds,
        saved_at=saved.at,
        results=acks.whole,
        lost=gaps.lost,
        checkpoint_problem=problem,
        checkpoint_damaged=isinstance(problem, checkpoint.Damaged),
    )
    return book, found


def _floor(log: Log) -> int:
    """Return the first sequence that the log may hold."""
    return next((segment.first_sequence for segment in log.segments), 0)


def _facts(replay: Replay, book: Book) -> Iterator[tuple[Fact, memoryview, Stretch]]:
    """Yield the facts of a log, past those that make no sense; note those that a later version wrote."""
    for frame, stretch in replay:
        try:
            fact, attachment = read_fact(frame)
            _check_attachment(fact, attachment)
        except CorruptionError:
            replay.damage(stretch)
            continue
        if fact is None:
            book.unknown.setdefault(stretch.segment, set()).add(frame.kind)
        else:
            yield fact, attachment, stretch


def _check_attachment(fact: Fact | None, attachment: memoryview) -> None:
    """Raise if what lies beside a fact, and is needed to enter it, makes no sense."""
    if isinstance(fact, Enqueued):
        check_put(fact, attachment)
    elif isinstance(fact, Moved):
        read_moved(attachment)
    elif isinstance(fact, Acked):
        read_witness(attachment)
    elif isinstance(fact, Carried):
        read_position(attachment)


class _Acks:
    """Makes sure that no ack counts whose results a power cut has taken.

    Log and results are two files with a sync each, so the last acks can be on the disk before what they
    acked. Each says how far the results were durable when it was written: what lies before that is proven,
    and only what lies behind the last such place has to be looked at. How much was whole stands at the head
    of each segment, so that an ack that did not count once never will.

    Attributes:
        whole: up to where the results are known to be whole.
    """

    def __init__(self, results: Log, whole: Position) -> None:
        self.whole = whole
        self._results = results
        self._doubtful: list[tuple[Position, Acked, Stretch]] = []

    def proven(self, fact: Acked, stretch: Stretch, attachment: memoryview) -> bool:
        """Return whether an ack counts at once; others wait to be judged."""
        witness = read_witness(attachment)
        if witness is None:
            return True
        self.whole = max(self.whole, witness.synced)
        if witness.needs <= self.whole:
            return True
        self._doubtful.append((witness.needs, fact, stretch))
        return False

    def judge(self, book: Book, found: Position | None = None) -> None:
        """Enter those of the waiting acks whose results are whole, and forget the others.

        Args:
            book: where they are entered.
            found: up to where the results were whole at that time; None at the end of the log: look now.
        """
        if found is not None:
            self.whole = max(self.whole, found)
        elif any(needs > self.whole for needs, *_ in self._doubtful):
            self.whole = self._end_of_whole()
        for needs, fact, stretch in self._doubtful:
            if needs <= self.whole:
                book.enter(fact, stretch)
        self._doubtful.clear()

    def _end_of_whole(self) -> Position:
        end = self.whole
        behind = [segment for segment in self._results.segments if segment.number >= end.segment]
        if not behind:
            return end
        # The segment that the position names may be gone: the last opening's, if nothing was ever written to it.
        start = end if behind[0].number == end.segment else Position(behind[0].number, HEADER_BYTES)
        replay = self._results.replay(start if end.offset else None)
        headers = len(replay.report.damaged)  # none of them is missed
        for _, stretch in replay:
            if len(replay.report.damaged) > headers:
                break
            end = Position(stretch.segment, stretch.offset + stretch.length)
        return end


def _saved(fs: FileSystem, log: Log, index_path: Path, settings: QueueSettings) -> tuple[Saved | None, str]:
    """Return what the checkpoint says, or None and why it cannot be used."""
    found, problem = checkpoint.read(fs, index_path, log.queue_id)
    if found is None:
        return None, problem
    try:
        saved = load(found.payload, found.position, settings)
    except CorruptionError as error:
        return None, checkpoint.Damaged(str(error))
    except FormatError as error:
        raise FormatError(f"{index_path}: {error}: a newer daskqueue has had this folder open") from error
    if any(is_known(kind) for kinds in saved.book.unknown.values() for kind in kinds):
        return None, "it was written by a version that did not know all facts of the log"
    return saved, ""
