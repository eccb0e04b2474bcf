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


class Terms(NamedTuple):
    """What was chosen for a message beside its retries; all of these have no cost while they are the default.

    Attributes:
        priority: larger is sooner.
        expires_at: when it is dropped if it has not begun to run, in epoch seconds.
        group: its messages run one at a time and in order.
        key: while this message is pending, and *key_seconds* after its end, a put with the same key is this one.
        key_seconds: see *key*.
        timeout_seconds: the longest that one attempt may take.
        backoff_seconds: pause before the first retry; None is the queue's setting.
        backoff_max_seconds: the longest pause before a retry; None is the queue's setting.
        retry_on: names ``module.qualname`` of the only exception types that are retried; empty is all.
        no_retry_on: names of those that are not.
    """

    priority: int = 0
    expires_at: float | None = None
    group: str = ""
    key: str = ""
    key_seconds: float = 0.0
    timeout_seconds: float | None = None
    backoff_seconds: float | None = None
    backoff_max_seconds: float | None = None
    retry_on: tuple[str, ...] = ()
    no_retry_on: tuple[str, ...] = ()


PLAIN = Terms()


class PutOptions(NamedTuple):
    """How a record batch is put.

    Attributes:
        retries: how often a message that raised is run again.
        delay: seconds before the messages are ready.
        not_before: epoch seconds before which they are not ready.
        expires: seconds after which they are dropped if they have not begun to run.
        drop_oldest: make room in a full queue by dropping what waits longest.
        terms: what else was chosen.
    """

    retries: int = 0
    delay: float = 0.0
    not_before: float | None = None
    expires: float | None = None
    drop_oldest: bool = False
    terms: Terms = PLAIN


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
