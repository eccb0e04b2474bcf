"""How many faults the suite has injected, and how long and from which seed it looks for them."""

from __future__ import annotations

import os
from collections import Counter

# Faults that were injected in this run, and whose aftermath was checked, by kind.
injected: Counter[str] = Counter()

# How many times as long a search takes as in `make test`.
ROUNDS = int(os.environ.get("DASKQUEUE_CRASH_ROUNDS", "1"))

_SEED = os.environ.get("DASKQUEUE_CRASH_SEED")


def seeds(count: int) -> list[int]:
    """Return the seeds of a random search: *count* of them, or the one that DASKQUEUE_CRASH_SEED names."""
    return [int(_SEED)] if _SEED else list(range(count * ROUNDS))
