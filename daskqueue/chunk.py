"""A chunk, about 100 values, to bytes and back.

Plain values (numbers, text, bytes, and lists, tuples, dicts and sets of them) share one pickle, made without
a memo, so that nothing is shared between the values after decoding. Where one value is anything else, each
value of its chunk has a pickle of its own, so that one that cannot be decoded fails alone. Large buffers (of an
array) lie beside the pickle they belong to, and are never copied into it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from struct import error as struct_error
from struct import pack, unpack_from
from typing import Any, NamedTuple, NoReturn

import cloudpickle

from daskqueue.buffers import Keep, Pickled, join, load, padded, padding, pickled
from daskqueue.errors import BatchError, CannotLoadError, PayloadTooLargeError

REPEAT, PLAIN, SINGLE, BUFFERED = 0, 1, 2, 3  # codecs
COLUMNS = 1  # a chunk's flag: its pickle holds one column per argument, no list of values

CHUNK_MESSAGES = 100
PLAIN_BYTES = 64 * 1024  # a larger chunk is kept value by value: a slice then carries only what it needs
WINDOW_BYTES = 1024 * 1024  # how much of a chunk of large values is unpickled ahead of its use
PROTOCOL = 5
MAX_PAYLOAD_BYTES = 1 << 30  # of one message, unless its pool says otherwise

Buffer = bytes | memoryview
Failed = Callable[[int, Exception], bytes]


@dataclass(frozen=True, slots=True)
class Broken:
    """Messages, one after the other, that cannot be loaded here, and why."""

    count: int
    error: CannotLoadError


@dataclass(slots=True)
class Decoded:
    """Values, one after the other, that could be loaded."""

    count: int
    values: Iterable[Any]


class Encoded(NamedTuple):
    """A chunk as bytes: codec, flags, and the buffers that follow each other."""

    codec: int
    flags: int
    parts: list[Buffer]
    length: int


class Span(NamedTuple):
    """Which values are meant: those with ``first <= i < last`` of a chunk that holds *held* of them."""

    codec: int
    flags: int
    held: int
    first: int
    last: int


class _Foreign(Exception):  # noqa: N818  no error: it ends the attempt to pickle a chunk as plain values
    pass


class _PlainPickler(pickle.Pickler):
    """A pickler that knows plain values only.

    ``reducer_override`` is asked only about objects that the C pickler cannot save itself, so plain values
    never pay for it.
    """

    def reducer_override(self, _obj: Any) -> NoReturn:
        raise _Foreign


class _Parts:
    """A file that keeps what is written to it as it came: large bytes are not copied."""

    def __init__(self) -> None:
        self.parts: list[Buffer] = []
        self.write = self.parts.append


def _plain_pickler(file: Any) -> pickle.Pickler:
    """Return a pickler without a memo; only here is ``fast`` used, which the manual calls deprecated."""
    pickler = _PlainPickler(file, PROTOCOL)
    pickler.fast = True
    return pickler


def pickle_value(value: Any, *, by_value: bool) -> bytes:
    """Return one value as a pickle of its own; cloudpickle makes it where pickle cannot or should not.

    Args:
        value: anything.
        by_value: go to cloudpickle at once, because modules are registered to be pickled by value.
    """
    if not by_value:
        try:
            data = pickle.dumps(value, PROTOCOL)
        except Exception:  # noqa: BLE001  foreign code; cloudpickle says better what is wrong
            data = b"__main__"
        if b"__main__" not in data:  # another process has another __main__
            return data
    return dump_by_value(value)


def _pickle_apart(value: Any, *, by_value: bool) -> Pickled:
    """Return what :func:`pickle_value` makes, with large buffers beside it."""
    if not by_value:
        try:
            made = pickled(lambda keep: pickle.dumps(value, PROTOCOL, buffer_callback=keep))
        except Exception:  # noqa: BLE001  as above
            return pickled(lambda keep: dump_by_value(value, keep))
        if b"__main__" not in made.data[0]:
            return made
    return pickled(lambda keep: dump_by_value(value, keep))


def dump_by_value(value: Any, keep: Keep | None = None) -> bytes:
    """Return what cloudpickle makes of a function or any other value."""
    data: bytes = cloudpickle.dumps(value, PROTOCOL, buffer_callback=keep)  # type: ignore[no-untyped-call]
    return data


def registered_by_value() -> set[str]:
    """Return the names of the modules that this process wants to be pickled by value."""
    names: set[str] = cloudpickle.list_registry_pickle_by_value()  # type: ignore[no-untyped-call]
    return names


class ChunkEncoder:
    """Turns chunk after chunk of one batch into bytes.

    Args:
        failed: called with the position of a value that cannot be pickled and the cause; raises,
            or returns the pickle that stands in its place.
        max_bytes: how many bytes one value may take.
    """

    def __init__(self, failed: Failed, max_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._failed = failed
        self._max_bytes = max_bytes
        self._by_value = bool(registered_by_value())
        self._large = False
        self._renew()

    def _renew(self) -> None:
        file = _Parts()
        self._parts = file.parts
        self._dump = _plain_pickler(file).dump

    def values(self, values: Sequence[Any], start: int) -> Encoded:
        """Encode *values*, of which the first has the position *start* in its batch."""
        return self._plain(values, 0) or self._single(values, start)

    def columns(self, columns: tuple[Sequence[Any], ...], count: int, start: int) -> Encoded:
        """Encode *count* tuples given as columns, which are as long as *count* or none at all."""
        plain = self._plain(columns, COLUMNS)
        return plain or self._single(list(zip(*columns, strict=True)) or [()] * count, start)

    def _plain(self, values: Any, flags: int) -> Encoded | None:
        """Return one pickle for all, or None where that is impossible or too large."""
        parts = None if self._large else self._dumped(values)
        if parts is None:
            return None
        length = sum(map(len, parts))
        self._large = length > PLAIN_BYTES
        return None if self._large else Encoded(PLAIN, flags, parts, length)

    def _dumped(self, value: Any) -> list[Buffer] | None:
        """Return a pickle without a memo, in pieces, or None where *value* is not plain."""
        try:
            self._dump(value)
        except Exception:  # noqa: BLE001  foreign, cyclic or too deep: another pickler decides
            self._renew()  # what the failed one wrote, and its traces of nesting, would spoil the next
            return None
        parts = self._parts[:]
        self._parts.clear()
        return parts

    def _single(self, values: Sequence[Any], start: int) -> Encoded:
        pickles = [self._one(value, position) for position, value in enumerate(values, start)]
        if any(each.buffers for each in pickles):
            return Encoded(BUFFERED, 0, *join(pickles))
        encoded = join_single([each.data for each in pickles])
        self._large = self._large and encoded.length > PLAIN_BYTES
        return encoded

    def _one(self, value: Any, position: int) -> Pickled:
        plain = self._dumped(value) if self._large else None
        try:
            made = _pickle_apart(value, by_value=self._by_value) if plain is None else Pickled(plain)
            if made.length > self._max_bytes:
                raise _too_large(made.length, self._max_bytes)  # noqa: TRY301
        except Exception as error:  # noqa: BLE001  the value's own code runs here
            return Pickled([self._failed(position, error)])
        return made


def _too_large(length: int, most: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"it takes {length:,} bytes, and a message may take {most:,} (max_payload_bytes): put the data where the "
        "workers can read it (a file, an object store) and send its name, or raise max_payload_bytes"
    )


def join_single(pickles: Sequence[list[Buffer]]) -> Encoded:
    """Return the chunk that holds these pickles, one for each value, each in pieces."""
    lengths = [sum(map(len, parts)) for parts in pickles]
    try:
        head = pack(f"<{len(lengths)}I", *lengths)
    except struct_error:
        raise BatchError("a single value takes 4 GiB or more") from None
    return Encoded(SINGLE, 0, [head, *chain.from_iterable(pickles)], len(head) + sum(lengths))


def cut_single(data: memoryview, span: Span) -> Encoded | None:
    """Return a chunk of some values of a SINGLE or BUFFERED chunk, or None where its lengths are wrong."""
    bounds = _bounds(data, span)
    if bounds is None:
        return None
    start, lengths = bounds
    size = sum(lengths)
    head = bytes(data[4 * span.first : 4 * span.last])
    if span.codec == BUFFERED:
        head += padding(len(head))
    return Encoded(span.codec, 0, [head, data[start : start + size]], len(head) + size)


def _bounds(data: memoryview, span: Span) -> tuple[int, tuple[int, ...]] | None:
    """Return where the first value starts, and the lengths of all that are meant."""
    head = padded(4 * span.held) if span.codec == BUFFERED else 4 * span.held
    if len(data) < head:
        return None
    lengths = unpack_from(f"<{span.held}I", data)
    if head + sum(lengths) != len(data):
        return None
    return head + sum(lengths[: span.first]), lengths[span.first : span.last]


def cannot_load(what: str, error: BaseException) -> CannotLoadError:
    """Return the error that says what could not be loaded and carries the original one's text."""
    wrapped = CannotLoadError(f"{what} cannot be loaded: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def decode(data: memoryview, span: Span, *, own: bool = False) -> Iterable[Decoded | Broken]:
    """Return the values of a chunk that *span* means, in order, in one part or several.

    Args:
        data: the bytes of the chunk, read-only.
        span: which of its values.
        own: whether large buffers are copied, so that they can be written to; else they are views on *data*.
    """
    if span.codec == PLAIN:
        return (_decode_plain(data, span),)
    if span.codec == SINGLE:
        return _decode_single(data, span, _load)
    if span.codec == BUFFERED:
        return _decode_single(data, span, _load_own if own else _load_views)
    taken = span.last - span.first
    return (Decoded(taken, repeat((), taken)),)


def _decode_plain(data: memoryview, span: Span) -> Decoded | Broken:
    _, flags, held, first, last = span
    try:
        loaded = pickle.loads(data)
        columns = loaded if flags & COLUMNS else (loaded,)
        if columns and set(map(len, columns)) != {held}:
            raise ValueError("the chunk does not hold as many values as it says")  # noqa: TRY301
        if last - first != held:
            columns = [column[first:last] for column in columns]
    except (Exception, SystemExit) as error:  # noqa: BLE001  bytes of another version could hold anything
        return Broken(last - first, cannot_load("a chunk of messages", error))
    if not flags & COLUMNS:
        return Decoded(last - first, columns[0])
    return Decoded(last - first, zip(*columns, strict=True) if columns else repeat((), last - first))


def _decode_single(
    data: memoryview, span: Span, read: Callable[[memoryview], Any]
) -> Iterator[Decoded | Broken]:
    bounds = _bounds(data, span)
    if bounds is None:
        yield Broken(span.last - span.first, CannotLoadError("a chunk's lengths do not fit its data"))
        return
    offset, lengths = bounds
    values: list[Any] = []
    size = 0
    for length in lengths:
        value = read(data[offset : offset + length])
        offset += length
        size += length
        if isinstance(value, _Unloaded):
            if values:
                yield Decoded(len(values), values)
            yield Broken(1, cannot_load("a message", value.error))
            values, size = [], 0
            continue
        values.append(value)
        if size > WINDOW_BYTES:
            yield Decoded(len(values), values)
            values, size = [], 0
    if values:
        yield Decoded(len(values), values)


class _Unloaded(NamedTuple):
    error: BaseException


def _load(data: memoryview) -> Any:
    try:
        return pickle.loads(data)
    except (Exception, SystemExit) as error:  # noqa: BLE001  the value's own code runs here
        return _Unloaded(error)


def _load_views(data: memoryview) -> Any:
    return _load_buffered(data, own=False)


def _load_own(data: memoryview) -> Any:
    return _load_buffered(data, own=True)


def _load_buffered(data: memoryview, *, own: bool) -> Any:
    try:
        return load(data, own=own)
    except (Exception, SystemExit) as error:  # noqa: BLE001  as above
        return _Unloaded(error)
