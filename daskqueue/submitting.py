"""Record batches from a pool's user to its queues, round robin."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from daskqueue.actors.interpreter import SwitchInterval
from daskqueue.actors.producer import Lane, Placed

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues

# Bytes that may be on the way before the oldest put is waited for.
IN_FLIGHT_BYTES = 32 << 20
# Small batches that are at hand together share a record batch for each queue: about so many messages at a time.
GATHERED_MESSAGES = 8000

Encode = Callable[[Sequence[Any]], bytes]
Part = tuple[Placed, int]


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """How messages are put; see ``QueuePool.options``."""

    retries: int = 0
    delay_seconds: float = 0.0
    timeout_seconds: float | None = None


class _Step(NamedTuple):
    """A part on its way: where its record batch was put, its place in that, its messages, the bytes it adds."""

    future: Future[Placed]
    offset: int
    messages: int
    length: int

    def part(self) -> Part:
        placed = self.future.result()
        return placed._replace(first=placed.first + self.offset), self.messages


class Submitter:
    """Sends record batches to the queues of a pool in turn; callable from any thread."""

    def __init__(self, queues: Queues, loop: asyncio.AbstractEventLoop) -> None:
        self._queues = queues
        self._loop = loop
        self._lanes: list[Lane] = []
        self._growing = threading.Lock()
        self._turns = itertools.count()

    def send(self, data: bytes, options: SubmitOptions) -> Future[Placed]:
        """Send a record batch to the queue whose turn it is."""
        lanes = self._all_lanes()
        return _put(lanes[next(self._turns) % len(lanes)], data, options)

    def send_all(
        self, parts: Iterator[Sequence[Any]], encode: Encode, options: SubmitOptions, *, at_hand: bool = False
    ) -> list[Part]:
        """Encode and send the parts, to each queue in turn; return where each was put.

        Args:
            parts: the messages of one batch each.
            encode: makes a record batch of messages.
            options: how they are put.
            at_hand: whether the next part never has to be waited for; small parts then travel together.
        """
        # While this thread encodes, the event loop should not have to wait 5 ms for each of its turns.
        SwitchInterval.shorten()
        try:
            return [step.part() for step in self._steps(parts, encode, options, at_hand)]
        finally:
            SwitchInterval.restore()

    async def send_all_async(
        self, parts: Iterator[Sequence[Any]], encode: Encode, options: SubmitOptions, *, at_hand: bool = False
    ) -> list[Part]:
        """Do the same on the event loop."""
        sent: list[Part] = []
        for step in self._steps(parts, encode, options, at_hand):
            await asyncio.wrap_future(step.future)
            sent.append(step.part())
        return sent

    def _steps(
        self, parts: Iterator[Sequence[Any]], encode: Encode, options: SubmitOptions, at_hand: bool
    ) -> Iterator[_Step]:
        """Send ahead; yield the oldest step whenever enough is on the way, and the rest at the end."""
        on_the_way: deque[_Step] = deque()
        size = 0
        for gathered in _gathered(parts) if at_hand else ([part] for part in parts):
            for step in self._send_gathered(gathered, encode, options):
                size += step.length
                on_the_way.append(step)
            while on_the_way and (size > IN_FLIGHT_BYTES or on_the_way[0].future.done()):
                size -= on_the_way[0].length
                yield on_the_way.popleft()
        yield from on_the_way

    def _send_gathered(
        self, gathered: Sequence[Sequence[Any]], encode: Encode, options: SubmitOptions
    ) -> Iterator[_Step]:
        """Send parts, those for the same queue as one record batch; yield a step for each in their order."""
        lanes = self._all_lanes()
        queues = min(len(lanes), len(gathered))
        try:
            encoded = [encode(_joined(gathered[start::queues])) for start in range(queues)]
        except Exception:
            if len(gathered) == 1:
                raise
            # All before the one that cannot be encoded are to be sent, and the error is to name its place.
            for part in gathered:
                yield from self._send_gathered([part], encode, options)
            raise
        turns = [next(self._turns) for _ in gathered]
        futures = [
            _put(lanes[turn % len(lanes)], data, options) for turn, data in zip(turns, encoded, strict=False)
        ]
        offsets = [0] * queues
        for index, part in enumerate(gathered):
            queue = index % queues
            length = 0 if offsets[queue] else len(encoded[queue])
            yield _Step(futures[queue], offsets[queue], len(part), length)
            offsets[queue] += len(part)

    def _all_lanes(self) -> list[Lane]:
        """Return a lane for each queue; a hosted pool may have more of them than a moment ago."""
        if len(self._lanes) < self._queues.spec.n_queues:
            with self._growing:
                for index in range(len(self._lanes), self._queues.spec.n_queues):
                    self._lanes.append(Lane(self._queues, index, self._loop))
        return self._lanes


def _put(lane: Lane, data: bytes, options: SubmitOptions) -> Future[Placed]:
    return lane.put(data, options.retries, options.delay_seconds, options.timeout_seconds)


def _joined(parts: Sequence[Sequence[Any]]) -> Sequence[Any]:
    return parts[0] if len(parts) == 1 else list(itertools.chain.from_iterable(parts))


def _gathered(parts: Iterator[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    """Yield parts together, about :data:`GATHERED_MESSAGES` of messages at a time."""
    gathered: list[Sequence[Any]] = []
    count = 0
    for part in parts:
        gathered.append(part)
        count += len(part)
        if count + len(part) > GATHERED_MESSAGES:
            yield gathered
            gathered, count = [], 0
    if gathered:
        yield gathered


def batched(items: Iterable[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield the items in parts of *size*, taken lazily."""
    if isinstance(items, (list, tuple, range)):
        yield from (items[start : start + size] for start in range(0, len(items), size))
        return
    rest = iter(items)
    while part := list(itertools.islice(rest, size)):
        yield part
