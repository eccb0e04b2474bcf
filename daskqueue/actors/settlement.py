"""What consumers say to queues: plain data on the wire, and who they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from daskqueue.clock import new_name
from daskqueue.message import Run

Pairs = Sequence[Sequence[int]]


class Settlement(NamedTuple):
    """What a consumer says of one lease; every part may be empty.

    ``returned`` and ``raised`` are runs as pairs of numbers; the blobs hold their results and failures in
    order. ``released`` were not started, or are to run again after ``delay`` seconds. ``crashed`` killed the
    process that ran them, ``stopped`` ended because their cancel was asked for. With ``late`` they were acked
    before they ran.
    """

    lease: int
    epoch: int
    returned: Pairs = ()
    results: bytes | None = None
    raised: Pairs = ()
    failures: bytes = b""
    reason: str = ""
    final: bool = False
    released: Pairs = ()
    late: bool = False
    delay: float = 0.0
    crashed: Pairs = ()
    stopped: Pairs = ()


def consumer_id(name: str, address: str) -> str:
    """Return what a consumer calls itself: its name, a random part, and its worker's address."""
    return f"{name}#{new_name()}@{address}"


def name_of(consumer: str) -> str:
    """Return the name in what :func:`consumer_id` made."""
    return consumer.rpartition("@")[0].rpartition("#")[0]


def address_of(consumer: str) -> str:
    """Return the worker's address in what :func:`consumer_id` made."""
    return consumer.rpartition("@")[2]


def to_runs(pairs: Pairs) -> tuple[Run, ...]:
    """Return pairs of numbers as runs."""
    return tuple(Run(pair[0], pair[1]) for pair in pairs)


def to_pairs(runs: Sequence[Run]) -> list[tuple[int, int]]:
    """Return runs as plain pairs of numbers."""
    return [(run.first, run.last) for run in runs]


def runs_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return sorted numbers as pairs of first and one past the last."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs
