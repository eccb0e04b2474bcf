"""What conditions are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.observe import Observed
from daskqueue_operator.plan import Action


@dataclass(frozen=True)
class Failure:
    """Something that the API server refused, or that stood in the way.

    Args:
        reason: one word.
        message: a sentence.
    """

    reason: str
    message: str


@dataclass(frozen=True)
class Scaling:
    """What the scaling of the consumers said last.

    Args:
        active: it works; False while it holds the number.
        reason: one word.
        message: a sentence.
        desired: how many consumers it wants.
        paused: a shard hands out nothing because somebody said so.
    """

    active: bool
    reason: str
    message: str
    desired: int
    paused: bool = False


@dataclass(frozen=True)
class View:
    """A DaskQueue, what is there of it, and what was done about it.

    Args:
        queue: the DaskQueue.
        observed: what is there.
        shards: how many shards run.
        actions: what the last plan had to do.
        failure: why a part of it could not be done.
        scaling: what the scaling said; None before its first word.
        now: the time, with its zone.
    """

    queue: DaskQueue
    observed: Observed
    shards: int
    now: datetime
    actions: Sequence[Action] = ()
    failure: Failure | None = None
    scaling: Scaling | None = None
