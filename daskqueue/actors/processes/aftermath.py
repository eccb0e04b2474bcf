"""What becomes of a dead child's messages."""

from __future__ import annotations

import logging

from daskqueue.actors.processes.crew import Child
from daskqueue.actors.processes.dealer import Dealer, Portion
from daskqueue.actors.processes.death import examine
from daskqueue.actors.processes.memory import Glance
from daskqueue.actors.processes.work import ProcessWork
from daskqueue.actors.settlement import Settlement
from daskqueue.actors.work import Crashed, Raised
from daskqueue.errors import JobFailedError, TaskTimeoutError

logger = logging.getLogger(__name__)


class Aftermath:
    """Settles portions whose child has died, and puts back what has not begun.

    Args:
        dealer: deals again what is put back.
        name: the consumer's name.
        late: whether messages were acked before they ran.

    Attributes:
        stopping: whether nothing is to be begun any more; what is left is then released with its slice.
    """

    def __init__(self, dealer: Dealer, name: str, *, late: bool) -> None:
        self.stopping = False
        self._dealer = dealer
        self._name = name
        self._late = late

    def settle(self, portion: Portion, child: Child, overdue: Glance | None) -> None:
        """Say how the last message of a dead child ended, and put back what it had not begun.

        Args:
            portion: what it had.
            child: the dead one.
            overdue: what it was seen doing for too long, if it was killed for that.
        """
        work, first = portion.work, portion.next
        glance = child.memory.read()
        found = examine(glance, portion.number, portion.ended, portion.end - portion.start)
        unheard = portion.start + found.unheard
        if self._late:
            work.report_values(first, [_lost(child)] * (unheard - first), late=True)
        else:
            self._dealer.put_back(work, first, unheard)
        # One by one they will show which it is.
        work.alone = work.alone or (found.hidden and overdue is None)
        if found.culprit is not None:
            index = portion.start + found.culprit
            if overdue is None:
                self._crash(work, index, child)
            elif overdue == glance:
                self._time_out(work, index)
            else:
                self._dealer.put_back(work, index, index + 1)
        self.put_back(portion, portion.start + found.rest)

    def put_back(self, portion: Portion, index: int) -> None:
        """Run what a child has not begun of a portion elsewhere; or give it back, if it was asked for."""
        work, end = portion.work, portion.end
        if index >= end or self.stopping:
            return
        if portion.withdrawn:
            released = [(work.first + index, work.first + end)]
            work.report(end - index, [Settlement(*work.receipt, released=released)], [])
        else:
            self._dealer.put_back(work, index, end)

    def _crash(self, work: ProcessWork, index: int, child: Child) -> None:
        number = work.base_id + work.first + index
        logger.warning("%s: a child process %s while it ran job %d", self._name, child.fate, number)
        work.report_values(index, [_lost(child) if self._late else Crashed(child.fate)], late=self._late)

    def _time_out(self, work: ProcessWork, index: int) -> None:
        seconds = work.stretch(index)[1]
        error = TaskTimeoutError(f"the attempt took longer than its timeout of {seconds:g} s")
        work.report_values(index, [Raised(error)], late=self._late)


def _lost(child: Child) -> Raised:
    return Raised(JobFailedError(f"the process that ran it {child.fate}, and it was acked before it ran"))
