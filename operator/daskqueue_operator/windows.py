"""What a number was in the last seconds: the memory behind "not down again within a minute"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Window:
    """Numbers with the times from which they held, as far back as a window of time reaches.

    Args:
        seconds: How far back the window reaches.
        values: Pairs of a time in seconds and the number that held from then on.
    """

    seconds: float
    values: tuple[tuple[float, int], ...] = ()

    def add(self, value: int, now: float) -> Window:
        """Return the window in which a number holds from now on.

        Args:
            value: The number.
            now: The time, in seconds.
        """
        # A clock that was set back must not leave numbers in the future: they would hold until it catches up.
        values = [(min(at, now), number) for at, number in self.values]
        if not values or values[-1][1] != value:
            values.append((now, value))
        return replace(self, values=self._since(values, now))

    def highest(self, now: float) -> int:
        """Return the highest number that held in the window; 0 if none did.

        Args:
            now: The time, in seconds: the window ends here.
        """
        return max(self._held(now), default=0)

    def lowest(self, now: float) -> int:
        """Return the lowest number that held in the window; 0 if none did.

        Args:
            now: The time, in seconds: the window ends here.
        """
        return min(self._held(now), default=0)

    def _held(self, now: float) -> list[int]:
        return [value for _, value in self._since(self.values, now)]

    def _since(self, values: Sequence[tuple[float, int]], now: float) -> tuple[tuple[float, int], ...]:
        """Return those that still held when the window began; the last one always holds."""
        ends = [at for at, _ in values[1:]]
        return (
            *(pair for pair, end in zip(values, ends, strict=False) if end > now - self.seconds),
            *values[-1:],
        )
