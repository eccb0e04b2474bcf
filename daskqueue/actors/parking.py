"""Long polls: calls that only wait, and own nothing while they do."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Work that one woken consumer leaves over wakes the next one after this time.
NEXT_WAKE_SECONDS = 0.02
# How long work waits for a consumer that is at home here before a visitor may have it.
VISIT_SECONDS = 0.005


class ParkingLot:
    """Consumers that wait for work. One is woken at once, the next if work is left a little later.

    Waking all of them for a single message would make every idle consumer call in vain.

    Args:
        work_left: returns whether something is ready to be leased.
    """

    def __init__(self, work_left: Callable[[], bool]) -> None:
        self._work_left = work_left
        self._at_home: deque[asyncio.Future[bool]] = deque()
        self._visiting: deque[asyncio.Future[bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for_work(self, *, home: bool, seconds: float) -> bool:
        """Return True when there is work, False after *seconds* without any.

        Who is not at home here gives those who are a moment to come first.
        """
        if home and self._work_left():
            return True
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        (self._at_home if home else self._visiting).append(waiter)
        timer = loop.call_later(seconds, _answer, waiter, False)
        if self._timer is None and self._work_left():
            self._timer = loop.call_later(VISIT_SECONDS, self._wake_next)
        try:
            return await waiter
        finally:
            timer.cancel()

    def wake(self) -> None:
        """Tell one waiting consumer that there is work; called whenever there may be."""
        if self._timer is None and self._work_left():
            self._wake_one()

    def taken(self) -> None:
        """Note that somebody has come and taken work: what is left is for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.wake()

    def close(self) -> None:
        """Send everybody away."""
        if self._timer is not None:
            self._timer.cancel()
        for waiter in (*self._at_home, *self._visiting):
            _answer(waiter, False)

    def _wake_one(self) -> None:
        self._timer = None
        for waiters in (self._at_home, self._visiting):
            while waiters:
                if _answer(waiters.popleft(), True):
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(NEXT_WAKE_SECONDS, self._wake_next)
                    return

    def _wake_next(self) -> None:
        self._timer = None
        if self._work_left():
            self._wake_one()


class Presence:
    """Who is here now, each by name; somebody who came twice is here until the second leaves."""

    def __init__(self) -> None:
        self._visits: Counter[str] = Counter()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count somebody as present while the context lasts."""
        self._visits[name] += 1
        try:
            yield
        finally:
            self._visits[name] -= 1
            if not self._visits[name]:
                del self._visits[name]

    @property
    def names(self) -> set[str]:
        """Those who are present."""
        return set(self._visits)


class Bell:
    """Wakes everybody who waits for the next ring."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake all who wait now."""
        if self._next is not None:
            self._next.set_result(None)
        self._next = None

    def next(self) -> asyncio.Future[None]:
        """Return a future of the next ring, to be waited for with ``asyncio.wait``: it is everybody's."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    @property
    def awaited(self) -> bool:
        """Whether anybody waits."""
        return self._next is not None

    async def wait(self, seconds: float) -> bool:
        """Return True at the next ring, False if there was none for *seconds*."""
        done, _ = await asyncio.wait([self.next()], timeout=max(seconds, 0))
        return bool(done)


def _answer(waiter: asyncio.Future[bool], answer: bool) -> bool:
    if waiter.done():
        return False
    waiter.set_result(answer)
    return True
