"""The end of the play: nothing waits or runs any more, and everything that was ever put says how it ended."""

from __future__ import annotations

from daskqueue import Job, QueuePool

from .lines import Ledger, read


def fall(pool: QueuePool, ledgers: str, seconds: float) -> None:
    """Wait for the end of all messages that the ledgers name, and write down how each ended.

    Args:
        pool: where they were put.
        ledgers: folder of the ledgers.
        seconds: how long it may take until nothing waits or runs.
    """
    ledger = Ledger(ledgers, "curtain")
    numbers = _numbers(ledgers)
    pool.drain(timeout=seconds)
    values = pool.gather([Job(pool, number) for number in numbers], timeout=seconds, errors="return")
    for number, value in zip(numbers, values, strict=True):
        ledger.say("final", number, "error" if isinstance(value, Exception) else "finished", str(value))
    counts = pool.stats().total["messages"]
    ledger.say("rest", sum(counts[state] for state in ("ready", "delayed", "leased")))


def _numbers(ledgers: str) -> list[int]:
    found = set()
    for line in read(ledgers):
        if line.what == "began":
            found.add(line.particulars[0])
        elif line.what == "answered":
            found.add(line.particulars[1])
    return sorted(found)
