"""The table of times that a run ends with."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Time:
    """One row: what took how long, what was aimed at, and how it was measured."""

    what: str
    seconds: float
    aim: float | None
    note: str

    @property
    def row(self):
        """The cells of the row as text."""
        aim = "" if self.aim is None else f"< {self.aim:g} s"
        verdict = "" if self.aim is None else "met" if self.seconds < self.aim else "MISSED"
        return [self.what, f"{self.seconds:.1f} s", aim, verdict, self.note]


class Times:
    """Collects times; a missed aim is shown, never hidden, and fails nothing."""

    def __init__(self):
        self.rows = []

    def add(self, what, seconds, aim=None, note=""):
        """Note how long something took, in seconds."""
        self.rows.append(Time(what, seconds, aim, note))

    @contextmanager
    def measure(self, what, aim=None, note=""):
        """Note how long the block takes."""
        began_at = time.monotonic()
        yield
        self.add(what, time.monotonic() - began_at, aim, note)

    def table(self):
        """Return the table as Markdown, columns aligned."""
        rows = [["what", "took", "aim", "", "note"], *(time.row for time in self.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in rows
        ]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join(lines)
