"""Where a task thread is: which message it runs, as the task, the alarm and the consumer see it."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from daskqueue.clock import Clock
from daskqueue.running import FINDER, Current

if TYPE_CHECKING:
    from daskqueue.actors.alarm import Attempt
    from daskqueue.actors.awaiting import Flight
    from daskqueue.actors.work import Work

OnNote = Callable[["Work", int, bytes], object]

# The seat of the thread that asks; coroutines that it awaits see it, too.
SEAT: contextvars.ContextVar[Seat] = contextvars.ContextVar("daskqueue_seat")


class Desk:
    """What the seats of one runner share.

    Args:
        on_note: told of each progress note: the slice, the index of the message, and the note.
        clock: what is taken for the time.
        resources: what is open for tasks.
    """

    def __init__(self, on_note: OnNote, clock: Clock, resources: Mapping[str, Any]) -> None:
        self.on_note = on_note
        self.clock = clock
        self.resources = resources


class Seat:
    """The place of one task thread.

    Attributes:
        ident: the thread's number.
        work: the slice that it runs.
        index: the message in it; None while the slice runs in order, and the next result to come is the one.
        attempt: what has a time-out there.
        flight: the coroutine that is awaited there.
        thread: the thread, if it is one of the runner's own.
        replaceable: whether another thread can go on in its place.
    """

    __slots__ = ("_desk", "attempt", "flight", "ident", "index", "replaceable", "thread", "work")

    def __init__(self, desk: Desk, *, replaceable: bool) -> None:
        self._desk = desk
        self.replaceable = replaceable
        self.ident = 0
        self.work: Work | None = None
        self.index: int | None = None
        self.attempt: Attempt | None = None
        self.flight: Flight | None = None
        self.thread: threading.Thread | None = None

    def take(self) -> None:
        """Make it the place of the thread that calls, and of the coroutines that it awaits."""
        self.ident = threading.get_ident()
        SEAT.set(self)
        FINDER.set(self.current)

    @property
    def place(self) -> int:
        """The index of the message that runs here."""
        if self.index is not None:
            return self.index
        assert self.work is not None
        # A slice that runs in order has as many results as messages before the one that runs.
        return len(self.work.outcomes)

    def current(self) -> Current:
        """Return the message that runs here, as its task sees it."""
        assert self.work is not None
        index = self.place
        deadline = self.attempt.deadline if self.attempt is not None else None
        return Current(
            self.work.assignment(index, deadline), _Link(self._desk, self.work, index, self.attempt)
        )


class _Link:
    """How the task of one message speaks with its consumer."""

    def __init__(self, desk: Desk, work: Work, index: int, attempt: Attempt | None) -> None:
        self._desk = desk
        self._work = work
        self._index = index
        self._attempt = attempt

    @property
    def clock(self) -> Clock:
        return self._desk.clock

    @property
    def resources(self) -> Mapping[str, Any]:
        return self._desk.resources

    def cancelled(self) -> bool:
        over = self._attempt is not None and self._attempt.over
        return over or self._index in self._work.cancelled

    def note(self, blob: bytes) -> None:
        if self._attempt is None or not self._attempt.over:
            self._desk.on_note(self._work, self._index, blob)
