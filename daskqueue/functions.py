"""The functions of a record batch: by reference where they can be imported, by value otherwise."""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from types import BuiltinMethodType, MethodType
from typing import Any, NamedTuple

from daskqueue.chunk import cannot_load, dump_by_value, registered_by_value
from daskqueue.errors import BatchError, CannotLoadError

ABSENT, REFERENCE, VALUE = 0, 1, 2  # absent: a slice that does not use the function leaves its bytes out
HEAD = Struct("<B3xI16s")  # kind, length of the data, digest of the data
DIGEST_BYTES = 16
RECORDS_KEPT = 64

Function = Callable[..., Any]


class Record(NamedTuple):
    """One function as a batch holds it."""

    kind: int
    digest: bytes
    data: memoryview


def encode_function(function: Function) -> bytes:
    """Return the record of one function: head and data.

    Raises:
        TypeError: it cannot be called.
        BatchError: neither pickle nor cloudpickle can carry it.
    """
    if not callable(function):
        raise TypeError(f"{function!r:.200} is not callable")
    name = reference_of(function)
    if name is not None:
        return _reference_record(name)
    try:
        data = dump_by_value(function)
    except Exception as error:
        raise BatchError(f"the function {function!r:.200} cannot be pickled: {error}") from error
    return _record(VALUE, data)


def _record(kind: int, data: bytes) -> bytes:
    return HEAD.pack(kind, len(data), blake2b(data, digest_size=DIGEST_BYTES).digest()) + data


@lru_cache(maxsize=1024)
def _reference_record(name: str) -> bytes:
    return _record(REFERENCE, name.encode())


ABSENT_RECORD = HEAD.pack(ABSENT, 0, bytes(DIGEST_BYTES))


def reference_of(function: Function) -> str | None:
    """Return ``module:qualname`` if that leads any other process to this very object."""
    module_name = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    if not isinstance(module_name, str) or not isinstance(qualname, str) or module_name == "__main__":
        return None
    module = sys.modules.get(module_name)
    if getattr(module, "__spec__", None) is None or _registered_by_value(module_name):
        return None
    found: Any = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return f"{module_name}:{qualname}" if found is function else None


def _registered_by_value(module_name: str) -> bool:
    names = registered_by_value()
    return any(module_name == name or module_name.startswith(f"{name}.") for name in names)


class FunctionRecords:
    """The records of functions that several batches of one submission share, so that each is pickled once."""

    def __init__(self) -> None:
        self._records: dict[int, tuple[Function, bytes]] = {}

    def of(self, function: Function) -> bytes:
        """Return the record of a function; see :func:`encode_function`."""
        known = self._records.get(id(function))
        if known is None:
            if len(self._records) >= RECORDS_KEPT:
                self._records.clear()
            known = self._records[id(function)] = function, encode_function(function)
        return known[1]


class FunctionTable:
    """Numbers the distinct functions of one batch in the order in which they come.

    Functions are told apart by identity; two bound methods are one function if object and function are
    identical. Arguments, and a function's own ``==``, are never asked.
    """

    def __init__(self, shared: FunctionRecords | None = None) -> None:
        self.records: list[bytes] = []
        self._encode = encode_function if shared is None else shared.of
        self._numbers: dict[int, int] = {}
        self._methods: dict[tuple[int, Any], int] = {}
        self._kept: list[Function] = []  # an id stays taken only while its object lives

    def number(self, function: Function) -> int:
        """Return the function's number; see :func:`encode_function` for what it raises."""
        number = self._numbers.get(id(function))
        if number is None:
            number = self._add(function)
        return number

    def numbers(self, functions: Sequence[Function]) -> list[int]:
        """Return the number of each function."""
        known = self._numbers.get
        numbers = [known(id(function)) for function in functions]
        if None in numbers:
            return [self.number(function) for function in functions]
        return numbers  # type: ignore[return-value]

    def _add(self, function: Function) -> int:
        key = _method_key(function)
        if key is not None and key in self._methods:
            return self._methods[key]
        self.records.append(self._encode(function))
        number = len(self.records) - 1
        self._kept.append(function)
        self._numbers[id(function)] = number
        if key is not None:
            self._methods[key] = number
        return number


def _method_key(function: Function) -> tuple[int, Any] | None:
    if isinstance(function, MethodType):
        return id(function.__self__), id(function.__func__)
    if isinstance(function, BuiltinMethodType):
        return id(function.__self__), function.__name__
    return None


