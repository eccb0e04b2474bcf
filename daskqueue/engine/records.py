"""The frames that a queue writes: a fact and the bytes it is about."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from daskqueue.core.encode import decode, encode
from daskqueue.core.facts import Fact
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
    """Return the fact of a frame (None for a kind this version does not know) and its attachment."""
    (length,) = _LENGTH.unpack_from(frame.payload)
    end = _LENGTH.size + length
    return decode(frame.kind, frame.payload[_LENGTH.size : end]), frame.payload[end:]


def witness_bytes(witness: Witness) -> bytes:
    """Return the attachment of an Acked fact."""
    return _WITNESS.pack(*witness.needs, *witness.synced)


def position_bytes(position: Position) -> bytes:
    """Return the attachment of a Carried fact: how much of the results was whole at that time."""
    return _POSITION.pack(*position)


def read_position(attachment: memoryview) -> Position:
    """Return what :func:`position_bytes` made."""
    return Position(*_POSITION.unpack_from(attachment))


def read_witness(attachment: memoryview) -> Witness | None:
    """Return what :func:`witness_bytes` made; None for an ack that kept no results."""
    if not len(attachment):
        return None
    fields = _WITNESS.unpack_from(attachment)
    return Witness(Position(*fields[:2]), Position(*fields[2:]))


def outcome_frame(outcome: Outcome) -> tuple[int, list[Buffer]]:
    """Return the frame of an outcome for the results' log."""
    head = _pack([outcome.state, outcome.pool, outcome.consumer, outcome.runs, outcome.reason, outcome.at])
    return OUTCOME, [_LENGTH.pack(len(head)), head, outcome.blob]


def read_outcome(frame: Frame) -> Outcome:
    """Return what :func:`outcome_frame` wrote."""
    (length,) = _LENGTH.unpack_from(frame.payload)
    end = _LENGTH.size + length
    state, pool, consumer, runs, reason, *later = msgpack.unpackb(frame.payload[_LENGTH.size : end])
    kept = tuple(Run(*run) for run in runs)
    return Outcome(state, pool, consumer, kept, frame.payload[end:], reason, later[0] if later else 0.0)


def moved_attachment(batches: bytes, failures: bytes) -> list[Buffer]:
    """Return the attachment of a Moved fact: record batches end to end, then the failures of dead letters."""
    return [_LENGTH.pack(len(batches)), batches, failures]


def read_moved(attachment: memoryview) -> tuple[memoryview, memoryview]:
    """Return the two parts of what :func:`moved_attachment` made."""
    (length,) = _LENGTH.unpack_from(attachment)
    end = _LENGTH.size + length
    return attachment[_LENGTH.size : end], attachment[end:]
