"""How long the messages of a child process may still take."""

from __future__ import annotations

from collections.abc import Iterator

from daskqueue.actors.processes.dealer import Portion
from daskqueue.actors.processes.memory import Glance
from daskqueue.clock import ticks

# A coroutine ends itself in time; whatever still runs this long after its time-out is killed with its child.
KILL_SECONDS = 0.1


def seconds_left(portion: Portion, glance: Glance) -> Iterator[float]:
    """Yield when to look again: when the message that runs has taken too long, and the next one could have.

    Args:
        portion: what a child has been given.
        glance: what it was doing last.
    """
    if glance.portion == portion.number and glance.index is not None:
        seconds = portion.work.stretch(portion.start + glance.index)[1]
        if seconds is not None:
            yield glance.began_at + seconds + KILL_SECONDS - ticks()
    index, bounds = portion.next, []
    while index < portion.end:
        index, seconds = portion.work.stretch(index)
        if seconds is not None:
            bounds.append(seconds)
    if bounds:
        yield min(bounds)
