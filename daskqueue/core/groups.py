"""Which message of a group may run: one at a time, in order of their sequences."""

from __future__ import annotations

from daskqueue.core.runs import RunMap


class Line:
    """The messages of one group that have not come to an end, and the one of them that is leased."""

    __slots__ = ("running", "runs")

    def __init__(self) -> None:
        self.runs: RunMap[bool] = RunMap()
        self.running: int | None = None

    @property
    def turn(self) -> int:
        """Whose turn it is: that of the leased one until it comes back or ends, else that of the first."""
        return next(iter(self.runs))[0] if self.running is None else self.running


class Groups:
    """A line for each group that has messages.

    Whose turn it is follows from who is in line and who is leased, and from nothing that was before. So it is
    the same after any replay.
    """

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}

    def join(self, group: str, first: int, last: int) -> None:
        """Put a run into a group's line; what is there already stays."""
        line = self.lines.setdefault(group, Line())
        line.runs.take(first, last)
        line.runs.add(first, last, True)

    def start(self, group: str, sequence: int) -> None:
        """Note that a message in the line is leased."""
        if group in self.lines:
            self.lines[group].running = sequence

    def rest(self, group: str, first: int, last: int) -> None:
        """Note that no message of the run is leased any more; they stay in the line."""
        line = self.lines.get(group)
        if line is not None and line.running is not None and first <= line.running < last:
            line.running = None

    def leave(self, group: str, first: int, last: int) -> None:
        """Take a run out of the line."""
        line = self.lines.get(group)
        if line is None:
            return
        self.rest(group, first, last)
        line.runs.take(first, last)
        if not line.runs.count:
            del self.lines[group]

    def turn(self, group: str) -> int | None:
        """Return the sequence whose turn it is, None for a group without messages."""
        line = self.lines.get(group)
        return None if line is None else line.turn
