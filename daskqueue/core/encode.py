"""Facts to bytes and back: a kind number and a msgpack array of the fields in their order.

A later version may add kinds, and fields at the end of an array with a default in the class: this one skips
the former and ignores the latter. Numbers are never used again for something else.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgpack

from daskqueue.core import facts
from daskqueue.errors import CorruptionError
from daskqueue.message import Run, Terms

if TYPE_CHECKING:
    from daskqueue.core.runs import Runs

# packb makes a packer, with 256 KiB of memory, for every call.
_pack: Callable[[Any], bytes] = msgpack.Packer().pack
_unpack: Callable[..., Any] = msgpack.loads


_UNUSED = (None, ())


def encode(fact: facts.Fact) -> tuple[int, bytes]:
    """Return the kind (16 or above) and the bytes of a fact that is not volatile."""
    kind, fields, least = _WRITTEN[type(fact)]
    values = [getattr(fact, name) for name in fields]
    while len(values) > least and values[-1] in _UNUSED:
        values.pop()  # what came with a later version costs nothing where it is not used
    return kind, _pack(values)


def decode(kind: int, payload: bytes | bytearray | memoryview) -> facts.Fact | None:
    """Return the fact, None if *kind* is of a later version and is to be skipped.

    Raises:
        CorruptionError: the bytes are no fact of this kind.
    """
    known = _KINDS.get(kind)
    if known is None:
        return None
    fact, readers = known
    try:
        values = _unpack(payload, use_list=False)
        return fact(*[read(value) for read, value in zip(readers.values(), _sequence(values), strict=False)])
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise CorruptionError(f"no {fact.__name__}: {error}") from error


def _sequence(value: Any) -> tuple[Any, ...]:
    return tuple(_is(value, tuple))


def _is(value: Any, *types: type) -> Any:
    if type(value) not in types:
        raise TypeError(f"{type(value).__name__} instead of {types[0].__name__}")
    return value


_integer: Callable[[Any], int] = operator.index


def _text(value: Any) -> str:
    return str(_is(value, str))


def _bytes(value: Any) -> bytes:
    return bytes(_is(value, bytes))


def _flag(value: Any) -> bool:
    return bool(_is(value, bool))


def _moment(value: Any) -> float:
    return float(_is(value, float, int))


def _maybe_moment(value: Any) -> float | None:
    return None if value is None else _moment(value)


def _run(value: Any) -> Run:
    first, last = value
    if not 0 <= _integer(first) < _integer(last):
        raise ValueError(f"no run: {first}, {last}")
    return Run(first, last)


def _runs(value: Any) -> Runs:
    return tuple([_run(pair) for pair in _sequence(value)])


def _rows(*readers: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a reader of rows, each with one value a reader."""

    def read_row(row: Any) -> tuple[Any, ...]:
        return tuple([read(value) for read, value in zip(readers, _sequence(row), strict=True)])

    def read(value: Any) -> tuple[Any, ...]:
        return tuple([read_row(row) for row in _sequence(value)])

    return read


_pairs = _rows(_integer, _integer)


def _terms(value: Any) -> Terms:
    """Return terms; those of a later version may have more fields, which mean nothing here."""
    fields = _sequence(value)[: len(Terms._fields)]
    read = [reader(field) for reader, field in zip(_TERMS, fields, strict=False)]
    return Terms(*read)


def _maybe_terms(value: Any) -> Terms | None:
    return None if value is None else _terms(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple([_text(each) for each in _sequence(value)])


_TERMS: tuple[Callable[[Any], Any], ...] = (
    _integer, _maybe_moment, _text, _text, _moment, _maybe_moment, _maybe_moment, _maybe_moment, _texts, _texts,
)  # fmt: skip


def _terms_rows(value: Any) -> tuple[Any, ...]:
    rows = [(_run(row[:2]), _terms(row[2:])) for row in map(_sequence, _sequence(value))]
    return tuple([(*run, *terms) for run, terms in rows])


Readers = dict[str, Callable[[Any], Any]]
_ON_LEASE: Readers = {"lease": _integer, "runs": _runs}
_ON_RUNS: Readers = {"runs": _runs}

_KINDS: dict[int, tuple[type[facts.Fact], Readers]] = {
    16: (
        facts.Enqueued,
        {
            "first": _integer,
            "count": _integer,
            "producer": _bytes,
            "number": _integer,
            "retries": _integer,
            "due_at": _maybe_moment,
            "terms": _maybe_terms,
        },
    ),
    17: (
        facts.Leased,
        {
            "lease": _integer,
            "epoch": _integer,
            "consumer": _text,
            "pool": _text,
            "request": _integer,
            "runs": _runs,
            "deadline": _moment,
            "redelivered": _integer,
        },
    ),
    18: (facts.Acked, {**_ON_LEASE, "at": _maybe_moment}),
    19: (facts.Retried, {**_ON_LEASE, "due_at": _maybe_moment}),
    20: (facts.Released, {**_ON_LEASE, "due_at": _maybe_moment}),
    21: (facts.LeaseLost, {**_ON_LEASE, "reason": _text}),
    22: (facts.Died, {**_ON_LEASE, "reason": _text, "lost": _flag, "at": _maybe_moment}),
    23: (facts.Cancelled, {**_ON_RUNS, "at": _maybe_moment}),
    24: (facts.Purged, {**_ON_RUNS, "at": _maybe_moment}),
    25: (facts.Redriven, _ON_RUNS),
    26: (facts.Discarded, _ON_RUNS),
    27: (facts.Paused, {"paused": _flag}),
    28: (facts.Restarted, {"epoch": _integer, "deadline": _moment}),
    29: (
        facts.Moved,
        {
            "ready": _rows(*[_integer] * 5),
            "delayed": _rows(*[_integer] * 5, _moment),
            "dead": _rows(*[_integer] * 5, _text),
            "terms": _terms_rows,
            "notes": _rows(_integer, _bytes),
            "died_at": _rows(_integer, _integer, _moment),
        },
    ),
    30: (
        facts.Carried,
        {
            "next_sequence": _integer,
            "epoch": _integer,
            "next_lease": _integer,
            "paused": _flag,
            "counters": lambda value: tuple([_integer(number) for number in _sequence(value)]),
            "dead_by_reason": _rows(_text, _integer),
            "producers": _rows(_bytes, _pairs, _rows(_integer, _integer, _integer)),
            "kept_keys": _rows(_text, _integer, _moment),
        },
    ),
    31: (facts.Matched, {"sequence": _integer, "producer": _bytes, "number": _integer}),
    32: (facts.Dropped, {**_ON_RUNS, "reason": _text, "at": _maybe_moment}),
    33: (facts.CancelAsked, _ON_RUNS),
    34: (facts.Progressed, {"sequence": _integer, "note": _bytes}),
}

# How many fields at the end are left out where they are empty.
_LATER = {
    facts.Enqueued: 1,
    facts.Acked: 1,
    facts.Released: 1,
    facts.Died: 1,
    facts.Cancelled: 1,
    facts.Purged: 1,
    facts.Moved: 3,
    facts.Carried: 1,
}

_WRITTEN: dict[type[facts.Fact], tuple[int, tuple[str, ...], int]] = {
    fact: (kind, tuple(readers), len(readers) - _LATER.get(fact, 0))
    for kind, (fact, readers) in _KINDS.items()
}
