"""Faults planted into a queue, for the ledgers to find: an opening that forgets some of what the log says."""

from __future__ import annotations

from typing import Any

from daskqueue.core import facts
from daskqueue.engine import recovery

from . import engine_life


def live(kind: str, folder: str, ledgers: str, name: str, seed: str) -> None:
    """Live as :func:`engine_life.live` does, but forget at the opening all facts of a kind since the checkpoint."""
    original = recovery.read_fact

    def read_fact(frame: Any) -> Any:
        fact, attachment = original(frame)
        return (None if isinstance(fact, getattr(facts, kind)) else fact), attachment

    recovery.read_fact = read_fact
    engine_life.live(folder, ledgers, name, seed)
