"""The values users hand over and get back, and the numbers that name them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

QUEUE_BITS = 12
INCARNATION_BITS = 9
SEQUENCE_BITS = 40
MAX_QUEUES = (1 << QUEUE_BITS) - 1  # the all-ones number stays free, so no id is 2**61-1, which hashes to 0


class Run(NamedTuple):
    """The messages of one queue with sequences ``first <= sequence < last``."""

    first: int
    last: int

    @property
    def count(self) -> int:  # type: ignore[override]  # a run is no collection of values to be counted
        """How many messages it has."""
        return self.last - self.first


class MessageId(NamedTuple):
    """Where a message lives: its queue's number, the queue's incarnation, its sequence there."""

    queue: int
    incarnation: int
    sequence: int


def pack_id(queue: int, incarnation: int, sequence: int) -> int:
    """Return the 61-bit number of a message; it is its own hash."""
    return ((queue << INCARNATION_BITS) | incarnation) << SEQUENCE_BITS | sequence


def unpack_id(number: int) -> MessageId:
    """Return the parts of a number made by :func:`pack_id`."""
    sequence = number & ((1 << SEQUENCE_BITS) - 1)
    rest = number >> SEQUENCE_BITS
    return MessageId(rest >> INCARNATION_BITS, rest & ((1 << INCARNATION_BITS) - 1), sequence)


class Durability(enum.Enum):
    """Where a queue keeps its messages."""

    TRANSIENT = "transient"
    DURABLE = "durable"

    @classmethod
    def parse(cls, value: Durability | str) -> Durability:
        """Return the member that *value* is or names, in small or capital letters.

        Raises:
            ValueError: no such durability; the message names the choices.
        """
        if isinstance(value, cls):
            return value
        for member in cls:
            if isinstance(value, str) and value.lower() == member.value:
                return member
        choices = ", ".join(repr(member.value) for member in cls)
        raise ValueError(f"unknown durability {value!r}; choose one of {choices}, or Durability.<NAME>")


class Call(NamedTuple):
    """A function with the arguments it is to be called with."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}


def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Call:
    """Return one call for ``batch_submit``, with keyword arguments of its own."""
    return Call(function, args, kwargs)


@dataclass(frozen=True, slots=True)
class Message:
    """One submitted call as a consumer sees it; its hash is its number in ``results()``."""

    id: int
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return self.id

    def run(self) -> Any:
        """Call the function and return what it returns."""
        return self.function(*self.args, **self.kwargs)
