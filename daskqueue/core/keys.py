"""Which keys are taken, by which message, and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SLACK = 64  # outlived keys that are always tolerated
CARRIED_KEYS = 10_000  # how many kept keys a segment repeats from those before it


class Keys:
    """Keys of messages that are pending, and those that are kept for a while after their message's end."""

    __slots__ = ("_limit", "kept", "pending")

    def __init__(self) -> None:
        self.pending: dict[str, int] = {}
        self.kept: dict[str, tuple[int, float]] = {}  # key -> sequence, until
        self._limit = _SLACK

    def holder(self, key: str, now: float) -> int | None:
        """Return the sequence of the message that has a key, None if nobody has it."""
        sequence = self.pending.get(key)
        if sequence is None and key in self.kept:
            kept, until = self.kept[key]
            return kept if now < until else None
        return sequence

    def take(self, key: str, sequence: int) -> None:
        """Note that a pending message has the key."""
        self.pending[key] = sequence
        self.kept.pop(key, None)

    def release(self, key: str, sequence: int, until: float | None, now: float) -> None:
        """Note that the message has ended; the key stays taken *until* then, if that is later than *now*."""
        if self.pending.get(key) != sequence:
            return
        del self.pending[key]
        if until is None or until <= now:
            return
        self.kept[key] = (sequence, until)
        if len(self.kept) > self._limit:
            self.kept = {key: held for key, held in self.kept.items() if held[1] > now}
            self._limit = 2 * len(self.kept) + _SLACK

    def dump(self, most: int | None = None) -> tuple[tuple[str, int, float], ...]:
        """Return the kept keys, at most the *most* that were kept last: key, sequence, until."""
        rows = [(key, *held) for key, held in self.kept.items()]
        return tuple(rows if most is None else rows[-most:])

    def load(self, rows: Iterable[tuple[str, int, float]]) -> None:
        """Keep what :meth:`dump` returned; a key that a pending message has is that message's."""
        self.kept.update({key: (sequence, until) for key, sequence, until in rows if key not in self.pending})
