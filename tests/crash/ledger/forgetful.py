"""Faults planted into a queue, for the ledgers to find: an opening that forgets some of what the log says."""

from __future__ import annotations

import os
import signal
from typing import Any

from daskqueue.core import facts
from daskqueue.engine import recovery

from . import engine_life
from .lines import Ledger

# What a life tells once a fact of a kind is in the log: the word, and the last particular if that matters.
TOLD = {
    "Enqueued": ("answered", None),
    "Leased": ("began", None),
    "Acked": ("settled", "finished"),
    "Died": ("settled", "error"),
}


def live(kind: str, forgets: str, folder: str, ledgers: str, name: str, seed: str) -> None:
    """Live as :func:`engine_life.live` does, and be killed once it has told what rests on a fact of *kind*."""
    _forget(forgets)
    _fall_after(*TOLD[kind])
    engine_life.live(folder, ledgers, name, seed)


def end(forgets: str, folder: str, ledgers: str, name: str, seed: str) -> None:
    """End as :func:`engine_life.end` does."""
    _forget(forgets)
    engine_life.end(folder, ledgers, name, seed)


def _forget(kind: str) -> None:
    """Have openings forget all facts of a kind since the checkpoint; of none if it is empty."""
    if not kind:
        return
    forgotten, original = getattr(facts, kind), recovery.read_fact

    def read_fact(frame: Any) -> Any:
        fact, attachment = original(frame)
        return (None if isinstance(fact, forgotten) else fact), attachment

    recovery.read_fact = read_fact


def _fall_after(word: str, last: str | None) -> None:
    """Kill this process right after it has told something, before anything else can happen in it."""
    original = Ledger.say

    def say(self: Ledger, what: str, *particulars: Any) -> None:
        original(self, what, *particulars)
        if what == word and last in (None, particulars[-1]):
            os.kill(os.getpid(), signal.SIGKILL)

    Ledger.say = say  # type: ignore[method-assign]
