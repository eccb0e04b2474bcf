"""Ends attempts that take too long: interrupts Python code, and leaves threads behind that cannot be interrupted.

A thread is interrupted by an exception that Python raises in it between two steps of its own code. Such an
exception must hit the task that it is for, and nothing else: no other task, and none of the code around it. Two
locks of each attempt see to that, which are only ever tried, never waited for: ``claim`` is the thread's when its
call has come to an end, or the watcher's, and then the thread does not go on before the exception has been sent
and has arrived or been taken back; ``end`` is the thread's when it has the outcome, or the watcher's, and then
the thread is left behind, and has nothing to say any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from asyncio import CancelledError
from collections.abc import Callable
from math import inf
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any

from daskqueue.actors.work import Raised, ended
from daskqueue.clock import ticks
from daskqueue.errors import TaskTimeoutError
from daskqueue.running import Interrupted

if TYPE_CHECKING:
    from daskqueue.actors.seat import Seat

# How long after its time-out a task may take to come to an end before its thread is left behind.
GRACE_SECONDS = 2.0
# A thread within these is between taking a lock and giving it back, which an exception may prevent for ever: ...
_DELICATE = (
    "<frozen importlib._bootstrap>", "/asyncio/", "/concurrent/futures/", "/logging/", "/queue.py", "/threading.py",
)  # fmt: skip
# ... there it is looked at again after this time, ...
_LOOK_AGAIN_SECONDS = 0.002
# ... but not for longer than this part of the grace: some tasks spend all their time there.
_PATIENCE = 1 / 4


class LeftBehind(BaseException):
    """Ends a thread whose task came to its end too late: another has taken its place."""


class Attempt:
    """One attempt that has a time-out.

    Args:
        seconds: the time-out.
        deadline: when it is over, in epoch seconds.
        began: when it began, in ticks.

    Attributes:
        interrupt: ends the attempt where its thread only waits; None where the thread itself is interrupted.
        over: whether its time is over.
    """

    __slots__ = ("claim", "deadline", "end", "ends", "interrupt", "over", "seconds", "sent")

    def __init__(self, seconds: float, deadline: float, began: float) -> None:
        self.seconds = seconds
        self.deadline = deadline
        self.ends = began + seconds
        self.interrupt: Callable[[], object] | None = None
        self.over = False
        self.claim = threading.Lock()
        self.end = threading.Lock()
        # Held until the watcher has done what it has claimed to do.
        self.sent = threading.Lock()
        self.sent.acquire()

    def timed_out(self, error: BaseException | None = None) -> Raised:
        """Return what stands in the place of its result; with the place where *error* interrupted it."""
        late = TaskTimeoutError(f"the attempt took longer than its timeout of {self.seconds:g} s")
        return Raised(late.with_traceback(error.__traceback__ if error is not None else None))


class Alarm:
    """Watches the attempts of some seats from a thread of its own, which is started with the first of them.

    Args:
        seats: returns the seats.
        on_left: called on the watcher's thread when a seat's thread is left behind.
        interrupts: whether to interrupt threads and leave them behind; else only coroutines are cancelled.
    """

    def __init__(
        self, seats: Callable[[], list[Seat]], on_left: Callable[[Seat, Attempt], object], *, interrupts: bool
    ) -> None:
        self._seats = seats
        self._on_left = on_left
        self._interrupts = interrupts
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._looks_at = 0.0
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None

    def close(self) -> None:
        """Watch until what runs has come to its end, and no longer."""
        self._wake.put(False)

    def run(self, seat: Seat, attempt: Attempt, call: Callable[[], Any]) -> Any:
        """Return what *call* returns, or what stands in its place; it is interrupted when its time is over.

        Raises:
            LeftBehind: it did not come to its end in time, and its place is taken.
        """
        self._watch()
        outcome: Any = None
        error: BaseException | None = None
        try:
            try:
                error = Interrupted()  # until the call has come to its end
                self._arm(seat, attempt)
                outcome = call()
                error = None
            except BaseException as raised:  # noqa: BLE001  whatever a task raises is its own failure
                error = raised
            if not attempt.claim.acquire(blocking=False):
                attempt.sent.acquire()
                _take_back(seat.ident)
        except Interrupted:
            # It arrived after the call's end: what is known of that still counts.
            pass
        if not attempt.end.acquire(blocking=False):
            raise LeftBehind
        seat.attempt = None
        if error is None:
            return outcome
        stopped = attempt.over and isinstance(error, (Interrupted, CancelledError))
        return attempt.timed_out(error) if stopped else ended(error)

    def _arm(self, seat: Seat, attempt: Attempt) -> None:
        # From here on the thread may be interrupted: nothing that takes a lock of Python's own.
        seat.attempt = attempt
        if attempt.ends < self._looks_at:
            self._wake.put(True)

    # On the watcher's thread

    def _watch(self) -> None:
        if self._watcher is None:
            with self._lock:
                if self._watcher is None:
                    self._watcher = threading.Thread(
                        target=self._watch_on, name="daskqueue-alarm", daemon=True
                    )
                    self._watcher.start()

    def _watch_on(self) -> None:
        closed = False
        while True:
            # What is armed while this looks around wakes it again.
            self._looks_at = inf
            self._looks_at = min((self._look(seat) for seat in self._seats()), default=inf)
            if closed and self._looks_at == inf:
                return
            pause = self._looks_at - ticks()
            with contextlib.suppress(Empty):
                closed |= not self._wake.get(timeout=None if pause == inf else max(pause, 0.0))

    def _look(self, seat: Seat) -> float:
        """Do what is due at one seat; return when to look again, in ticks."""
        attempt = seat.attempt
        if attempt is None or attempt.end.locked():
            return inf
        now = ticks()
        if now < attempt.ends:
            return attempt.ends
        if not attempt.over:
            if self._may_wait(seat, attempt, now):
                return now + _LOOK_AGAIN_SECONDS
            self._interrupt(seat, attempt)
        if not (self._interrupts and seat.replaceable):
            return inf
        if now < attempt.ends + GRACE_SECONDS:
            return attempt.ends + GRACE_SECONDS
        if attempt.end.acquire(blocking=False):
            self._on_left(seat, attempt)
        return inf

    def _may_wait(self, seat: Seat, attempt: Attempt, now: float) -> bool:
        """Whether the thread is at a place where an exception would do harm, and may soon be at another."""
        if (
            not self._interrupts
            or attempt.interrupt is not None
            or now > attempt.ends + _PATIENCE * GRACE_SECONDS
        ):
            return False
        return _is_delicate(sys._current_frames().get(seat.ident))  # noqa: SLF001  a documented function

    def _interrupt(self, seat: Seat, attempt: Attempt) -> None:
        if self._interrupts and not attempt.claim.acquire(blocking=False):
            return
        # In this order: who begins to wait sets ``interrupt`` first, and then asks whether time is over.
        attempt.over = True
        if attempt.interrupt is not None:
            attempt.interrupt()
        elif self._interrupts:
            _raise_in(seat.ident, Interrupted)
        attempt.sent.release()


def _is_delicate(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not Alarm.run.__code__:
        file = frame.f_code.co_filename
        if any(part in file for part in _DELICATE):
            return True
        frame = frame.f_back
    return False


def _raise_in(ident: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))


def _take_back(ident: int) -> None:
    """Forget an exception that was sent to a thread and has not arrived; when it arrives meanwhile, that is that."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), None)
