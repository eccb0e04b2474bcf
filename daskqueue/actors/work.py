"""Leased messages on their way through whoever runs them, and what came of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

from daskqueue.actors.settlement import runs_of
from daskqueue.actors.timing import RAISED, TaskNames
from daskqueue.clock import Stopwatch
from daskqueue.message import Terms
from daskqueue.results import Failure, describe_failure
from daskqueue.running import Assignment, Reject, Snooze

CANNOT_LOAD = "cannot_load"
REJECTED = "rejected"

Part = tuple[int, bytes]


class Raised(NamedTuple):
    """Stands among results where a task raised.

    Attributes:
        error: the exception, or what is left of one from another process.
        reason: why a dead letter of it would be one.
        kinds: names of the exception's types, if *error* is no exception.
    """

    error: BaseException | Failure
    reason: str = RAISED
    kinds: tuple[str, ...] = ()


class Snoozed(NamedTuple):
    """Stands among results where a task wants to be run again later; *raised* is what it is where that cannot be."""

    seconds: float
    raised: Raised


class Crashed(NamedTuple):
    """Stands among results where a task ended its process."""

    what: str = ""


class Note(NamedTuple):
    """What a queue says of messages that follow each other, where that is not what it says of most.

    Attributes:
        first: the sequence of the first.
        last: one past the last.
        attempts: how many attempts there were before this one.
        losses: how many deliveries there were besides that nobody heard of again.
        terms: what was chosen for them; None for nothing.
        progress: what the last attempt that said something said.
    """

    first: int
    last: int
    attempts: int = 0
    losses: int = 0
    terms: Terms | None = None
    progress: bytes | None = None


class Cut(NamedTuple):
    """Finished messages of one slice, next to each other: the index of the first, and their results."""

    work: Work
    start: int
    values: list[Any]


class Work:
    """Leased messages that follow each other.

    Args:
        source: which queue it came from.
        receipt: lease number and epoch.
        base_id: the id of the queue's message with sequence 0.
        first: the sequence of the first message.
        parts: their record batches, each with its count of messages.
        notes: what there is to know of some of them, in order.
        queue: the name of their queue.

    Attributes:
        cancelled: indices of messages whose cancel was asked for while they were here.
    """

    __slots__ = (
        "_lapped",
        "_starts",
        "base_id",
        "cancelled",
        "count",
        "cut_at",
        "finished",
        "first",
        "notes",
        "outcomes",
        "parts",
        "queue",
        "receipt",
        "source",
        "spent",
        "taken",
        "tasks",
        "timed",
        "watch",
        "withdrawn",
    )

    def __init__(
        self,
        source: int,
        receipt: tuple[int, int],
        base_id: int,
        first: int,
        parts: Sequence[Part],
        notes: Sequence[Note] = (),
        queue: str = "",
    ) -> None:
        self.source = source
        self.receipt = receipt
        self.base_id = base_id
        self.first = first
        self.parts = parts
        self.notes = notes
        self.queue = queue
        self.count = sum(count for count, _ in parts)
        # One thread: results in order. Several: a slot for each message, and which were filled.
        self.outcomes: list[Any] = []
        self.finished: SimpleQueue[int] | None = None
        self.taken = 0
        self.withdrawn = 0
        self.cut_at = 0.0
        self.watch: Stopwatch | None = None
        self.tasks = TaskNames()
        # Several threads: the seconds of each message.
        self.spent: list[float] | None = None
        self.cancelled: set[int] = set()
        self.timed = any(note.terms is not None and note.terms.timeout_seconds for note in notes)
        self._lapped = 0.0
        self._starts = [note.first - first for note in notes]

    @property
    def unfinished(self) -> int:
        """How many messages are still to come to an end here."""
        return self.count - self.taken - self.withdrawn

    @property
    def unended(self) -> int:
        """How many messages run or are still to run here."""
        done = self.taken + self.finished.qsize() if self.finished is not None else len(self.outcomes)
        return max(self.count - self.withdrawn - done, 0)

    @property
    def ended(self) -> bool:
        """Whether every message that was not given back has come to an end, taken or not."""
        return not self.unended

    def lap(self) -> float:
        """Return the seconds that passed here since the last call."""
        before, self._lapped = self._lapped, self.watch.seconds if self.watch is not None else 0.0
        return self._lapped - before

    def open_slots(self) -> None:
        """Let messages come to an end in any order."""
        self.finished = SimpleQueue()
        self.outcomes = [None] * self.count
        self.spent = [0.0] * self.count

    def end(self, index: int, value: Any, seconds: float) -> None:
        """Take note of a message's end, after :meth:`open_slots` and from any thread.

        Args:
            index: which message.
            value: what it returned, or one of those that stand among results.
            seconds: how long it took.
        """
        assert self.finished is not None
        assert self.spent is not None
        self.spent[index] = seconds
        self.outcomes[index] = value
        self.finished.put(index)

    def cuts(self) -> Iterator[Cut]:
        """Take what finished since the last time."""
        if self.finished is None:
            values = self.outcomes[self.taken :]
            if values:
                yield Cut(self, self.taken, values)
                self.taken += len(values)
            return
        indices = sorted(self.finished.get() for _ in range(self.finished.qsize()))
        self.taken += len(indices)
        for start, end in runs_of(indices):
            yield Cut(self, start, self.outcomes[start:end])

    # What is known of single messages

    def note_at(self, index: int) -> Note | None:
        """Return what the queue said of a message; None for nothing."""
        position = bisect_right(self._starts, index) - 1
        if position < 0 or self.notes[position].last - self.first <= index:
            return None
        return self.notes[position]

    def stretch(self, index: int) -> tuple[int, float | None]:
        """Return the time-out of a message's attempts in seconds, and the index up to which others have the same."""
        note = self.note_at(index)
        if note is not None:
            return note.last - self.first, note.terms.timeout_seconds if note.terms is not None else None
        position = bisect_right(self._starts, index)
        return self._starts[position] if position < len(self._starts) else self.count, None

    def assignment(self, index: int, deadline: float | None = None) -> Assignment:
        """Return what a message's task may know of it; *deadline* in epoch seconds."""
        number = self.base_id + self.first + index
        note = self.note_at(index)
        if note is None:
            return Assignment(number, self.queue, deadline=deadline)
        terms = note.terms or Terms()
        deliveries = note.attempts + note.losses + 1
        return Assignment(
            number, self.queue, note.attempts + 1, deliveries, terms.group, terms.key, deadline, note.progress
        )


