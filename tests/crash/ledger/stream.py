"""Very many messages through one queue with a bounded backlog: a host, a consumer, and a client that never stops."""

from __future__ import annotations

import logging

import dask
from clusters import QUIET

from daskqueue import connect
from daskqueue.cli.main import app

from .lines import Ledger

HOST = "127.0.0.1"
BATCH = 2000
# So many messages are handed over at a time; what they are called with is made on the way.
PART = 100_000
PATIENCE_SECONDS = 120.0


def length(number: int, text: str) -> int:
    """Return how long a text is: a task that does next to nothing, with an argument that takes room."""
    return number + len(text)


def host(*arguments: object) -> None:
    """Be a host as anybody would start it."""
    app(["serve", *map(str, arguments)])


def feed(name: str, port: int, ledgers: str, messages: int, size_bytes: int) -> None:
    """Submit *messages* messages of about *size_bytes*; say how many were answered after each part."""
    dask.config.set(QUIET)
    logging.basicConfig(level="INFO")
    ledger = Ledger(ledgers, "feed")
    with connect(name, f"tcp://{HOST}:{port}", timeout=PATIENCE_SECONDS) as pool:
        for first in range(0, messages, PART):
            last = min(first + PART, messages)
            calls = ((length, number, f"{number:0{size_bytes}d}") for number in range(first, last))
            pool.batch_submit(calls, batch_size=BATCH)
            ledger.say("submitted", last)
        pool.drain(timeout=PATIENCE_SECONDS)
        total = pool.stats().total
        ledger.say("counted", total["counters"], total["messages"])
