"""An event loop in a thread of its own, and how other threads wait for what runs on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from daskqueue.errors import WaitTimeoutError

# A wait in which nothing has happened for so long will not end by itself.
STUCK_SECONDS = 5.0


class LoopThread:
    """Runs coroutines for other threads.

    Args:
        steps: counts what happens; a wait goes on as long as that grows. None: somebody is at work now.
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
        while True:
            before = self._steps()
            try:
                return future.result(STUCK_SECONDS)
            except TimeoutError:
                if future.done():
                    return future.result()
                if before is not None and before == self._steps():
                    future.cancel()
                    raise WaitTimeoutError(
                        f"nothing has happened for {STUCK_SECONDS:g} s, and nothing runs by itself in a pool of "
                        "daskqueue.testing: call pool.run_all() before you wait (and pool.clock.advance() if "
                        "messages are delayed)"
                    ) from None

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
