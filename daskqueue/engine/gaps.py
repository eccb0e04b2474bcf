"""Sequences that damaged records have given away: found out from what follows them, and never given again.

A put whose record is damaged was answered, perhaps. What follows in the log tells which numbers it had: the next
put begins behind them, and so does the next segment. Those messages become dead letters, so that nobody waits
for them in vain. Where nothing follows, it is not known how many there were: then numbers are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from daskqueue.core.apply import apply
from daskqueue.core.commands import Move
from daskqueue.core.decide import decide
from daskqueue.core.facts import Carried, Died, Enqueued, Fact, Moved
from daskqueue.core.queue import Queue
from daskqueue.core.readers import END
from daskqueue.core.runs import Runs, merge
from daskqueue.message import Run
from daskqueue.storage.log import RecoveryReport

# How many numbers are left out behind damage that nothing explains: more than one put ever has.
SKIPPED = 1 << 28
DAMAGED = "damaged"


class Gaps:
    """Watches a replay.

    Args:
        queue: the state, as far as it is replayed.
        report: what the replay met.
        floor: no message before this sequence is in the log; it has gone with older segments.
    """

    def __init__(self, queue: Queue, report: RecoveryReport, floor: int) -> None:
        self._queue = queue
        self._report = report
        self._explained = len(report.damaged)
        self._runs: list[Run] = []
        queue.next_sequence = max(queue.next_sequence, floor)

    def before(self, fact: Fact) -> None:
        """Bring the messages into being that must have been put before *fact* was written."""
        if not self._report.damaged:
            return  # as ever, and replay is to be fast
        if isinstance(fact, Enqueued | Carried):
            self._reach(fact.first if isinstance(fact, Enqueued) else fact.next_sequence)
            self._explained = len(self._report.damaged)
        elif runs := getattr(fact, "runs", ()):
            self._reach(runs[-1].last)  # perhaps not all that were put with these

    def close(self) -> None:
        """Leave out numbers if the last damaged records may have given them away."""
        room = END - self._queue.next_sequence
        if len(self._report.damaged) > self._explained and room > 2 * SKIPPED:
            self._queue.next_sequence += SKIPPED

    @property
    def lost(self) -> Runs:
        """The messages that were brought into being, and of which nothing more was heard."""
        ready = self._queue.ready
        return merge([piece[:2] for run in self._runs for piece in ready.pieces(*run)])

    def _reach(self, sequence: int) -> None:
        first = self._queue.next_sequence
        if first < sequence < first + SKIPPED:
            self._runs.append(Run(first, sequence))
            apply(self._queue, Moved(((first, sequence, 0, 0, 0),), (), ()))


def burial(queue: Queue, lost: Runs, now: float) -> Iterator[Fact]:
    """Yield the facts that make dead letters of lost messages; each is to be entered before the next is taken."""
    for run in lost:
        yield from decide(queue, Move(run), now)[1]
    if lost:
        yield Died(0, lost, DAMAGED, lost=False, at=now)
