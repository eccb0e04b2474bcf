"""The frames that a queue writes: a fact and the bytes it is about."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from daskqueue.core import readers
from daskqueue.core.encode import decode, encode, is_known
from daskqueue.core.facts import Enqueued, Fact, Moved
from daskqueue.core.runs import Runs, merge
from daskqueue.engine.large import read_reference
from daskqueue.errors import BatchError, CorruptionError
from daskqueue.layout import declared
from daskqueue.message import Run
from daskqueue.storage.frame import Buffer, Frame
from daskqueue.storage.log import Position

# packb makes a packer, with 256 KiB of memory, for every call.
_pack: Callable[[Any], bytes] = msgpack.Packer().pack
_LENGTH = struct.Struct("<I")
_WITNESS = struct.Struct("<QQQQ")
_POSITION = struct.Struct("<QQ")
OUTCOME = 200

RETURNED = "returned"
FAILED = "failed"
CANCELLED = "cancelled"
# What is said of a message that is done, and of which nothing is kept ...
LOST = "lost"
# ... any more, or never was.
UNKEPT = "unkept"


class Witness(NamedTuple):
    """What an Acked fact says of the results that were written before it.

    ``needs`` is where they end in the results' log, ``synced`` how much of that log was durable by then.
    """

    needs: Position
    synced: Position


class Outcome(NamedTuple):
    """How some messages ended: ``blob`` holds a value or failure for each sequence of ``runs``, in order.

    It is empty when nothing was kept: cancelled messages, and those whose process died (see ``reason``).
    ``at`` is when it was written, 0 where that is not known.
    """

    state: str
    pool: str
    consumer: str
    runs: tuple[Run, ...]
    blob: Buffer
    reason: str = ""
    at: float = 0.0


def fact_frame(fact: Fact, *attachment: Buffer) -> tuple[int, list[Buffer]]:
    """Return the frame of a fact for ``Log.append``: its length, the fact, then what it is about."""
    kind, data = encode(fact)
    return kind, [_LENGTH.pack(len(data)), data, *attachment]


def read_fact(frame: Frame) -> tuple[Fact | None, memoryview]:
    """Return the fact of a frame (None for a kind this version does not know) and its attachment.

    Raises:
        CorruptionError: the frame is whole, but what it says makes no sense.
    """
    if not is_known(frame.kind):
        return None, frame.payload  # what a later version means by it is not known
    head, attachment = _split(frame.payload)
    fact = decode(frame.kind, head)
    if type(fact) is Moved and len(moved_runs(fact)) != 1:
        raise CorruptionError("no Moved: it is not about one run")
    return fact, attachment


def check_put(fact: Enqueued, attachment: memoryview) -> None:
    """Return if the record batch beside a fact is one of as many messages, or lies in a file of its own.

    Raises:
        CorruptionError: it is not.
    """
    if read_reference(attachment) is not None:
        return
    try:
        count, _ = declared(attachment)
    except BatchError as error:
        raise CorruptionError(f"beside a put: {error}") from error
    if count != fact.count:
        raise CorruptionError(f"a put of {fact.count} messages with a record batch of {count}")


def moved_runs(fact: Moved) -> Runs:
    """Return the messages that a Moved fact is about."""
    return merge([row[:2] for rows in (fact.ready, fact.delayed, fact.dead) for row in rows])


def _split(payload: memoryview) -> tuple[memoryview, memoryview]:
    """Return the part of a payload whose length stands before it, and what follows it."""
    if len(payload) < _LENGTH.size:
        raise CorruptionError(f"{len(payload)} bytes are too few for a length")
    end = _LENGTH.size + _LENGTH.unpack_from(payload)[0]
    if end > len(payload):
        raise CorruptionError(f"{len(payload)} bytes where there should be {end} or more")
    return payload[_LENGTH.size : end], payload[end:]


def witness_bytes(witness: Witness) -> bytes:
    """Return the attachment of an Acked fact."""
    return _WITNESS.pack(*witness.needs, *witness.synced)


def position_bytes(position: Position) -> bytes:
    """Return the attachment of a Carried fact: how much of the results was whole at that time."""
    return _POSITION.pack(*position)


def read_position(attachment: memoryview) -> Position:
    """Return what :func:`position_bytes` made.

    Raises:
        CorruptionError: it did not make this.
    """
    if len(attachment) < _POSITION.size:
        raise CorruptionError(f"{len(attachment)} bytes are too few for a position")
    return Position(*_POSITION.unpack_from(attachment))


def read_witness(attachment: memoryview) -> Witness | None:
    """Return what :func:`witness_bytes` made; None for an ack that kept no results.

    Raises:
        CorruptionError: it did not make this.
    """
    if not len(attachment):
        return None
    if len(attachment) < _WITNESS.size:
        raise CorruptionError(f"{len(attachment)} bytes are too few for a witness")
    fields = _WITNESS.unpack_from(attachment)
    return Witness(Position(*fields[:2]), Position(*fields[2:]))


def outcome_frame(outcome: Outcome) -> tuple[int, list[Buffer]]:
    """Return the frame of an outcome for the results' log."""
    head = _pack([outcome.state, outcome.pool, outcome.consumer, outcome.runs, outcome.reason, outcome.at])
    return OUTCOME, [_LENGTH.pack(len(head)), head, outcome.blob]


def read_outcome(frame: Frame) -> Outcome:
    """Return what :func:`outcome_frame` wrote.

    Raises:
        CorruptionError: it did not write this.
    """
    head, blob = _split(frame.payload)
    try:
        state, pool, consumer, runs, reason, *later = readers.unpack(head)
        state, pool, consumer, reason = readers.texts((state, pool, consumer, reason))
        at = readers.moment(later[0]) if later else 0.0
        return Outcome(state, pool, consumer, readers.runs(runs), blob, reason, at)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise CorruptionError(f"no outcome: {error}") from error


def moved_attachment(batches: bytes, failures: bytes) -> list[Buffer]:
    """Return the attachment of a Moved fact: record batches end to end, then the failures of dead letters."""
    return [_LENGTH.pack(len(batches)), batches, failures]


def read_moved(attachment: memoryview) -> tuple[memoryview, memoryview]:
    """Return the two parts of what :func:`moved_attachment` made.

    Raises:
        CorruptionError: it did not make this.
    """
    return _split(attachment)
