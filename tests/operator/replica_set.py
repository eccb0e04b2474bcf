"""A model of how a cluster removes and makes the pods of a Deployment: it is late, and it has an order of its own."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from daskqueue_operator.consumer_pods import Pod
from daskqueue_operator.scrape import ConsumerReading

LATE_SECONDS = 2
FIRST_TASK_SECONDS = 4  # a pod that comes up while the cluster removes it is gone before it has a task


@dataclass
class Consumer:
    """A consumer as it is; tasks end one each second."""

    pod: Pod
    tasks: int = 0
    draining: bool = False
    answers: bool = True
    up: int = 0

    def reading(self) -> ConsumerReading | None:
        busy = min(1, self.tasks)
        return ConsumerReading(1, busy, self.tasks - busy, self.draining) if self.answers else None


@dataclass
class Cluster:
    """Pods, and the number that the Deployment asks for."""

    random: random.Random
    replicas: int = 0
    consumers: dict[str, Consumer] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    made: int = 0
    late: int = 0

    def settle(self, now: float) -> None:
        """Do what the controller does, at once or some seconds later: remove by its order, make what is missing."""
        if self.late < LATE_SECONDS and self.random.random() < 0.4:
            self.late += 1
            return
        self.late = 0
        there = sorted(self.consumers.values(), key=lambda each: self.rank(each.pod))
        for each in there[: max(0, len(there) - self.replicas)]:
            del self.consumers[each.pod.name]
            overdue = each.pod.drained_at is not None and now - each.pod.drained_at >= 60
            if each.tasks and not overdue:
                self.lost.append(each.pod.name)
        for _ in range(self.replicas - len(self.consumers)):
            self.made += 1
            name = f"pod-{self.made}"
            self.consumers[name] = Consumer(
                Pod(name, "127.0.0.1", ready=False, running=False, created_at=now)
            )

    def rank(self, pod: Pod) -> tuple[bool, bool, int, float]:
        return (pod.started, pod.ready, pod.cost, self.random.random())

    def advance(self) -> None:
        """Let a second go by: pods come up, tasks end, those that are not draining get new ones."""
        for each in self.consumers.values():
            each.tasks = max(0, each.tasks - 1)
            each.up += each.pod.ready
            if each.up > FIRST_TASK_SECONDS and not each.draining and self.random.random() < 0.4:
                each.tasks = self.random.randint(1, 30)
            if not each.pod.ready and self.random.random() < 0.7:
                each.pod = replace(each.pod, ready=True, running=True)

    def annotate(self, pod: Pod, cost: int, drained_at: float | None) -> None:
        if pod.name in self.consumers:
            each = self.consumers[pod.name]
            each.pod = replace(each.pod, cost=cost, drained_at=drained_at)
