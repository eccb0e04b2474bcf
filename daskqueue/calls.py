"""Calls and raw values to a record batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from operator import is_
from struct import pack
from typing import Any, NoReturn

from daskqueue.buffers import padding
from daskqueue.chunk import (
    BUFFERED,
    CHUNK_MESSAGES,
    MAX_PAYLOAD_BYTES,
    REPEAT,
    Buffer,
    ChunkEncoder,
    Encoded,
    Failed,
)
from daskqueue.errors import BatchError, PayloadTooLargeError
from daskqueue.functions import Function, FunctionRecords, FunctionTable, encode_function
from daskqueue.layout import ITEMS, KEYWORDS, MIXED, RESULTS, WIDE, Entry, assemble, pack_entry
from daskqueue.message import Call

# Results are read whole far more often than one by one, and larger chunks cost half as much.
RESULT_CHUNK = 500

CallLike = Callable[..., Any] | tuple[Any, ...]

_SHAPES = "give (function, *arguments), daskqueue.call(function, ...), or a function"


def encode_calls(
    calls: Sequence[CallLike],
    kwargs: Mapping[str, Any] | None = None,
    functions: FunctionRecords | None = None,
    max_bytes: int = MAX_PAYLOAD_BYTES,
) -> bytes:
    """Return the record batch of these calls, in their order.

    Sharing between the messages ends here. Inside one message, two references to one plain list, dict or set
    may come back as two equal ones.

    Args:
        calls: each ``(function, *arguments)``, a :class:`~daskqueue.message.Call`, or a function alone.
        kwargs: keyword arguments for all of them; those of a ``Call`` win.
        functions: what other batches of the same submission have pickled already.
        max_bytes: how many bytes the arguments of one call may take.

    Raises:
        TypeError: one is no call; the message names its position.
        BatchError: one cannot be pickled; the message names its position.
        PayloadTooLargeError: one is larger than *max_bytes*.
    """
    calls = _listed(calls)
    writer = _CallWriter(kwargs, functions, max_bytes)
    for start in range(0, len(calls), CHUNK_MESSAGES):
        writer.add(calls[start : start + CHUNK_MESSAGES], start)
    return writer.finish(len(calls))


def encode_one(
    function: Function,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    max_bytes: int = MAX_PAYLOAD_BYTES,
) -> bytes:
    """Return the record batch of a single call; see :func:`encode_calls`."""
    record = encode_function(function)
    if not args and not kwargs:
        encoded = Encoded(REPEAT, 0, [], 0)
    else:
        values = [(args, dict(kwargs)) if kwargs else args]
        encoded = ChunkEncoder(_refuse("call"), max_bytes).values(values, 0)
    flags = encoded.flags | (KEYWORDS if kwargs else 0)
    entry = Entry(encoded.codec, flags, 0, 0, 1, 0, 1, encoded.length)
    aligned = encoded.codec == BUFFERED
    return assemble(0, 1, (0, 1, [record]), [pack_entry(entry)], [encoded.parts], aligned=aligned)


def encode_items(values: Sequence[Any], max_bytes: int = MAX_PAYLOAD_BYTES) -> bytes:
    """Return the record batch of raw values, for consumers that bring their own code.

    Raises:
        BatchError: one cannot be pickled; the message names its position.
        PayloadTooLargeError: one is larger than *max_bytes*.
    """
    return encode_values(values, ITEMS, _refuse("item"), max_bytes)


def encode_values(
    values: Sequence[Any], flags: int, failed: Failed, max_bytes: int = MAX_PAYLOAD_BYTES
) -> bytes:
    """Return a record batch of values without functions; :class:`ChunkEncoder` explains *failed*."""
    values = _listed(values)
    encoder = ChunkEncoder(failed, max_bytes)
    size = RESULT_CHUNK if flags == RESULTS else CHUNK_MESSAGES
    entries, data, aligned = [], [], False
    for start in range(0, len(values), size):
        chunk = values[start : start + size]
        encoded = encoder.values(chunk, start)
        entries.append(_entry(encoded, len(chunk)))
        data.append(encoded.parts)
        aligned = aligned or encoded.codec == BUFFERED
    return assemble(flags, len(values), (0, 0, ()), entries, data, aligned=aligned)


def _listed(values: Sequence[Any]) -> list[Any] | tuple[Any, ...]:
    return values if type(values) in (list, tuple) else list(values)  # type: ignore[return-value]


def _refuse(what: str) -> Failed:
    def failed(position: int, error: Exception) -> NoReturn:
        if isinstance(error, PayloadTooLargeError):
            raise PayloadTooLargeError(f"{what} {position} is too large: {error}")
        raise BatchError(f"{what} {position} cannot be pickled: {type(error).__name__}: {error}") from error

    return failed


def _entry(encoded: Encoded, count: int) -> bytes:
    return pack_entry(Entry(encoded.codec, encoded.flags, 0, 0, count, 0, count, encoded.length))


def _all_same(functions: Sequence[Any]) -> bool:
    return all(map(is_, functions, repeat(functions[0])))


class _CallWriter:
    """Builds one record batch, chunk after chunk."""

    def __init__(
        self, kwargs: Mapping[str, Any] | None, functions: FunctionRecords | None, max_bytes: int
    ) -> None:
        self._kwargs = dict(kwargs or {})
        self._table = FunctionTable(functions)
        self._encoder = ChunkEncoder(_refuse("call"), max_bytes)
        self._entries: list[Buffer] = []
        self._data: list[list[Buffer]] = []
        self._aligned = False
        self._repeated = (0, 0)  # a run of argument-less calls that may go on: function number, count

    def add(self, calls: Sequence[Any], start: int) -> None:
        """Add one chunk; its first call has the position *start*."""
        columns = self._columns(calls)
        if columns is None:
            self._append(*self._rows(calls, start), start)
            return
        functions, arguments = columns
        if not arguments and _all_same(functions):
            self._repeat(self._number(functions[:1], start)[0], len(calls))
        else:
            self._append(functions, self._encoder.columns(arguments, len(calls), start), 0, start)

    def finish(self, count: int) -> bytes:
        """Return the record batch."""
        self._end_repeat()
        records = self._table.records
        functions = (0, len(records), records)
        return assemble(0, count, functions, self._entries, self._data, aligned=self._aligned)

    def _columns(self, calls: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[tuple[Any, ...], ...]] | None:
        """Return functions and argument columns of calls that are alike, or None."""
        types = set(map(type, calls))
        if self._kwargs:
            return None
        if types == {tuple}:
            try:
                functions, *columns = zip(*calls, strict=True)
            except ValueError:  # not equally long, or empty
                return None
            return functions, tuple(columns)
        if any(issubclass(kind, tuple) for kind in types):
            return None
        return tuple(calls), ()

    def _rows(self, calls: Sequence[Any], start: int) -> tuple[list[Any], Encoded, int]:
        """Return functions and the encoded chunk of calls that are not alike."""
        parts = [self._parts(item, position) for position, item in enumerate(calls, start)]
        functions, args, kwargs = map(list, zip(*parts, strict=True))
        if any(kwargs):
            return functions, self._encoder.columns((args, kwargs), len(calls), start), KEYWORDS
        return functions, self._encoder.values(args, start), 0

    def _parts(self, item: Any, position: int) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        if isinstance(item, Call):
            return item.function, tuple(item.args), {**self._kwargs, **item.kwargs}
        if not isinstance(item, tuple):
            return item, (), self._kwargs
        if not item:
            raise TypeError(f"call {position} is an empty tuple; {_SHAPES}")
        return item[0], tuple(item[1:]), self._kwargs

    def _number(self, functions: Sequence[Any], start: int) -> list[int]:
        try:
            return self._table.numbers(functions)
        except (BatchError, TypeError):
            for position, function in enumerate(functions, start):
                self._number_at(function, position)
            raise

    def _number_at(self, function: Any, position: int) -> int:
        try:
            return self._table.number(function)
        except BatchError as error:
            raise BatchError(f"call {position}: {error}") from error.__cause__
        except TypeError as error:
            raise TypeError(f"call {position}: {error}; {_SHAPES}") from None

    def _append(self, functions: Sequence[Any], encoded: Encoded, flags: int, start: int) -> None:
        self._end_repeat()
        count = len(functions)
        numbers = self._number(functions[:1] if _all_same(functions) else functions, start)
        number, column = numbers[0], b""
        if len(set(numbers)) > 1:
            number = 0
            wide = max(numbers) > 0xFFFF
            flags |= MIXED | WIDE if wide else MIXED
            column = pack(f"<{count}{'I' if wide else 'H'}", *numbers)
        if encoded.codec == BUFFERED:
            self._aligned = True
            column += padding(len(column))
        length = len(column) + encoded.length
        entry = Entry(encoded.codec, encoded.flags | flags, 0, number, count, 0, count, length)
        self._entries.append(pack_entry(entry))
        self._data.append([column, *encoded.parts])

    def _repeat(self, number: int, count: int) -> None:
        if self._repeated[1] and self._repeated[0] != number:
            self._end_repeat()
        self._repeated = number, self._repeated[1] + count

    def _end_repeat(self) -> None:
        number, count = self._repeated
        if count:
            self._entries.append(pack_entry(Entry(REPEAT, 0, 0, number, count, 0, count, 0)))
            self._data.append([])
            self._repeated = 0, 0
