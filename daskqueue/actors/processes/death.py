"""What is known of a portion when its child has died: which messages ended, which one ran, which did not begin."""

from __future__ import annotations

from typing import NamedTuple

from daskqueue.actors.processes.memory import Glance


class Findings(NamedTuple):
    """Messages of a portion, by their index in it.

    Attributes:
        unheard: those from the first of which nothing was heard up to here ended, and nobody knows how.
        culprit: the one that ran, None if none did.
        hidden: whether one of those that follow ended the process before it began, and it is not known which.
    """

    unheard: int
    culprit: int | None
    hidden: bool

    @property
    def rest(self) -> int:
        """The first that did not begin."""
        return self.unheard if self.culprit is None else self.culprit + 1


def examine(glance: Glance, number: int, heard: int, count: int) -> Findings:
    """Return what the shared memory says of a portion whose child has died.

    Args:
        glance: what the child was doing last.
        number: of the portion.
        heard: how many of its messages are known to have ended.
        count: how many it has.
    """
    if glance.portion != number:
        return Findings(heard, None, False)
    if glance.index is not None and glance.index >= heard:
        return Findings(glance.index, glance.index, False)
    if count - heard == 1:
        # It died where it loaded the only one that is left, or kept its result.
        return Findings(heard, heard, False)
    return Findings(heard, None, heard < count)
