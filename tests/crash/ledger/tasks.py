"""What the clients of the play submit: a task that writes down that it began and how it ended."""

from __future__ import annotations

import os
import threading

from daskqueue import current

from .lines import Ledger

FOLDER = "DASKQUEUE_LEDGERS"
RETRIES = 2

_lock = threading.Lock()
_ledgers: dict[int, Ledger] = {}


def fails(name: str, attempt: int) -> bool:
    """Return whether an attempt raises: the first one of every eighth message, and all of every fiftieth."""
    number = sum(name.encode())
    return number % 50 == 7 or (number % 8 == 3 and attempt == 1)


def work(name: str) -> str:
    """Do nothing, and say so.

    Raises:
        ValueError: this attempt was meant to fail.
    """
    ledger, message = _ledger(), current()
    ledger.say("began", message.id, name, message.attempt, message.deliveries)
    bad = fails(name, message.attempt)
    ledger.say("ended", message.id, name, message.deliveries, "raised" if bad else "returned")
    if bad:
        raise ValueError(f"no {name}")
    return f"done {name}"


def _ledger() -> Ledger:
    """Return the ledger of this process; a fork has one of its own."""
    with _lock:
        if os.getpid() not in _ledgers:
            _ledgers[os.getpid()] = Ledger(os.environ[FOLDER], "tasks")
        return _ledgers[os.getpid()]
