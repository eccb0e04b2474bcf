"""What a child process is doing right now, in a few bytes of memory that it shares with its consumer.

The child writes before each message, and nobody has to answer; the consumer reads when the child has died, or
has taken too long.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

_BYTES = 4096
_PORTION, _INDEX, _BEGAN = range(3)


@dataclass(frozen=True, slots=True)
class Glance:
    """What a child was doing.

    Attributes:
        portion: the number of the portion that it was in.
        index: which message of the portion ran, None if none did.
        began_at: when it began, in :func:`~daskqueue.clock.ticks`.
    """

    portion: int
    index: int | None
    began_at: float


class Memory:
    """The shared bytes: whoever makes them passes the descriptor on.

    Args:
        descriptor: of what another process has made; None makes it anew.

    Attributes:
        descriptor: to be passed on.
        numbers: the bytes as numbers; for the one hot place that writes them itself, see :meth:`running`.
        times: the bytes as times.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("daskqueue")
            os.truncate(descriptor, _BYTES)
        self.descriptor = descriptor
        # Views keep the map alive; to close it first would be an error.
        view = memoryview(mmap.mmap(descriptor, _BYTES))
        self.numbers, self.times = view.cast("Q"), view.cast("d")

    def enter(self, portion: int) -> None:
        """Write down that the messages of a portion come next, and none of them runs yet."""
        self.numbers[_INDEX] = 0
        self.numbers[_PORTION] = portion

    def running(self, index: int, now: float) -> None:
        """Write down that a message has begun."""
        self.times[_BEGAN] = now
        self.numbers[_INDEX] = index + 1

    def rest(self) -> None:
        """Write down that no message runs."""
        self.numbers[_INDEX] = 0

    def read(self) -> Glance:
        """Return what the child was doing last."""
        index = self.numbers[_INDEX]
        return Glance(self.numbers[_PORTION], index - 1 if index else None, self.times[_BEGAN])

    def close(self) -> None:
        """Let go of the descriptor; the bytes stay as long as somebody looks at them."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
