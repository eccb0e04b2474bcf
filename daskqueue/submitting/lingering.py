"""Single submits that wait a moment for each other and leave as one record batch."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import weakref
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait
from contextvars import ContextVar, Token
from sys import getsizeof
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from daskqueue.actors.interpreter import SwitchInterval
from daskqueue.actors.producer import CALL_BYTES, Placed
from daskqueue.batch import encode_calls, encode_one
from daskqueue.errors import WaitTimeoutError
from daskqueue.functions import FunctionRecords
from daskqueue.message import Call
from daskqueue.submitting.frozen import UNCHANGING, freeze
from daskqueue.submitting.options import Names, SubmitOptions
from daskqueue.submitting.sending import IN_FLIGHT_BYTES, Submitter
from daskqueue.submitting.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskqueue.connection import Connection

logger = logging.getLogger(__name__)

MOST_MESSAGES = 1000
# Larger calls gain nothing by waiting for others.
LARGE_BYTES = 64 << 10
# Messages on the way before the next submit waits for the oldest of them.
MOST_ON_THE_WAY = 64_000
# How long a submit in a ``batching`` block waits for others, so that results can be waited for in the block.
BLOCK_SECONDS = 0.05
AGAIN_SECONDS = 0.002
EXIT_SECONDS = 30.0


class _Pile:
    """Calls that leave together."""

    __slots__ = ("calls", "function", "key", "owner", "placed", "records", "size")

    def __init__(self, key: tuple[SubmitOptions, Names], owner: Connection) -> None:
        self.key = key
        self.owner = owner  # who drops the pool is not to drop what lingers
        self.calls: list[Any] = []
        self.size = 0
        self.placed: Future[Placed] = Future()
        self.records = FunctionRecords()
        self.function: Any = None  # the last one, which is known to be one that can wait

    def add(self, call: Any, size: int) -> int:
        """Add one call; return its place."""
        place = len(self.calls)
        self.calls.append(call)
        self.size += size
        return place


class _Flight(NamedTuple):
    size: int
    messages: int
    owner: Connection


class Lingerer:
    """Gathers single calls into record batches; callable from any thread.

    Args:
        submitter: sends the record batches.
        loop: the client's event loop.
        most: the most messages of one record batch.
        large_bytes: larger calls leave at once.
        asynchronous: whether the submits come from that loop.

    Attributes:
        crowded: whether so much is on the way that the next call should wait.
    """

    def __init__(
        self,
        submitter: Submitter,
        loop: asyncio.AbstractEventLoop,
        most: int,
        large_bytes: int = LARGE_BYTES,
        *,
        asynchronous: bool,
    ) -> None:
        self.asynchronous = asynchronous
        self.crowded = False
        self._submitter = submitter
        self._loop = loop
        self._most = most
        self._large = large_bytes
        self._lock = threading.RLock()
        # One record batch leaves at a time, or two of the same group could overtake each other.
        self._leaving = threading.RLock()
        self._piles: dict[tuple[SubmitOptions, Names], _Pile] = {}
        self._last: _Pile | None = None
        self._flights: dict[Future[Placed], _Flight] = {}
        self._size = self._messages = 0  # on the way
        self._failure: BaseException | None = None
        _live.add(self)

    def add(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: SubmitOptions,
        owner: Connection,
    ) -> tuple[Future[Placed], int]:
        """Take one call; return where its record batch will have been put, and the call's place in that.

        Args:
            function: what is to be called.
            args: with what; values that may change are pickled at once.
            kwargs: keyword arguments.
            options: how it is put.
            owner: what has to live until it is put.

        Raises:
            BatchError: the function or an argument cannot be pickled.
        """
        size = sum(map(getsizeof, args))
        kept = args
        if size <= self._large and not UNCHANGING.issuperset(map(type, args)):
            kept = tuple(map(freeze, args))
            size = sum(map(getsizeof, kept))
        call: Any = (function, *kept)
        if kwargs:
            kept_kwargs = {name: freeze(value) for name, value in kwargs.items()}
            size += sum(map(getsizeof, kept_kwargs.values()))
            call = Call(function, kept, kept_kwargs)
        if size > self._large:
            return self._at_once(function, args, kwargs, options, owner)
        with self._lock:
            pile = self._last
            if pile is not None and pile.key[0] is options and pile.function is function:
                place = pile.add(call, size)
            else:
                pile = None
        if pile is None:
            if options.key is not None or not _steady(function):
                return self._at_once(function, args, kwargs, options, owner)
            pile, place = self._begin(function, call, size, (options, options.names(args, kwargs)), owner)
        if place + 1 >= self._most or pile.size > CALL_BYTES:
            self._leave(pile)
        return pile.placed, place

    def make_room(self) -> None:
        """Wait while too much is on the way; not on the event loop, which brings the answers."""
        while self.crowded and (oldest := self._oldest()) is not None:
            wait([oldest])
            self._landed(oldest)

    async def make_room_async(self) -> None:
        """Do the same on the event loop."""
        while self.crowded and (oldest := self._oldest()) is not None:
            await asyncio.wait([asyncio.wrap_future(oldest)])
            self._landed(oldest)

    def send(self) -> None:
        """Send all that lingers."""
        with self._leaving:
            for pile in list(self._piles.values()):
                self._leave(pile)

    def settle(self, seconds: float | None = None) -> None:
        """Send all that lingers; return when it is put.

        Raises:
            WaitTimeoutError: not within *seconds*.
            Exception: the first that could not be put, since the last call.
        """
        flying = self._take_flights()
        unfinished = wait(flying, seconds).not_done
        if unfinished:
            raise WaitTimeoutError(f"{len(unfinished)} record batches were not put after {seconds:g} s")
        self._raise_first(flying)

    async def settle_async(self) -> None:
        """Do the same on the event loop."""
        flying = self._take_flights()
        if flying:
            await asyncio.wait([asyncio.wrap_future(future) for future in flying])
        self._raise_first(flying)

    @property
    def waiting(self) -> int:
        """How many calls linger."""
        return sum(len(pile.calls) for pile in list(self._piles.values()))

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The client's event loop."""
        return self._loop

    # Piles

    def _begin(
        self,
        function: Callable[..., Any],
        call: Any,
        size: int,
        key: tuple[SubmitOptions, Names],
        owner: Connection,
    ) -> tuple[_Pile, int]:
        """Add a call to its pile, which may be a new one, or where its function is new."""
        while True:
            pile = self._piles.get(key) or self._new_pile(key, owner)
            pile.records.of(function)  # what cannot be pickled is to be heard of now
            with self._lock:
                if self._piles.get(key) is pile:
                    pile.function = function
                    self._last = None if key[0].named else pile
                    return pile, pile.add(call, size)

    def _new_pile(self, key: tuple[SubmitOptions, Names], owner: Connection) -> _Pile:
        options, names = key
        if names.group:
            self._send_group(names.group)
        owner.queues.check_open()
        with self._lock:
            pile = self._piles.setdefault(key, _Pile(key, owner))
        seconds = options.linger_seconds or BLOCK_SECONDS
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, self._time_is_up, pile)
        return pile

    def _send_group(self, group: str) -> None:
        """Send what lingers of a group: what comes later must not overtake it."""
        for pile in [pile for pile in list(self._piles.values()) if pile.key[1].group == group]:
            self._leave(pile)

    def _at_once(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: SubmitOptions,
        owner: Connection,
    ) -> tuple[Future[Placed], int]:
        """Send one call at once, as a record batch of its own."""
        owner.queues.check_open()
        names = options.names(args, kwargs)
        most = owner.queues.spec.settings.max_payload_bytes
        data = encode_one(function, args, kwargs, max_bytes=most)
        with self._leaving:
            if names.group:
                self._send_group(names.group)
            placed: Future[Placed] = Future()
            self._fly(placed, _Flight(len(data), 1, owner))
            return self._submitter.send(data, options, names, placed), 0

    def _time_is_up(self, pile: _Pile) -> None:
        # Whoever sends now runs the pickling of users, which may need this loop: it is not to wait.
        if self._leaving.acquire(blocking=False):
            try:
                self._leave(pile)
            finally:
                self._leaving.release()
        elif self._piles.get(pile.key) is pile:
            self._loop.call_later(AGAIN_SECONDS, self._time_is_up, pile)

    def _leave(self, pile: _Pile) -> None:
        """Send a pile, unless that is done already."""
        with self._leaving:
            with self._lock:
                if self._piles.get(pile.key) is not pile:
                    return
                del self._piles[pile.key]
                if self._last is pile:
                    self._last = None
            if not pile.calls:
                return  # its time was up before its first call was in it: that begins another
            try:
                data = encode_calls(pile.calls, None, pile.records)
                self._fly(pile.placed, _Flight(len(data), len(pile.calls), pile.owner))
                self._submitter.send(data, *pile.key, pile.placed)
            except Exception as error:  # noqa: BLE001  whoever has a job of the pile must hear of it
                self._fly(pile.placed, _Flight(0, len(pile.calls), pile.owner))
                pile.placed.set_exception(error)

    # On the way

    def _fly(self, placed: Future[Placed], flight: _Flight) -> None:
        with self._lock:
            self._flights[placed] = flight
            self._size += flight.size
            self._messages += flight.messages
            self._count()
        placed.add_done_callback(self._landed)

    def _landed(self, placed: Future[Placed]) -> None:
        with self._lock:
            flight = self._flights.pop(placed, None)
            if flight is None:
                return
            self._size -= flight.size
            self._messages -= flight.messages
            self._count()
            error = placed.exception()
            self._failure = self._failure or error
        if error is not None:
            logger.warning("%d messages could not be submitted: %s", flight.messages, error)

    def _count(self) -> None:
        self.crowded = self._messages > MOST_ON_THE_WAY or self._size > IN_FLIGHT_BYTES

    def _oldest(self) -> Future[Placed] | None:
        with self._lock:
            return next(iter(self._flights), None)

    def _take_flights(self) -> list[Future[Placed]]:
        self.send()
        with self._lock:
            return list(self._flights)

    def _raise_first(self, flying: Iterable[Future[Placed]]) -> None:
        for placed in flying:
            self._landed(placed)
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def _steady(function: Callable[..., Any]) -> bool:
    """Say whether a function means the same a moment later; a closure, a partial or a method may not."""
    if isinstance(function, FunctionType):
        return function.__closure__ is None
    if isinstance(function, BuiltinFunctionType):
        return isinstance(function.__self__, ModuleType)
    return isinstance(function, (Task, type))


