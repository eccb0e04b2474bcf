"""Whose pods may be replaced: after an operator's upgrade one DaskQueue at a time."""

from __future__ import annotations

from collections.abc import Callable

LONGEST_SECONDS = 600.0  # a DaskQueue that cannot roll out keeps the others waiting for so long

Key = tuple[str, str]


class Turns:
    """Gives the turn to one DaskQueue after the other.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._holder: Key | None = None
        self._since = 0.0
        self._waiting: dict[Key, Callable[[], None]] = {}

    def take(self, key: Key, wake: Callable[[], None]) -> bool:
        """Return whether *key* has the turn now; else *wake* is called when it is free.

        Args:
            key: namespace and name of a DaskQueue.
            wake: wakes its task.
        """
        overdue = self._clock() - self._since >= LONGEST_SECONDS
        if self._holder in (None, key) or overdue:
            if self._holder != key:
                self._holder, self._since = key, self._clock()
            self._waiting.pop(key, None)
            return True
        self._waiting[key] = wake
        return False

    def give_back(self, key: Key) -> None:
        """End the turn of *key*, and wake all that wait; it may have none."""
        self._waiting.pop(key, None)
        if self._holder == key:
            self._holder = None
            waiting, self._waiting = self._waiting, {}
            for wake in waiting.values():
                wake()
