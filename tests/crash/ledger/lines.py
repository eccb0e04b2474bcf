"""Ledgers: each process appends what it does to a file of its own, a line at a time, so that a kill loses nothing.

A line is a JSON array: the moment (nanoseconds of the machine's monotonic clock, the same for all processes),
what happened, and its particulars. A moment is taken *before* what a line announces (``submitting``) and *after*
what it reports (``answered``), so two lines of different processes that are in order by their moments happened in
that order.

| what | particulars | written by |
|---|---|---|
| submitting | name, group | a client, before the call |
| answered | name, id | a client, when the call has returned |
| refused | name, error | a client: the call raised, the message may be there or not |
| began | id, name, attempt, deliveries | a task, first of all |
| ended | id, name, deliveries, how | a task, last of all: ``returned`` or ``raised`` |
| settled | id, status, maybe value | whoever was told by the queue that the message has come to its end |
| final | id, status, value | at the very end: its status, and its result or error as text |
| rest | count | at the very end: how many messages still wait or run |
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

SUFFIX = ".ledger"


class Line(NamedTuple):
    """What happened when, with its particulars."""

    at: int
    what: str
    particulars: tuple[Any, ...]


class Ledger:
    """The ledger of this process, in a folder where others have theirs; many threads may write."""

    def __init__(self, folder: Path | str, who: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._handle = os.open(Path(folder) / f"{who}-{os.getpid()}{SUFFIX}", flags, 0o600)

    def say(self, what: str, *particulars: Any) -> None:
        """Write one line; when this returns it outlives the process."""
        line = json.dumps([time.monotonic_ns(), what, *particulars]) + "\n"
        os.write(self._handle, line.encode())


def read(folder: Path | str) -> list[Line]:
    """Return the lines of all ledgers in a folder, in the order of time."""
    lines = []
    for path in Path(folder).glob(f"*{SUFFIX}"):
        for text in path.read_text().splitlines():
            at, what, *particulars = json.loads(text)
            lines.append(Line(at, what, tuple(particulars)))
    return sorted(lines, key=lambda line: line.at)
