"""Values with large buffers (arrays): the pickle, and the buffers as they are, each on an aligned place.

Pickle 5 hands out buffers instead of copying them into the pickle, and takes them back as views on whatever
bytes arrived. Arrays on odd addresses are slow and trouble foreign code, hence the alignment.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import Struct, pack, unpack_from
from struct import error as struct_error
from typing import Any

from daskqueue.errors import BatchError

ALIGNMENT = 16  # where the payload of a bytes object of CPython lies, and malloc gives memory
# Smaller ones are copied into their pickle: that costs little, and they can be written to where they arrive.
LARGE_BUFFER_BYTES = 1 << 20

Buffer = bytes | memoryview
Keep = Callable[[pickle.PickleBuffer], bool]

_HEAD = Struct("<II")  # buffers, length of the pickle; the buffers' lengths follow
_ZEROS = bytes(ALIGNMENT)


@dataclass(slots=True)
class Pickled:
    """The pickle of one value, in pieces, and the buffers that belong to it."""

    data: list[Buffer]
    buffers: list[memoryview] = field(default_factory=list)

    @property
    def length(self) -> int:
        """How many bytes it takes, all in all."""
        return sum(map(len, self.data)) + sum(buffer.nbytes for buffer in self.buffers)


def pickled(dump: Callable[[Keep], bytes]) -> Pickled:
    """Return what *dump* makes; it is given the function that pickle calls with each buffer."""
    large: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if view.nbytes < LARGE_BUFFER_BYTES:
            return True
        large.append(view)
        return False

    return Pickled([dump(keep)], large)


def padded(length: int) -> int:
    """Return *length* rounded up to a multiple of the alignment."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def padding(length: int) -> bytes:
    """Return the zeros that follow so many bytes."""
    return _ZEROS[: padded(length) - length]


def join(values: Sequence[Pickled]) -> tuple[list[Buffer], int]:
    """Return the data of a chunk of these values, in pieces, and its length.

    Raises:
        BatchError: one is too large.
    """
    parts = [_value_parts(value) for value in values]
    lengths = [sum(map(len, pieces)) for pieces in parts]
    try:
        head = pack(f"<{len(lengths)}I", *lengths)
    except struct_error:
        raise BatchError("a single value takes 4 GiB or more") from None
    head += padding(len(head))
    return [head, *(piece for pieces in parts for piece in pieces)], len(head) + sum(lengths)


def _value_parts(value: Pickled) -> list[Buffer]:
    lengths = [buffer.nbytes for buffer in value.buffers]
    try:
        head = _HEAD.pack(len(lengths), sum(map(len, value.data))) + pack(f"<{len(lengths)}I", *lengths)
    except struct_error:
        raise BatchError("a single value takes 4 GiB or more") from None
    parts: list[Buffer] = [head, *value.data]
    parts.append(padding(sum(map(len, parts))))
    for buffer in value.buffers:
        parts += [buffer, padding(buffer.nbytes)]
    return parts


def load(data: memoryview, *, own: bool) -> Any:
    """Return a value of a chunk.

    Args:
        data: its bytes, read-only.
        own: whether its buffers are copied, so that they can be written to and keep nothing else alive; else
            they are views on *data*.

    Raises:
        ValueError: the lengths do not fit.
        Exception: whatever unpickling raises.
    """
    count, length = _HEAD.unpack_from(data)
    lengths = unpack_from(f"<{count}I", data, _HEAD.size)
    start = _HEAD.size + 4 * count
    offset = padded(start + length)
    if offset + sum(map(padded, lengths)) != len(data):
        raise ValueError("the lengths of a value's buffers do not fit its data")
    buffers: list[memoryview | bytearray] = []
    for size in lengths:
        view = data[offset : offset + size]
        buffers.append(bytearray(view) if own else view)
        offset += padded(size)
    return pickle.loads(data[start : start + length], buffers=buffers)
