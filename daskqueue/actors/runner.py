"""What a consumer asks of whatever runs its tasks: threads, or processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from daskqueue.actors.settlement import Settlement
from daskqueue.actors.timing import Timing
from daskqueue.actors.work import Note, Part, Work


class Runner(Protocol):
    """Runs the messages of slices. All methods are called on the consumer's event loop."""

    async def start(self) -> None:
        """Begin to take slices."""
        ...

    def work(
        self,
        source: int,
        receipt: tuple[int, int],
        base_id: int,
        first: int,
        parts: Sequence[Part],
        notes: Sequence[Note],
        queue: str,
    ) -> Work:
        """Make a slice that it can run; see :class:`Work`."""
        ...

    def feed(self, work: Work) -> None:
        """Run a slice after those fed before."""
        ...

    def withdraw(self, work: Work) -> list[tuple[int, int]]:
        """Take back what was not started of a slice; return it as runs of indices."""
        ...

    def tell_cancelled(self, work: Work, indices: Iterable[int]) -> None:
        """Let running messages know that their cancel was asked for; ``work.cancelled`` has them already."""
        ...

    def reports(self, work: Work, *, late: bool) -> Iterator[tuple[list[Settlement], list[Timing]]]:
        """Take what finished of a slice since the last time: what to tell its queue, and how long it took."""
        ...

    def stop(self) -> None:
        """Start nothing more, and end once what runs is finished."""
        ...

    async def wait_stopped(self, seconds: float) -> bool:
        """Return whether everything ended within *seconds*."""
        ...
