"""Facts to bytes and back: a kind number and a msgpack array of the fields in their order.

A later version may add kinds, and fields at the end of an array with a default in the class: this one skips
the former and ignores the latter. Numbers are never used again for something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from daskqueue.core import facts, readers
from daskqueue.core.readers import Reader
from daskqueue.errors import CorruptionError

# packb makes a packer, with 256 KiB of memory, for every call.
_pack: Callable[[Any], bytes] = msgpack.Packer().pack


_UNUSED = (None, ())


def encode(fact: facts.Fact) -> tuple[int, bytes]:
    """Return the kind (16 or above) and the bytes of a fact that is not volatile."""
    kind, fields, least = _WRITTEN[type(fact)]
    values = [getattr(fact, name) for name in fields]
    while len(values) > least and values[-1] in _UNUSED:
        values.pop()  # what came with a later version costs nothing where it is not used
    return kind, _pack(values)


def is_known(kind: int) -> bool:
    """Return whether :func:`decode` can read facts of a kind; others are of a later version."""
    return kind in _READ


def decode(kind: int, payload: bytes | bytearray | memoryview) -> facts.Fact | None:
    """Return the fact, None if *kind* is of a later version and is to be skipped.

    Raises:
        CorruptionError: the bytes are no fact of this kind, or one that contradicts itself.
    """
    known = _READ.get(kind)
    if known is None:
        return None
    kind_of_fact, fields, check = known
    try:
        values = readers.sequence(readers.unpack(payload))
        fact = kind_of_fact(*[read(value) for read, value in zip(fields, values, strict=False)])
        if check is not None:
            check(fact)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise CorruptionError(f"no {kind_of_fact.__name__}: {error}") from error
    return fact


def _check_put(fact: facts.Enqueued) -> None:
    if fact.count < 1 or fact.first + fact.count > readers.END:
        raise ValueError(f"no put of {fact.count} messages from {fact.first}")
    if fact.terms is not None and fact.terms.key and fact.count > 1:
        raise ValueError(f"{fact.count} messages with one key")


def _check_moved(fact: facts.Moved) -> None:
    readers.in_order(
        tuple(sorted([row[:2] for rows in (fact.ready, fact.delayed, fact.dead) for row in rows]))
    )


Readers = dict[str, Reader]
_ON_LEASE: Readers = {"lease": readers.count, "runs": readers.runs}
_ON_RUNS: Readers = {"runs": readers.runs}

_KINDS: dict[int, tuple[type[facts.Fact], Readers]] = {
    16: (
        facts.Enqueued,
        {
            "first": readers.count,
            "count": readers.count,
            "producer": readers.octets,
            "number": readers.count,
            "retries": readers.count,
            "due_at": readers.maybe_moment,
            "terms": readers.maybe_terms,
        },
    ),
    17: (
        facts.Leased,
        {
            "lease": readers.count,
            "epoch": readers.count,
            "consumer": readers.text,
            "pool": readers.text,
            "request": readers.integer,
            "runs": readers.runs,
            "deadline": readers.moment,
            "redelivered": readers.count,
        },
    ),
    18: (facts.Acked, {**_ON_LEASE, "at": readers.maybe_moment}),
    19: (facts.Retried, {**_ON_LEASE, "due_at": readers.maybe_moment}),
    20: (facts.Released, {**_ON_LEASE, "due_at": readers.maybe_moment}),
    21: (facts.LeaseLost, {**_ON_LEASE, "reason": readers.text}),
    22: (facts.Died, {**_ON_LEASE, "reason": readers.text, "lost": readers.flag, "at": readers.maybe_moment}),
    23: (facts.Cancelled, {**_ON_RUNS, "at": readers.maybe_moment}),
    24: (facts.Purged, {**_ON_RUNS, "at": readers.maybe_moment}),
    25: (facts.Redriven, _ON_RUNS),
    26: (facts.Discarded, _ON_RUNS),
    27: (facts.Paused, {"paused": readers.flag}),
    28: (facts.Restarted, {"epoch": readers.count, "deadline": readers.moment}),
    29: (
        facts.Moved,
        {
            "ready": readers.run_rows(*readers.TALLY),
            "delayed": readers.run_rows(*readers.TALLY, readers.moment),
            "dead": readers.run_rows(*readers.TALLY, readers.text),
            "terms": readers.terms_rows,
            "notes": readers.rows(readers.message, readers.octets),
            "died_at": readers.run_rows(readers.moment),
        },
    ),
    30: (
        facts.Carried,
        {
            "next_sequence": readers.below(readers.END + 1),
            "epoch": readers.count,
            "next_lease": readers.count,
            "paused": readers.flag,
            "counters": lambda value: tuple([readers.count(number) for number in readers.sequence(value)]),
            "dead_by_reason": readers.rows(readers.text, readers.count),
            "producers": readers.producers,
            "kept_keys": readers.kept_keys,
        },
    ),
    31: (facts.Matched, {"sequence": readers.message, "producer": readers.octets, "number": readers.count}),
    32: (facts.Dropped, {**_ON_RUNS, "reason": readers.text, "at": readers.maybe_moment}),
    33: (facts.CancelAsked, _ON_RUNS),
    34: (facts.Progressed, {"sequence": readers.message, "note": readers.octets}),
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

# What of a fact cannot be said of one field alone.
_CHECKS: dict[type[facts.Fact], Callable[[Any], None]] = {
    facts.Enqueued: _check_put,
    facts.Moved: _check_moved,
}

_READ = {kind: (fact, tuple(readers.values()), _CHECKS.get(fact)) for kind, (fact, readers) in _KINDS.items()}

_WRITTEN: dict[type[facts.Fact], tuple[int, tuple[str, ...], int]] = {
    fact: (kind, tuple(readers), len(readers) - _LATER.get(fact, 0))
    for kind, (fact, readers) in _KINDS.items()
}