def ended(error: BaseException) -> Raised | Snoozed:
    """Return what a task raised, as it stands among results."""
    if isinstance(error, Snooze):
        return Snoozed(error.seconds, Raised(error))
    if isinstance(error, Reject):
        return Raised(error, REJECTED)
    if isinstance(error, StopIteration):
        return Raised(RuntimeError("the task raised StopIteration"))
    return Raised(error)


def carried(end: Raised | Snoozed) -> Raised | Snoozed:
    """Return the same in a form that can be pickled."""
    if isinstance(end, Snoozed):
        return Snoozed(end.seconds, carried(end.raised))  # type: ignore[arg-type]
    if isinstance(end.error, Failure):
        return end
    return Raised(describe_failure(end.error), end.reason, kinds_of(end))


def kinds_of(raised: Raised) -> tuple[str, ...]:
    """Return the names of the types of what was raised, as ``retry_on`` knows them."""
    if isinstance(raised.error, Failure):
        return raised.kinds
    return tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(raised.error).__mro__)


def taken(
    make: Callable[..., Work], source: int, base_id: int, queue: str, reply: Sequence[Any]
) -> list[Work]:
    """Return what a queue answered to ``exchange`` as works; small batches are run and acked together.

    Args:
        make: makes one, with the arguments of :class:`Work`.
        source: which queue it was.
        base_id: the id of the queue's message with sequence 0.
        queue: the queue's name.
        reply: lease number, epoch, slices, notes.
    """
    lease, epoch, slices, notes = reply
    about = [
        Note(begin, end, attempts, losses, Terms(*terms) if terms is not None else None, progress)
        for begin, end, attempts, losses, terms, progress in notes
    ]
    return [
        make(source, (lease, epoch), base_id, first, parts, _within(about, first, parts), queue)
        for first, parts in _joined(slices)
    ]


def _within(notes: Sequence[Note], first: int, parts: Sequence[Part]) -> Sequence[Note]:
    if not notes:
        return ()
    last = first + sum(count for count, _ in parts)
    begin = bisect_right(notes, first, key=lambda note: note.last)
    return notes[begin : bisect_left(notes, last, key=lambda note: note.first)]


def _joined(slices: Sequence[tuple[int, int, bytes]]) -> list[tuple[int, list[Part]]]:
    """Return slices that follow each other as one."""
    joined: list[tuple[int, list[Part]]] = []
    end = -1
    for first, count, data in slices:
        if first == end:
            joined[-1][1].append((count, data))
        else:
            joined.append((first, [(count, data)]))
        end = first + count
    return joined
