"""Record batches from a pool's user to its queues: round robin, or by key and group."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from daskqueue.actors.interpreter import SwitchInterval
from daskqueue.actors.producer import Lane, Placed
from daskqueue.message import Call, PutOptions
from daskqueue.submitting.options import NAMELESS, Names, SubmitOptions
from daskqueue.submitting.routing import home_of

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues

# Bytes that may be on the way before the oldest put is waited for.
IN_FLIGHT_BYTES = 32 << 20
# Small batches that are at hand together share a record batch for each queue: about so many messages at a time.
GATHERED_MESSAGES = 8000

Encode = Callable[[Sequence[Any]], bytes]
# The positional and keyword arguments of one message.
Arguments = Callable[[Any], tuple[Iterable[Any], Mapping[str, Any]]]
Part = tuple[Placed, int]


class Coding(NamedTuple):
    """What messages of one submission are: how they become a record batch, and what their arguments are."""

    encode: Encode
    arguments: Arguments


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

    def send(
        self,
        data: bytes,
        options: SubmitOptions,
        names: Names = NAMELESS,
        placed: Future[Placed] | None = None,
    ) -> Future[Placed]:
        """Send a record batch to the queue of its key or group, else to the one whose turn it is.

        Args:
            data: the record batch.
            options: how it is put.
            names: the key and group of its messages.
            placed: the future to return, if somebody waits for it already.
        """
        lanes = self._all_lanes()
        name = names.deciding
        index = home_of(name, len(lanes)) if name else next(self._turns) % len(lanes)
        return lanes[index].put(data, options.wire(names), options.patience_seconds, placed)

    def send_all(
        self, parts: Iterator[Sequence[Any]], coding: Coding, options: SubmitOptions, *, at_hand: bool = False
    ) -> list[Part]:
        """Encode and send the parts, to each queue in turn or by key and group; return where each was put.

        Args:
            parts: the messages of one batch each.
            coding: what the messages are.
            options: how they are put.
            at_hand: whether the next part never has to be waited for; small parts then travel together.
        """
        # While this thread encodes, the event loop should not have to wait 5 ms for each of its turns.
        SwitchInterval.shorten()
        try:
            return [step.part() for step in self._steps(parts, coding, options, at_hand)]
        finally:
            SwitchInterval.restore()

    async def send_all_async(
        self, parts: Iterator[Sequence[Any]], coding: Coding, options: SubmitOptions, *, at_hand: bool = False
    ) -> list[Part]:
        """Do the same on the event loop."""
        sent: list[Part] = []
        for step in self._steps(parts, coding, options, at_hand):
            await asyncio.wrap_future(step.future)
            sent.append(step.part())
        return sent

    def _steps(
        self, parts: Iterator[Sequence[Any]], coding: Coding, options: SubmitOptions, at_hand: bool
    ) -> Iterator[_Step]:
        """Send ahead; yield the oldest step whenever enough is on the way, and the rest at the end."""
        on_the_way: deque[_Step] = deque()
        size = 0
        for step in self._sent(parts, coding, options, at_hand):
            size += step.length
            on_the_way.append(step)
            while on_the_way and (size > IN_FLIGHT_BYTES or on_the_way[0].future.done()):
                size -= on_the_way[0].length
                yield on_the_way.popleft()
        yield from on_the_way

    def _sent(
        self, parts: Iterator[Sequence[Any]], coding: Coding, options: SubmitOptions, at_hand: bool
    ) -> Iterator[_Step]:
        if options.named:
            for part in parts:
                yield from self._send_named(part, coding, options)
        else:
            told = options.wire(), options.patience_seconds
            for gathered in _gathered(parts) if at_hand else ([part] for part in parts):
                yield from self._send_gathered(gathered, coding.encode, told)

    def _send_named(self, messages: Sequence[Any], coding: Coding, options: SubmitOptions) -> Iterator[_Step]:
        """Send messages to the queues of their keys or groups; yield steps in the order of the messages."""
        names = [options.names(*coding.arguments(message)) for message in messages]
        try:
            pieces = [
                (piece, positions, coding.encode([messages[position] for position in positions]))
                for piece, positions in _pieces(names)
            ]
        except (TypeError, ValueError):
            coding.encode(messages)  # its error names the place in the whole part
            raise
        steps: list[_Step | None] = [None] * len(messages)
        for piece, positions, data in pieces:
            future = self.send(data, options, piece)
            for offset, position in enumerate(positions):
                steps[position] = _Step(future, offset, 1, 0 if offset else len(data))
        yield from filter(None, steps)

    def _send_gathered(
        self, gathered: Sequence[Sequence[Any]], encode: Encode, told: tuple[PutOptions, float | None]
    ) -> Iterator[_Step]:
        """Send parts, those for the same queue as one record batch; yield a step for each in their order."""
        lanes = self._all_lanes()
        queues = min(len(lanes), len(gathered))
        bound = self._queues.spec.settings.max_bytes
        try:
            encoded = [encode(_joined(gathered[start::queues])) for start in range(queues)]
        except Exception:
            if len(gathered) == 1:
                raise
            # All before the one that cannot be encoded are to be sent, and the error is to name its place.
            for part in gathered:
                yield from self._send_gathered([part], encode, told)
            raise
        if bound is not None and len(encoded[0]) > bound and len(gathered[0]) > 1:
            # Only an empty queue takes more than it may hold, and that is for messages that are too large alone.
            middle = len(gathered[0]) // 2
            for part in (gathered[0][:middle], gathered[0][middle:]):
                yield from self._send_gathered([part], encode, told)
            return
        turns = [next(self._turns) for _ in gathered]
        futures = [
            lanes[turn % len(lanes)].put(data, *told) for turn, data in zip(turns, encoded, strict=False)
        ]
        offsets = [0] * queues
        for index, part in enumerate(gathered):
            queue = index % queues
            length = 0 if offsets[queue] else len(encoded[queue])
            yield _Step(futures[queue], offsets[queue], len(part), length)
            offsets[queue] += len(part)

    def _all_lanes(self) -> list[Lane]:
        """Return a lane for each queue; a hosted pool may have more of them than a moment ago."""
        if len(self._lanes) < self._queues.spec.n_fed:
            with self._growing:
                for index in range(len(self._lanes), self._queues.spec.n_fed):
                    self._lanes.append(Lane(self._queues, index, self._loop))
        return self._lanes


def arguments_of(call: Any, kwargs: Mapping[str, Any]) -> tuple[Iterable[Any], Mapping[str, Any]]:
    """Return the arguments of one call as ``batch_submit`` takes it; *kwargs* are those of all of its calls."""
    if isinstance(call, Call):
        return call.args, {**kwargs, **call.kwargs}
    return (call[1:] if isinstance(call, tuple) else ()), kwargs


def _pieces(names: Sequence[Names]) -> list[tuple[Names, list[int]]]:
    """Return which messages share a record batch: those of a group; one with a key is alone."""
    pieces: list[tuple[Names, list[int]]] = []
    groups: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        if name.key:
            pieces.append((name, [position]))
        elif name.group in groups:
            groups[name.group].append(position)
        else:
            groups[name.group] = [position]
            pieces.append((name, groups[name.group]))
    return pieces


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
