"""How many consumers a queue needs, in examples, and over hours of a simulated queue."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from daskqueue_operator.autoscale import Inputs, LimitedBy, Limits, Memory, decide
from daskqueue_operator.demand import ARRIVALS_FADE_SECONDS

ORDINARY = Limits(
    min_consumers=0, max_consumers=20, slots=1, backlog_per_consumer=1000, wait_seconds=30, idle_seconds=60
)


def settled(inputs: Inputs, limits: Limits = ORDINARY, seconds: int = 300):
    """Return the decision that the same load leads to."""
    memory = Memory()
    for now in range(0, seconds, 5):
        decision = decide(inputs, memory, limits, float(now))
        memory = decision.memory
    return decision


@pytest.mark.parametrize(
    ("inputs", "limits", "desired", "limited_by"),
    [
        (Inputs(), {}, 0, LimitedBy.NONE),
        (Inputs(ready=1), {}, 1, LimitedBy.NONE),
        (Inputs(leased=1), {}, 1, LimitedBy.NONE),
        (Inputs(ready=1000), {}, 1, LimitedBy.NONE),
        (Inputs(ready=1001), {}, 2, LimitedBy.NONE),
        (Inputs(ready=600, leased=600), {}, 2, LimitedBy.NONE),
        (Inputs(ready=50_000), {}, 20, LimitedBy.MAX_REPLICAS),
        (Inputs(), {"min_consumers": 2}, 2, LimitedBy.MIN_REPLICAS),
        (Inputs(ready=300, mean_seconds=1.0), {}, 10, LimitedBy.NONE),
        (Inputs(ready=300, mean_seconds=1.0), {"slots": 4}, 3, LimitedBy.NONE),
        (Inputs(ready=3, mean_seconds=600.0), {}, 3, LimitedBy.NONE),
        (Inputs(ready=1, arrivals_per_second=8.0, mean_seconds=1.0), {}, 10, LimitedBy.NONE),
        (Inputs(ready=1, arrivals_per_second=8.0, mean_seconds=1.0), {"slots": 4}, 3, LimitedBy.NONE),
        (Inputs(ready=1, missing=("q-shard-0",), replicas=7), {}, 7, LimitedBy.MISSING_METRICS),
        (Inputs(ready=9000, missing=("q-shard-0",), replicas=7), {}, 9, LimitedBy.MISSING_METRICS),
        (Inputs(ready=1, busy=6, replicas=7), {}, 6, LimitedBy.BUSY_CONSUMERS),
        (Inputs(ready=1, busy=6, replicas=7), {"slots": 4}, 2, LimitedBy.BUSY_CONSUMERS),
    ],
)
def test_a_load_needs_so_many_consumers(inputs, limits, desired, limited_by):
    decision = settled(inputs, replace(ORDINARY, **limits))
    assert (decision.desired, decision.limited_by) == (desired, limited_by)


def test_a_big_backlog_wakes_a_queue_in_one_step_and_the_next_follow():
    first = decide(Inputs(ready=50_000), Memory(), ORDINARY, 0.0)
    assert (first.desired, first.limited_by) == (5, LimitedBy.SCALE_UP_RATE)
    soon = decide(Inputs(ready=50_000), first.memory, ORDINARY, 4.9)
    assert soon.desired == 5
    then = decide(Inputs(ready=50_000), soon.memory, ORDINARY, 5.1)
    assert then.desired == 15
    assert decide(Inputs(ready=50_000), then.memory, ORDINARY, 10.2).desired == 20


def test_a_shard_that_is_missing_does_not_keep_the_others_from_being_served():
    decision = decide(Inputs(ready=3000, missing=("q-shard-1",)), Memory(), ORDINARY, 0.0)
    assert (decision.desired, decision.limited_by) == (3, LimitedBy.NONE)


def test_a_new_operator_keeps_what_runs_until_it_knows_the_load():
    memory = Memory()
    for now in range(60):
        decision = decide(Inputs(ready=1, replicas=8), memory, ORDINARY, float(now))
        memory = decision.memory
        assert decision.desired == 8
        assert decision.limited_by is LimitedBy.STABILIZATION
    assert decide(Inputs(ready=1, replicas=8), memory, ORDINARY, 61.0).desired == 4


def test_an_old_arrival_rate_does_not_wake_a_queue_that_is_empty():
    rested = decide(Inputs(), Memory(), replace(ORDINARY, idle_seconds=0), 0.0)
    load = Inputs(arrivals_per_second=100.0, mean_seconds=1.0, moved=True)
    assert decide(load, rested.memory, ORDINARY, 1.0).desired == 0


def test_the_reason_says_the_load_the_number_and_the_limit():
    told = decide(Inputs(ready=50_000), Memory(), replace(ORDINARY, max_consumers=5), 0.0)
    assert (
        told.reason
        == "50,000 messages wait or run, 1,000 a consumer: 5 consumers (maxReplicas allows no more)"
    )
    assert told.cause == "backlog"


class Simulation:
    """A queue with steady arrivals and consumers that need some seconds to start, looked at every two seconds."""

    def __init__(self, rate: float, mean: float, slots: int, seed: int) -> None:
        self.rate, self.mean = rate, mean
        self.limits = replace(ORDINARY, slots=slots, max_consumers=50)
        self.random = random.Random(seed)
        self.backlog = 0.0
        self.measured = rate
        self.starting: list[float] = []
        self.consumers = 0

    def run(self, seconds: int) -> list[int]:
        memory, told = Memory(), []
        for now in range(0, seconds, 2):
            self.advance(now, 2.0)
            busy = int(min(self.backlog, self.consumers * self.limits.slots))
            inputs = Inputs(
                ready=int(self.backlog) - busy,
                leased=busy,
                busy=busy,
                arrivals_per_second=self.measured,
                mean_seconds=self.mean if told and max(told) else None,
                moved=True,
                replicas=self.consumers,
            )
            decision = decide(inputs, memory, self.limits, float(now))
            memory = decision.memory
            told.append(decision.desired)
            self.scale(decision.desired, now)
        return told

    def advance(self, now: float, seconds: float) -> None:
        arrived = self.random.gauss(self.rate * seconds, (self.rate * seconds) ** 0.5)
        self.measured += (max(0.0, arrived) / seconds - self.measured) * seconds / ARRIVALS_FADE_SECONDS
        self.consumers += sum(at <= now for at in self.starting)
        self.starting = [at for at in self.starting if at > now]
        done = self.consumers * self.limits.slots * seconds / self.mean
        self.backlog = max(0.0, self.backlog + max(0.0, arrived) - done)

    def scale(self, desired: int, now: float) -> None:
        there = self.consumers + len(self.starting)
        self.starting += [now + 4.0] * (desired - there)
        if desired < there:
            self.starting, self.consumers = [], desired


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("rate", "mean", "slots"), [(40.0, 0.2, 1), (100.0, 0.05, 2), (3.0, 5.0, 4), (7.0, 1.0, 1)]
)
def test_a_steady_load_does_not_make_the_number_flap(rate, mean, slots, seed):
    simulation = Simulation(rate, mean, slots, seed)
    told = simulation.run(3600)
    changes = sum(a != b for a, b in itertools.pairwise(told[150:]))  # after five minutes
    assert changes <= 10, told
    assert simulation.backlog * mean / (told[-1] * slots) <= 2 * ORDINARY.wait_seconds
    assert told[-1] * slots <= rate * mean / 0.8 * 1.5 + slots
