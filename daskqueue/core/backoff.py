"""How long a message waits before its next try."""

from __future__ import annotations


def backoff(attempt: int, base: float, cap: float, jitter: float) -> float:
    """Return the delay after a failed attempt: doubled each time, bounded, spread over its upper half.

    Args:
        attempt: number of the attempt that failed, from 1.
        base: delay after the first attempt, in seconds.
        cap: longest delay, in seconds.
        jitter: random number in [0, 1).
    """
    doubled = base * 2.0 ** min(
        attempt - 1, 60
    )  # further on the float would overflow, and the cap holds anyway
    return min(cap, doubled) * (1.0 + jitter) / 2.0
