"""What comes out of a msgpack of unknown origin, made into what the core is made of, or refused.

Each reader takes one value and raises ``TypeError`` or ``ValueError`` if it is not what it should be. A checksum
proves only that the bytes are those that were written, not that who wrote them was in his right mind.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import isnan
from typing import TYPE_CHECKING, Any, TypeVar

import msgpack

from daskqueue.core.runs import merge
from daskqueue.message import SEQUENCE_BITS, Run, Terms

if TYPE_CHECKING:
    from daskqueue.core.runs import Runs

Reader = Callable[[Any], Any]
Rows = TypeVar("Rows", bound=tuple[Any, ...])

END = 1 << SEQUENCE_BITS  # one past the last sequence that a message's id has room for


def unpack(data: bytes | bytearray | memoryview, *, use_list: bool = False) -> Any:
    """Return what msgpack packed, with memory for what is there and not for what is claimed to be.

    Raises:
        ValueError, msgpack.UnpackException: it packed something else.
    """
    if len(data) > _LARGE:
        # Arrays in arrays, each with room for as much as it claims, would take it all for a few bytes.
        walk = msgpack.Unpacker(max_buffer_size=len(data))
        walk.feed(data)
        walk.skip()
    return _unpack(data, use_list=use_list)


_LARGE = 4096
_unpack: Callable[..., Any] = msgpack.loads


def sequence(value: Any) -> tuple[Any, ...]:
    """Read an array of anything."""
    return value if type(value) is tuple else tuple(_is(value, list))


def _is(value: Any, *types: type) -> Any:
    if type(value) not in types:
        raise TypeError(f"{type(value).__name__} instead of {types[0].__name__}")
    return value


integer: Callable[[Any], int] = operator.index


def below(limit: int) -> Callable[[Any], int]:
    """Return a reader of numbers from 0 up to one less than *limit*."""

    def read(value: Any) -> int:
        if type(value) is int and 0 <= value < limit:
            return value
        raise ValueError(f"no number from 0 to {limit - 1}")

    return read


# What counts or names something stays so far below 2**63 that it may grow for ever.
count = below(1 << 62)
message = below(END)


def text(value: Any) -> str:
    """Read a text."""
    if type(value) is str:
        return value
    raise TypeError(f"{type(value).__name__} instead of text")


def octets(value: Any) -> bytes:
    """Read bytes."""
    if type(value) is bytes:
        return value
    raise TypeError(f"{type(value).__name__} instead of bytes")


def flag(value: Any) -> bool:
    """Read true or false."""
    return bool(_is(value, bool))


def moment(value: Any) -> float:
    """Read a moment or a number of seconds."""
    read = float(_is(value, float, int))
    if isnan(read):
        raise ValueError("not a number")
    return read


def maybe_moment(value: Any) -> float | None:
    """Read a moment, or nil."""
    return None if value is None else moment(value)


def texts(value: Any) -> tuple[str, ...]:
    """Read an array of texts."""
    return tuple([text(each) for each in sequence(value)])


def run(value: Any) -> Run:
    """Read a run of messages."""
    first, last = value
    if not (type(first) is int and type(last) is int and 0 <= first < last <= END):
        raise ValueError("no run of messages")
    return Run(first, last)


def runs(value: Any) -> Runs:
    """Read runs of messages, as :func:`daskqueue.core.runs.merge` makes them."""
    read = tuple([run(pair) for pair in sequence(value)])
    if len(read) > 1 and merge(read) != read:
        raise ValueError("runs overlap, touch or are out of order")
    return read


def numbers(value: Any) -> tuple[tuple[int, int], ...]:
    """Read runs of numbers of puts, which are no messages."""
    return in_order(tuple([(count(first), count(last)) for first, last in sequence(value)]))


def in_order(rows: Rows) -> Rows:
    """Return rows that begin with a run, if these follow each other and none overlaps the one before."""
    end = 0
    for row in rows:
        if not end <= row[0] < row[1]:
            raise ValueError(f"runs overlap or are out of order at {row[0]}, {row[1]}")
        end = row[1]
    return rows


def rows(*readers: Reader) -> Callable[[Any], tuple[Any, ...]]:
    """Return a reader of rows, each with one value a reader."""

    def read_row(row: Any) -> tuple[Any, ...]:
        return tuple([read(value) for read, value in zip(readers, sequence(row), strict=True)])

    def read(value: Any) -> tuple[Any, ...]:
        return tuple([read_row(row) for row in sequence(value)])

    return read


def run_rows(*readers: Reader) -> Callable[[Any], tuple[Any, ...]]:
    """Return a reader of rows that begin with a run of messages; the runs are in order."""
    read_rows = rows(count, count, *readers)

    def read(value: Any) -> tuple[Any, ...]:
        found = in_order(read_rows(value))
        if found and found[-1][1] > END:
            raise ValueError("no run of messages")
        return found

    return read


TALLY = (count, count, count)  # readers of the fields of a Tally


def terms(value: Any) -> Terms:
    """Read terms; those of a later version may have more fields, which mean nothing here."""
    fields = sequence(value)[: len(Terms._fields)]
    read = [reader(field) for reader, field in zip(_TERMS, fields, strict=False)]
    return Terms(*read)


def maybe_terms(value: Any) -> Terms | None:
    """Read terms, or nil."""
    return None if value is None else terms(value)


_TERMS: tuple[Reader, ...] = (
    integer, maybe_moment, text, text, moment, maybe_moment, maybe_moment, maybe_moment, texts, texts,
)  # fmt: skip


def terms_rows(value: Any) -> tuple[Any, ...]:
    """Read rows of a run of messages and their terms."""
    read = [(run(row[:2]), terms(row[2:])) for row in map(sequence, sequence(value))]
    return in_order(tuple([(*which, *chosen) for which, chosen in read]))


# Which puts were seen of each producer: its name, the numbers, and the places (number, first, count) of some.
producers = rows(octets, numbers, rows(count, count, count))
kept_keys = rows(text, message, moment)
