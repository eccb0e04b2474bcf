"""How many consumers a queue needs: a pure function of what was measured, with windows, steps and limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum

from daskqueue_operator.windows import Window

UTILISATION = 0.8  # the part of the slots that steady arrivals may keep busy: the rest takes the waves
DOWN_MARGIN = 1.1  # scale down only where a tenth more load would not bring the consumer back
DOWN_WINDOW_SECONDS = 60.0
UP_PERIOD_SECONDS = 5.0
UP_FACTOR = 2
UP_EXTRA = 5
DOWN_PERIOD_SECONDS = 15.0
DOWN_DIVISOR = 2
ROUNDING = 1e-9  # 5.000000001 consumers are five


class LimitedBy(StrEnum):
    """What kept the number of consumers from being what the load alone asks for."""

    NONE = "None"
    MIN_REPLICAS = "MinReplicas"
    MAX_REPLICAS = "MaxReplicas"
    SCALE_UP_RATE = "ScaleUpRate"
    SCALE_DOWN_RATE = "ScaleDownRate"
    STABILIZATION = "Stabilization"
    BUSY_CONSUMERS = "BusyConsumers"
    MISSING_METRICS = "MissingMetrics"


LIMITS = {
    LimitedBy.NONE: "",
    LimitedBy.MIN_REPLICAS: "minReplicas asks for as many",
    LimitedBy.MAX_REPLICAS: "maxReplicas allows no more",
    LimitedBy.SCALE_UP_RATE: "more will follow in some seconds",
    LimitedBy.SCALE_DOWN_RATE: "fewer will follow in some seconds",
    LimitedBy.STABILIZATION: "fewer only when the load has been low for a while",
    LimitedBy.BUSY_CONSUMERS: "their slots run tasks",
    LimitedBy.MISSING_METRICS: "held: {missing} does not answer",
}


@dataclass(frozen=True)
class Inputs:
    """What was seen of a queue.

    Args:
        ready: Messages that wait, in the shards that answered.
        leased: Messages that consumers hold, in the shards that answered.
        busy: Slots that run a task.
        arrivals_per_second: Messages that come in, each second.
        mean_seconds: How long a task takes; None while nothing is known about it.
        moved: Whether a message came in or a task ended since the last look.
        missing: The shards that did not answer.
        replicas: Consumers that the Deployment asks for.
    """

    ready: int = 0
    leased: int = 0
    busy: int = 0
    arrivals_per_second: float = 0.0
    mean_seconds: float | None = None
    moved: bool = False
    missing: tuple[str, ...] = ()
    replicas: int = 0

    @property
    def backlog(self) -> int:
        """Messages that wait or are held by a consumer."""
        return self.ready + self.leased

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.backlog or self.busy or self.moved)


@dataclass(frozen=True)
class Limits:
    """What the resource allows.

    Args:
        min_consumers: Never fewer.
        max_consumers: Never more.
        slots: Tasks that a consumer runs at a time.
        backlog_per_consumer: Messages that one consumer should have before it.
        wait_seconds: How long the backlog may take.
        idle_seconds: How long without anything to do before the consumers go down to `min_consumers`.
    """

    min_consumers: int
    max_consumers: int
    slots: int
    backlog_per_consumer: int
    wait_seconds: float
    idle_seconds: float


@dataclass(frozen=True)
class Memory:
    """What the last decisions left behind.

    Args:
        desired: The number in force; None before the first decision.
        last_active_at: When there was last something to do, in seconds.
        wanted: What the load asked for in the last minute.
        in_force_up: The numbers in force that a step up starts from.
        in_force_down: The numbers in force that a step down starts from.
    """

    desired: int | None = None
    last_active_at: float | None = None
    wanted: Window = field(default=Window(DOWN_WINDOW_SECONDS))
    in_force_up: Window = field(default=Window(UP_PERIOD_SECONDS))
    in_force_down: Window = field(default=Window(DOWN_PERIOD_SECONDS))


@dataclass(frozen=True)
class Decision:
    """How many consumers there should be, and why.

    Args:
        desired: The number.
        limited_by: What kept it from being what the load alone asks for.
        cause: Which part of the load asks for most: backlog, wait, arrivals or idle.
        reason: A sentence for people.
        memory: To be given to the next decision.
    """

    desired: int
    limited_by: LimitedBy
    cause: str
    reason: str
    memory: Memory


@dataclass(frozen=True)
class Need:
    """What the load alone asks for.

    Args:
        consumers: A fraction of consumers, too.
        cause: Which part of the load asks for most, in one word.
        why: The same in a sentence.
        kept: Consumers to go down to; arrivals are measured roughly, and should not send one away to call it back.
    """

    consumers: float
    cause: str
    why: str
    kept: float = 0.0


def decide(inputs: Inputs, memory: Memory, limits: Limits, now: float) -> Decision:
    """Say how many consumers a queue should have.

    Args:
        inputs: What was seen.
        memory: The memory of the last decision.
        limits: What the resource allows.
        now: The time, in seconds.
    """
    current = inputs.replicas if memory.desired is None else memory.desired
    memory = _looked(memory, inputs, current, now)
    quiet_seconds = now - (memory.last_active_at or 0.0)
    rested = inputs.idle and quiet_seconds >= limits.idle_seconds
    need = Need(0.0, "idle", "nothing to do") if rested else _need(inputs, limits)
    wanted = 0 if rested or (current == 0 and not inputs.backlog) else _whole(need, current)
    desired, limited_by = _bounded(wanted, current, rested, inputs, memory, limits, now)
    memory = replace(
        memory,
        desired=desired,
        wanted=memory.wanted.add(min(wanted, limits.max_consumers), now),
        in_force_up=memory.in_force_up.add(desired, now),
        in_force_down=memory.in_force_down.add(desired, now),
    )
    return Decision(desired, limited_by, need.cause, _sentence(need, desired, limited_by, inputs), memory)


def _looked(memory: Memory, inputs: Inputs, current: int, now: float) -> Memory:
    """Return the memory with this look in it: what is not known counts as something to do."""
    if (
        memory.desired is None
    ):  # after a start nothing is known about the last minute: what runs had its reason
        memory = replace(
            memory,
            wanted=memory.wanted.add(current, now),
            in_force_up=memory.in_force_up.add(current, now),
            in_force_down=memory.in_force_down.add(current, now),
        )
    if not inputs.idle or inputs.missing or memory.last_active_at is None:
        return replace(memory, last_active_at=now)
    return replace(memory, last_active_at=min(memory.last_active_at, now))


def _need(inputs: Inputs, limits: Limits) -> Need:
    """Return the consumers that the most demanding of three views of the load asks for."""
    backlog, mean, rate = inputs.backlog, inputs.mean_seconds or 0.0, inputs.arrivals_per_second
    waiting_slots = min(backlog * mean / limits.wait_seconds, backlog)  # more slots than messages help nobody
    arriving_slots = rate * mean / UTILISATION
    number = f"{backlog:,} messages wait or run"
    needs = (
        Need(
            backlog / limits.backlog_per_consumer,
            "backlog",
            f"{number}, {limits.backlog_per_consumer:,} a consumer",
        ),
        Need(
            waiting_slots / limits.slots,
            "wait",
            f"{number}, take {mean:.3g} s each and should be done in {limits.wait_seconds:g} s",
        ),
        Need(
            arriving_slots / limits.slots,
            "arrivals",
            f"{rate:.3g} messages come in a second and take {mean:.3g} s each",
        ),
    )
    most = max(needs, key=lambda need: need.consumers)
    return replace(most, kept=max(most.consumers, needs[-1].consumers * DOWN_MARGIN))


def _whole(need: Need, current: int) -> int:
    """Return whole consumers; those that are there stay unless they are too few or clearly too many."""
    fewest = math.ceil(need.consumers - ROUNDING)
    return fewest if fewest > current else min(current, math.ceil(need.kept - ROUNDING))


def _bounded(
    value: int, current: int, rested: bool, inputs: Inputs, memory: Memory, limits: Limits, now: float
) -> tuple[int, LimitedBy]:
    """Return the number within all bounds, and the last bound that changed it."""
    busy = min(current, math.ceil(inputs.busy / limits.slots))
    highest = memory.in_force_down.highest(now)
    lowest = memory.in_force_up.lowest(now)
    at_least = [(LimitedBy.BUSY_CONSUMERS, busy)]
    if inputs.missing:
        at_least.append((LimitedBy.MISSING_METRICS, current))
    if not rested:
        at_least.append((LimitedBy.STABILIZATION, min(current, max(1, memory.wanted.highest(now)))))
        at_least.append((LimitedBy.SCALE_DOWN_RATE, min(current, math.ceil(highest / DOWN_DIVISOR))))
    at_least.append((LimitedBy.MIN_REPLICAS, limits.min_consumers))
    at_most = (
        (LimitedBy.MAX_REPLICAS, limits.max_consumers),
        (LimitedBy.SCALE_UP_RATE, max(current, lowest * UP_FACTOR + UP_EXTRA, limits.min_consumers)),
    )
    limited_by = LimitedBy.NONE  # the last one that changes the number is named
    for name, bound in at_least:
        if bound > value:
            value, limited_by = bound, name
    for name, bound in at_most:
        if bound < value:
            value, limited_by = bound, name
    return value, LimitedBy.MISSING_METRICS if inputs.missing and value <= current else limited_by


def _sentence(need: Need, desired: int, limited_by: LimitedBy, inputs: Inputs) -> str:
    """Return the decision in words."""
    limit = LIMITS[limited_by].format(missing=", ".join(inputs.missing))
    return f"{need.why}: {counted(desired)}{limit and f' ({limit})'}"


def counted(consumers: int) -> str:
    """Return a number of consumers in words.

    Args:
        consumers: The number.
    """
    return f"{consumers} consumer{'' if consumers == 1 else 's'}"
