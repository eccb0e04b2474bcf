"""Messages that were acked before they ran, and whose end is still to come."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from daskqueue.core.runs import merge, subtract
from daskqueue.message import Run


class EarlyAcks:
    """Remembers which consumer is running what it has acked already, and calls *on_end* when some of it ends."""

    def __init__(self, on_end: Callable[[], object]) -> None:
        self._on_end = on_end
        self._running: dict[str, tuple[Run, ...]] = {}

    @property
    def consumers(self) -> set[str]:
        """Those that run something."""
        return set(self._running)

    @property
    def running(self) -> tuple[Run, ...]:
        """All messages whose end is still to come."""
        return merge(run for runs in self._running.values() for run in runs)

    def begin(self, consumer: str, runs: Iterable[Run]) -> None:
        """Note that a consumer has acked messages and is about to run them."""
        self._running[consumer] = merge([*self._running.get(consumer, ()), *runs])

    def end(self, consumer: str, runs: Iterable[Run]) -> None:
        """Note that some of them have come to their end."""
        left = subtract(self._running.get(consumer, ()), merge(runs))
        if left:
            self._running[consumer] = left
        else:
            self._running.pop(consumer, None)
        self._on_end()

    def lose(self, consumer: str) -> None:
        """Note that nobody will ever hear how a consumer's messages ended."""
        if self._running.pop(consumer, None):
            self._on_end()
