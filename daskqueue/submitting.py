"""Record batches from a pool's user to its queues, round robin."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daskqueue.actors.interpreter import SwitchInterval
from daskqueue.actors.producer import Lane, Placed

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues

# Bytes that may be on the way before the oldest put is waited for.
IN_FLIGHT_BYTES = 32 << 20

Encode = Callable[[Sequence[Any]], bytes]
Part = tuple[Placed, int]


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """How messages are put; see ``QueuePool.options``."""

    retries: int = 0
    delay_seconds: float = 0.0
    timeout_seconds: float | None = None


class Submitter:
    """Sends record batches to the queues of a pool in turn; callable from any thread."""

    def __init__(self, queues: Queues, loop: asyncio.AbstractEventLoop) -> None:
        self._lanes = [Lane(queues, index, loop) for index in range(queues.spec.n_queues)]
        self._turns = itertools.count()

    def send(self, data: bytes, options: SubmitOptions) -> Future[Placed]:
        """Send a record batch to the queue whose turn it is."""
        lane = self._lanes[next(self._turns) % len(self._lanes)]
        return lane.put(data, options.retries, options.delay_seconds, options.timeout_seconds)

    def send_all(self, parts: Iterator[Sequence[Any]], encode: Encode, options: SubmitOptions) -> list[Part]:
        """Encode and send a record batch for each part; return where each was put."""
        # While this thread encodes, the event loop should not have to wait 5 ms for each of its turns.
        SwitchInterval.shorten()
        try:
            return [(future.result(), count) for future, count in self._steps(parts, encode, options)]
        finally:
            SwitchInterval.restore()

    async def send_all_async(
        self, parts: Iterator[Sequence[Any]], encode: Encode, options: SubmitOptions
    ) -> list[Part]:
        """Do the same on the event loop."""
        steps = self._steps(parts, encode, options)
        return [(await asyncio.wrap_future(future), count) for future, count in steps]

    def _steps(
        self, parts: Iterator[Sequence[Any]], encode: Encode, options: SubmitOptions
    ) -> Iterator[tuple[Future[Placed], int]]:
        """Send ahead; yield the oldest put whenever enough is on the way, and the rest at the end."""
        on_the_way: deque[tuple[Future[Placed], int, int]] = deque()
        size = 0
        for part in parts:
            data = encode(part)
            size += len(data)
            on_the_way.append((self.send(data, options), len(part), len(data)))
            while on_the_way and (size > IN_FLIGHT_BYTES or on_the_way[0][0].done()):
                future, count, length = on_the_way.popleft()
                size -= length
                yield future, count
        for future, count, _ in on_the_way:
            yield future, count


def batched(items: Iterable[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield the items in parts of *size*, taken lazily."""
    if isinstance(items, list):
        yield from (items[start : start + size] for start in range(0, len(items), size))
        return
    rest = iter(items)
    while part := list(itertools.islice(rest, size)):
        yield part