# Blocks


class Block(NamedTuple):
    """One ``batching`` block that code is in."""

    connection: Connection
    lingerer: Lingerer


_blocks: ContextVar[tuple[Block, ...]] = ContextVar("batching", default=())
# The blocks that this code is in, the innermost first.
open_blocks = _blocks.get


class Batching:
    """The block of ``with pool.batching()``."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._token: Token[tuple[Block, ...]] | None = None
        self._lingerer: Lingerer | None = None

    def __enter__(self) -> Any:
        connection = self._pool.connection
        self._lingerer = connection.new_lingerer()
        self._token = _blocks.set((Block(connection, self._lingerer), *_blocks.get()))
        SwitchInterval.shorten()
        return self._pool

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        lingerer = self._leave()
        try:
            lingerer.settle()
        except Exception:
            if error is None:
                raise
            logger.exception("What was submitted before the block failed could not be put")

    async def __aenter__(self) -> Any:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, _: object) -> None:
        lingerer = self._leave()
        try:
            await lingerer.settle_async()
        except Exception:
            if error is None:
                raise
            logger.exception("What was submitted before the block failed could not be put")

    def _leave(self) -> Lingerer:
        assert self._token is not None
        assert self._lingerer is not None
        SwitchInterval.restore()
        _blocks.reset(self._token)
        return self._lingerer


# The end of the process

_live: weakref.WeakSet[Lingerer] = weakref.WeakSet()


def send_at_exit() -> None:
    """Send what lingers before the process ends; Dask's clients are closed after this."""
    for lingerer in list(_live):
        waiting = lingerer.waiting
        try:
            if lingerer.loop.is_running():
                lingerer.settle(EXIT_SECONDS)
            elif waiting:
                logger.error(
                    "%d messages that lingered were never sent: await pool.flush() or close the pool", waiting
                )
        except Exception:
            logger.exception("Not all messages that lingered could be put")


atexit.register(send_at_exit)
