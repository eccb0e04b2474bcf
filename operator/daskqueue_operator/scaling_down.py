"""Whom to remove when there are too many consumers, and when: they finish first. Pure; scaler.py does it.

A Deployment is told a number, never whom. Its controller removes pods in an order of its own: those that do not run,
those that are not Ready, then those with the least deletion cost. So the order is made by the costs, and the number
is lowered by as many as stand first in that order and have nothing left to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daskqueue_operator.consumer_pods import Pod
from daskqueue_operator.scrape import ConsumerReading

DRAINING_COST = -1000
DONE_COST = -2000

Readings = Mapping[str, ConsumerReading | None]


@dataclass(frozen=True)
class Removal:
    """The next small thing to do.

    Args:
        replicas: What the Deployment should ask for.
        drain: Pods that are to take no more messages.
        undrain: Pods that were to go and may stay.
        costs: Deletion costs to be written, by pod.
        draining: How many are on their way out.
        reason: What it waits for, or what it does.
    """

    replicas: int
    drain: tuple[Pod, ...] = ()
    undrain: tuple[Pod, ...] = ()
    costs: tuple[tuple[Pod, int], ...] = ()
    draining: int = 0
    reason: str = ""


def plan(
    replicas: int, desired: int, pods: Sequence[Pod], readings: Readings, drain_seconds: float, now: float
) -> Removal:
    """Say what to do next so that as many consumers are there as wanted, and nobody loses a task.

    Args:
        replicas: What the Deployment asks for.
        desired: How many there should be.
        pods: The consumers.
        readings: What they say; None for those that do not answer.
        drain_seconds: How long one may finish its tasks.
        now: The time, in seconds.
    """
    staying = sorted((pod for pod in pods if not pod.leaving), key=lambda pod: _wish(pod, readings))
    surplus, replicas = max(0, replicas - desired), max(replicas, desired)
    rolling = len({pod.template for pod in staying}) > 1
    if rolling and surplus and desired:
        return Removal(replicas, reason="a rolling update is under way: fewer consumers when it is done")
    # The cluster may be behind the number: it has pods that it is about to remove, or has not made some yet.
    going, absent = max(0, len(staying) - replicas), max(0, replicas - len(staying))
    if going and desired:
        return Removal(
            replicas, draining=going, reason=f"{going} more than asked for: the cluster is removing them"
        )
    victims = staying[: max(0, surplus - absent)] if desired else staying
    done = [pod for pod in victims if _done(pod, readings, drain_seconds, now)]
    first = _first_to_go(staying, done)
    fewer = min(surplus, absent + max(0, first - going)) if not rolling or first == len(staying) else 0
    costs = ((pod, DONE_COST if pod in done else DRAINING_COST) for pod in victims)
    return Removal(
        replicas=replicas - fewer,
        drain=tuple(pod for pod in victims if pod.running and not _drains(pod, readings)),
        undrain=tuple(pod for pod in staying if pod not in victims and _marked(pod, readings)),
        costs=tuple((pod, cost) for pod, cost in costs if pod.cost != cost or pod.drained_at is None),
        draining=len(victims),
        reason=_sentence(victims, done, fewer),
    )


def _wish(pod: Pod, readings: Readings) -> tuple[object, ...]:
    """Return where a pod should stand in the order of removal; what the cluster puts first stays first."""
    reading = readings.get(pod.name)
    left = (1, 0, 0) if reading is None else (int(not reading.idle), reading.busy, reading.held)
    return (*_rank(pod), *left, -pod.created_at, pod.name)


def _rank(pod: Pod) -> tuple[bool, bool, int]:
    """Return where the cluster puts a pod in the order of removal."""
    return (pod.started, pod.ready, pod.cost)


def _first_to_go(staying: Sequence[Pod], done: Sequence[Pod]) -> int:
    """Return how many of those that are done would go before any that is not."""
    marked = [pod for pod in done if pod.cost == DONE_COST]
    bar = min((_rank(pod) for pod in staying if pod not in marked), default=None)
    return sum(bar is None or _rank(pod) < bar for pod in marked)


def _drains(pod: Pod, readings: Readings) -> bool:
    reading = readings.get(pod.name)
    return reading is not None and reading.draining


def _marked(pod: Pod, readings: Readings) -> bool:
    return pod.cost < 0 or pod.drained_at is not None or _drains(pod, readings)


def _done(pod: Pod, readings: Readings, drain_seconds: float, now: float) -> bool:
    """Return whether a pod has nothing to lose, or had its time."""
    reading = readings.get(pod.name)
    if not pod.running or (reading is not None and reading.draining and reading.idle):
        return True
    return pod.drained_at is not None and now - pod.drained_at >= drain_seconds


def _sentence(victims: Sequence[Pod], done: Sequence[Pod], fewer: int) -> str:
    if not victims:
        return ""
    if fewer:
        return f"{fewer} of {len(victims)} that are to go have nothing left to do"
    waits = [pod.name for pod in victims if pod not in done]
    return (
        f"waiting for {', '.join(waits[:3])} to finish"
        if waits
        else "waiting for the cluster to see whom to remove"
    )