def parse_records(table: memoryview, count: int) -> list[Record] | None:
    """Return the records that fill *table* exactly, or None if it does not hold *count* of them."""
    if count * HEAD.size > len(table):
        return None
    records = []
    offset = 0
    for _ in range(count):
        start = offset + HEAD.size
        if start > len(table):
            return None
        kind, length, digest = HEAD.unpack_from(table, offset)
        offset = start + length
        if kind > VALUE or offset > len(table):
            return None
        records.append(Record(kind, digest, table[start:offset]))
    return records if offset == len(table) else None


def used_only(
    records: Sequence[Record], first: int, used: Iterable[int]
) -> tuple[int, int, list[bytes | memoryview]]:
    """Return the smallest table for the functions *used*: its first number, its count, its buffers.

    Args:
        records: the table as it is.
        first: the number of its first record.
        used: the numbers that are needed.
    """
    needed = set(used)
    low, high = min(needed, default=0), max(needed, default=-1)
    if needed and not (first <= low and high < first + len(records)):
        raise BatchError("a chunk names a function that its batch does not hold")
    kept: list[bytes | memoryview] = []
    for number, record in enumerate(records[low - first : high - first + 1], low):
        if number in needed:
            kept += HEAD.pack(record.kind, len(record.data), record.digest), record.data
        else:
            kept.append(ABSENT_RECORD)
    return low, high + 1 - low, kept


class FunctionCache:
    """The functions that this process loaded by value, the least recently used forgotten first.

    What such a function carries (a model in a closure, the object of a bound method) lives as long as its
    entry, so later messages see what earlier ones did to it.

    Args:
        entries: how many functions are kept.
        size_bytes: how large all their pickles may be together; the last one stays whatever its size.
    """

    def __init__(self, entries: int, size_bytes: int) -> None:
        self._entries = entries
        self._size_bytes = size_bytes
        self._held_bytes = 0
        self._functions: OrderedDict[bytes, tuple[Function, int]] = OrderedDict()
        self._lock = threading.Lock()

    def load(self, digest: bytes, data: memoryview) -> Function:
        """Return the function with this digest; *data* is unpickled only if it is not known yet."""
        with self._lock:
            held = self._functions.get(digest)
            if held is not None:
                self._functions.move_to_end(digest)
                return held[0]
        if blake2b(data, digest_size=DIGEST_BYTES).digest() != digest:
            raise ValueError("its bytes do not match their digest")
        function: Function = pickle.loads(data)
        self._keep(digest, function, len(data))
        return function

    def _keep(self, digest: bytes, function: Function, size: int) -> None:
        with self._lock:
            if digest not in self._functions:
                self._functions[digest] = function, size
                self._held_bytes += size
            while len(self._functions) > 1 and (
                len(self._functions) > self._entries or self._held_bytes > self._size_bytes
            ):
                _, (_, freed) = self._functions.popitem(last=False)
                self._held_bytes -= freed


_cache = FunctionCache(entries=256, size_bytes=512 * 1024 * 1024)


def name_of(record: Record) -> str:
    """Return what people call the function of a record; one that was pickled by value is loaded for it."""
    if record.kind == REFERENCE:
        return str(record.data, "utf-8", "replace").replace(":", ".")
    function = load_function(record)
    if isinstance(function, CannotLoadError):
        return "a function that cannot be loaded here"
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def told_name(record: Record) -> str:
    """Return what can be said of the function of a record without loading anything."""
    if record.kind == REFERENCE:
        return str(record.data, "utf-8", "replace").replace(":", ".")
    if record.kind == VALUE:
        return f"a function pickled by value, {len(record.data):,} bytes"
    return "a function that this slice does not use"


def load_function(record: Record) -> Function | CannotLoadError:
    """Return the function of a record, or the error that says why it cannot be loaded here."""
    name = "a function pickled by value"
    try:
        if record.kind == REFERENCE:
            name = f"the function {str(record.data, 'utf-8')}"
            return _resolve(str(record.data, "utf-8"))
        if record.kind == VALUE:
            return _cache.load(record.digest, record.data)
        raise ValueError("its bytes were left out of this slice")  # noqa: TRY301
    except (Exception, SystemExit) as error:  # noqa: BLE001  importing and unpickling run foreign code
        return cannot_load(name, error)


def _resolve(name: str) -> Function:
    module_name, _, qualname = name.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in qualname.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError("it is not callable here")
    return found
