"""What clients and consumers tell a queue, made sure of before anything is done about it.

What a queue writes down must be something that it can read again, and one caller with a bug must not spoil it for
the others: a NaN in a heap, or half a message in a run, would. Everything here raises QueueError, to that caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

from daskqueue.actors.settlement import Pairs, Settlement
from daskqueue.core import readers
from daskqueue.errors import BatchError, QueueError
from daskqueue.layout import RESULTS, declared
from daskqueue.message import PLAIN, PutOptions, Run, Terms

P = ParamSpec("P")
R = TypeVar("R")

Put = tuple[int, bytes, PutOptions]


def _sensible(read: Callable[P, R]) -> Callable[P, R]:
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(*args, **kwargs)
        except BatchError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise QueueError(f"a queue was told what makes no sense ({read.__name__}): {error}") from error

    return checked


@_sensible
def puts(producer: bytes, told: Sequence[tuple[int, bytes, Sequence[Any]]]) -> list[Put]:
    """Return the record batches of a put, with their numbers and options."""
    if not 0 < len(readers.octets(producer)) <= _NAME_BYTES:
        raise ValueError("a producer without a name, or with one that is too long")
    chosen = [(readers.count(number), _batch(data), _options(*fields)) for number, data, fields in told]
    for _, data, options in chosen:
        if options.terms.key and declared(data)[0] != 1:
            raise ValueError("a key is for one message")
    return chosen


def _batch(data: Any) -> bytes:
    if type(data) not in _BYTES:
        raise BatchError(f"a {type(data).__name__} is no record batch")
    return data


def _options(
    retries: Any, delay: Any, not_before: Any, expires: Any, drop_oldest: Any, terms: Any
) -> PutOptions:
    return PutOptions(
        readers.count(retries),
        readers.moment(delay),
        readers.maybe_moment(not_before),
        readers.maybe_moment(expires),
        readers.flag(drop_oldest),
        _terms(terms),
    )


@lru_cache(maxsize=1024)
def _terms(told: Any) -> Terms:
    return PLAIN if told == PLAIN else readers.terms(tuple(told))


@_sensible
def runs(pairs: Pairs) -> tuple[Run, ...]:
    """Return pairs of numbers as runs of messages."""
    return _runs(pairs)


def _runs(pairs: Pairs) -> tuple[Run, ...]:
    return tuple([Run(readers.count(first), readers.count(last)) for first, last in pairs])


@_sensible
def seconds(told: float) -> float:
    """Return how long somebody wants to wait."""
    return readers.moment(told)


@_sensible
def number(told: int) -> int:
    """Return a number from 0 on."""
    return readers.count(told)


@_sensible
def numbers(told: Iterable[int]) -> tuple[int, ...]:
    """Return numbers from 0 on."""
    return tuple([readers.count(each) for each in told])


@_sensible
def page_after(told: Sequence[int] | None) -> tuple[int, int] | None:
    """Return where a page of results ended, None before the first."""
    if told is None:
        return None
    segment, offset = told
    return readers.count(segment), readers.count(offset)


@_sensible
def name(told: str) -> str:
    """Return what somebody calls himself."""
    return readers.text(told)


@_sensible
def wish(consumer: str, pool: str, request: int, want: int, slice_size: int, max_bytes: int) -> None:
    """Return if this is how a consumer may ask for messages."""
    readers.text(consumer)
    readers.text(pool)
    readers.count(request)
    for number in (want, slice_size, max_bytes):
        if type(number) is not int:
            raise TypeError("how much a consumer wants is a number")


@_sensible
def settlement(fields: Sequence[Any]) -> Settlement:
    """Return what a consumer says of one lease."""
    said = Settlement(*fields)
    readers.count(said.lease)
    readers.count(said.epoch)
    readers.text(said.reason)
    readers.moment(said.delay)
    returned, raised, *_ = [
        _runs(pairs) if pairs else ()
        for pairs in (said.returned, said.raised, said.released, said.crashed, said.stopped)
    ]
    if said.results is not None and returned:
        _check_results(said.results, returned)
    if raised:
        _check_results(said.failures, raised)
    return said


def _check_results(blob: bytes, of: Sequence[Run]) -> None:
    """Return if the head of a blob says that it has a value for each message; the values are not looked at."""
    expected = sum([run.last - run.first for run in of])
    found, flags = declared(blob)
    if found != expected or flags != RESULTS:
        raise BatchError(f"a blob of {found} results for {expected} messages")


@_sensible
def remarks(told: Sequence[tuple[int, int, int, bytes]]) -> list[tuple[int, int, int, bytes]]:
    """Return how far messages are: lease, epoch, sequence and note of each."""
    return [
        (readers.count(lease), readers.count(epoch), readers.message(sequence), readers.octets(note))
        for lease, epoch, sequence, note in told
    ]


_NAME_BYTES = 64
_BYTES = (bytes, bytearray, memoryview)
