"""Rubbish with a right checksum: bytes that were changed, and facts that no queue ever wrote."""

from __future__ import annotations

import struct

import msgpack

from daskqueue.batch import Batch, encode_calls, encode_items
from daskqueue.core import facts
from daskqueue.core.encode import encode
from daskqueue.core.runs import merge
from daskqueue.message import Terms
from daskqueue.results import encode_results

EXTREMES = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
CONSUMERS = ("carol", "dave")
REACH = 30  # messages that the facts are about


def changed(rng, data):
    """Return bytes that differ from *data* in a few places, or in length."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data = rng.choice((_flip, _cut, _splice, _overwrite, _overwrite))(rng, data)
    return data


def _flip(rng, data):
    if not data:
        return rng.randbytes(3)
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _cut(rng, data):
    return data[: rng.randrange(len(data) + 1)]


def _splice(rng, data):
    """Put a part of the bytes elsewhere."""
    first, last, place = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:first] + data[last:place] + data[first:last] + data[place:]


def _overwrite(rng, data):
    """Set what may be a length to something extreme."""
    width = rng.choice(tuple(WIDTHS))
    if len(data) < width:
        return data + bytes(width)
    place = rng.randrange(len(data) - width + 1)
    value = rng.choice(EXTREMES) & (1 << 8 * width) - 1
    order = rng.choice("<>")
    return data[:place] + struct.pack(order + WIDTHS[width], value) + data[place + width :]


def any_value(rng, depth=3):
    """Return anything that msgpack can carry."""
    if depth and rng.random() < 0.4:
        return [any_value(rng, depth - 1) for _ in range(rng.randrange(6))]
    return rng.choice(
        (
            None, True, -1, *EXTREMES[:-1], (1 << 64) - 1, float("nan"), float("inf"), -0.5, "text", "", b"bytes",
            {"a": 1}, msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2), [0, 5], [5, 0], [[3, 4], [1, 9]],
        )
    )  # fmt: skip


def bend(rng, rows):
    """Change one thing, somewhere in nested lists: a number by a little, or anything into anything."""
    place = rows
    while True:
        index = rng.randrange(len(place))
        if not (isinstance(place[index], list) and place[index]) or rng.random() < 0.15:
            break
        place = place[index]
    if type(place[index]) is int and abs(place[index]) < 1 << 62 and rng.random() < 0.7:
        place[index] += rng.choice((-4, -1, 1, 2, 5))
    else:
        place[index] = any_value(rng)


def any_fact(rng):
    """Return a fact that can be written, in no relation to what a queue holds."""
    return rng.choice(_MAKERS)(rng)


def bent(rng, fact):
    """Return the kind and the bytes of a fact one field of which is anything at all."""
    kind, data = encode(fact)
    values = msgpack.unpackb(data)
    for _ in range(rng.choice((1, 1, 2))):
        bend(rng, values)
    return kind, msgpack.packb(values[: rng.choice((len(values), len(values), rng.randrange(9)))])


def runs(rng):
    """Return up to three runs."""
    found, at = [], rng.randrange(REACH)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        found.append((at, at + rng.choice((1, 1, 2, 5))))
        at = found[-1][1] + rng.choice((0, 1, 3))
    return merge(found)


def _terms(rng):
    return Terms(
        rng.choice((0, 0, 3, -2)),
        rng.choice((None, 5.0, 50.0)),
        rng.choice(("", "g", "g", "h")),
        rng.choice(("", "", "k", "l")),
        rng.choice((0.0, 9.0)),
    )


def _maybe(rng, value):
    return value if rng.random() < 0.5 else None


def _lease(rng):
    return rng.randrange(1, 6)


def _tally(rng):
    return (rng.randrange(3), rng.randrange(3), rng.randrange(3))


def _enqueued(rng):
    terms = _maybe(rng, _terms(rng))
    count = 1 if terms and terms.key else rng.choice((1, 3, 8))
    first, producer = rng.randrange(REACH), rng.choice((b"p", b"q"))
    due_at = _maybe(rng, rng.choice((1.0, 99.0)))
    return facts.Enqueued(first, count, producer, rng.randrange(8), rng.randrange(3), due_at, terms)


def _leased(rng):
    numbers = _lease(rng), rng.randrange(4)
    return facts.Leased(*numbers, rng.choice(CONSUMERS), "pool", rng.randrange(3), runs(rng), 5.0, 1)


def _moved(rng):
    ready, delayed, dead = [], [], []
    at = first = rng.randrange(REACH)
    for _ in range(rng.choice((1, 2, 4))):
        since, at = at, at + rng.choice((1, 2, 4))
        row = (since, at, *_tally(rng))
        rows, last = rng.choice(((ready, ()), (delayed, (rng.choice((1.0, 99.0)),)), (dead, ("raised",))))
        rows.append(row + last)
    died_at = tuple((*run, 1.5) for run in runs(rng)) if rng.random() < 0.5 else ()
    terms = tuple((*run, *_terms(rng)) for run in runs(rng)) if rng.random() < 0.5 else ()
    notes = tuple((rng.randrange(first, at + 2), b"note") for _ in range(rng.randrange(3)))
    return facts.Moved(tuple(ready), tuple(delayed), tuple(dead), terms, notes, died_at)


def _carried(rng):
    producers = ((b"p", ((0, 2), (4, 5)), ((1, 2, 3),)),)
    counters = tuple(range(rng.randrange(20)))
    numbers = rng.randrange(40), rng.randrange(5), rng.randrange(9)
    return facts.Carried(
        *numbers, False, counters, (("x", 2),), producers, (("k", rng.randrange(REACH), 9.0),)
    )


_MAKERS = (
    _enqueued,
    _enqueued,
    _enqueued,
    _leased,
    _leased,
    _moved,
    _moved,
    _carried,
    lambda rng: facts.Acked(_lease(rng), runs(rng), _maybe(rng, 3.0)),
    lambda rng: facts.Retried(_lease(rng), runs(rng), _maybe(rng, 7.0)),
    lambda rng: facts.Released(_lease(rng), runs(rng), _maybe(rng, 7.0)),
    lambda rng: facts.LeaseLost(_lease(rng), rng.choice((runs(rng), ())), "expired"),
    lambda rng: facts.Died(_lease(rng), runs(rng), "raised", rng.random() < 0.5, _maybe(rng, 3.0)),
    lambda rng: facts.Cancelled(runs(rng), _maybe(rng, 3.0)),
    lambda rng: facts.Purged(runs(rng)),
    lambda rng: facts.Redriven(runs(rng)),
    lambda rng: facts.Discarded(runs(rng)),
    lambda rng: facts.Paused(rng.random() < 0.5),
    lambda rng: facts.Restarted(rng.randrange(9), 30.0),
    lambda rng: facts.Matched(rng.randrange(REACH), b"p", rng.randrange(8)),
    lambda rng: facts.Dropped(runs(rng), rng.choice(("expired", "displaced"))),
    lambda rng: facts.CancelAsked(runs(rng)),
    lambda rng: facts.Progressed(rng.randrange(REACH), b"note"),
)


def note(*_args):
    """Stand in a batch as a function."""


BATCHES = {
    "calls": encode_calls([(note, 1), (len, "x"), (note, 2), (lambda: 1,)]),
    "keywords": encode_calls([(note, 1)], {"a": 1}),
    "equal": encode_calls([(note,)] * 300),
    "foreign": encode_calls([(note, complex(1)), (len, complex(2))]),
    "items": encode_items([1, complex(2), "three"]),
    "large": encode_items([bytearray(2 << 20), 1]),
    "results": encode_results([1, 2, object()])[0],
}


def use(batch, rng):
    """Do all that a queue does with a record batch."""
    first, last = sorted(rng.randrange(min(batch.count, 1 << 40) + 1) for _ in range(2))
    part = Batch.parse(batch.slice(first, last))
    assert part.count == last - first
    assert all(isinstance(name, str) for name in batch.function_names)


def attempt(read, *expected):
    """Return what *read* returns, or None where it raises one of the expected errors."""
    try:
        return read()
    except expected:
        return None
