"""An event loop in a thread of its own, and how other threads wait for what runs on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from daskqueue.clock import ticks
from daskqueue.errors import WaitTimeoutError

# A wait in which nothing has happened for so long will not end by itself.
STUCK_SECONDS = 5.0
# Who waits asks at least so often; a longer silence is the end of one wait, and what comes then is another.
ASK_SECONDS = 1.0


class Patience:
    """Tells those who wait when they wait in vain.

    Args:
        steps: counts what happens; None while somebody is at work.
    """

    def __init__(self, steps: Callable[[], int | None]) -> None:
        self._steps = steps
        self._seen = steps()
        self._since = self._asked_at = ticks()

    def check(self) -> None:
        """Be asked again and again during one wait.

        Raises:
            WaitTimeoutError: nothing has happened for :data:`STUCK_SECONDS`.
        """
        now, seen = ticks(), self._steps()
        waits_on = now - self._asked_at < 3 * ASK_SECONDS
        if seen is None or seen != self._seen or not waits_on:
            self._seen, self._since = seen, now
        self._asked_at = now
        if now - self._since >= STUCK_SECONDS:
            raise WaitTimeoutError(
                f"nothing has happened for {STUCK_SECONDS:g} s, and nothing runs by itself in a pool of "
                "daskqueue.testing: call pool.run_all() before you wait (and pool.clock.advance() if "
                "messages are delayed)"
            )


class LoopThread:
    """Runs coroutines for other threads.

    Args:
        steps: see :class:`Patience`.
    """

    def __init__(self, steps: Callable[[], int | None]) -> None:
        self.loop = asyncio.new_event_loop()
        self._steps = steps
        self._thread = threading.Thread(target=self._run, name="daskqueue-testing", daemon=True)
        self._thread.start()

    def sync(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Run a coroutine function on the loop and return what it returns.

        Raises:
            WaitTimeoutError: it waits for something that only this thread could do.
            RuntimeError: called on the loop itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                "called on the pool's own event loop: await it, or call it from another thread"
            )
        future = asyncio.run_coroutine_threadsafe(function(*args), self.loop)
        patience = Patience(self._steps)
        while True:
            try:
                return future.result(min(ASK_SECONDS, STUCK_SECONDS))
            except TimeoutError:
                if future.done():
                    return future.result()
                self._go_on(future, patience)

    def _go_on(self, future: Future[Any], patience: Patience) -> None:
        try:
            patience.check()
        except WaitTimeoutError:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop; what still waits on it is cancelled."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        try:
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self.loop.close()
