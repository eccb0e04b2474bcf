"""Looks at one queue, decides how many consumers it should have, and does the next small thing about it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from lightkube import ApiError

from daskqueue_operator import autoscale, kinds, names, scaling_down
from daskqueue_operator.autoscale import Decision, Inputs, LimitedBy, Limits, Memory
from daskqueue_operator.consumer_pods import COST, DRAINED_AT, Pod, seconds_of, time_of
from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.demand import Demand, Meter
from daskqueue_operator.scaling import Backlog, Cluster, Observed, Scaled, ScaleResult
from daskqueue_operator.scaling_down import Removal
from daskqueue_operator.scrape import ConsumerReading, Scraper, ShardReading

SOON_SECONDS = 1.0
LATER_SECONDS = 2.0
NOT_FOUND = 404
SAID = {"suspend": "Suspended", "replicas": "ReplicasAreGiven"}
LIMIT_REASONS = {LimitedBy.NONE: "AsWanted"}


class Scaler:
    """Scales the consumers of one DaskQueue. What matters is in the cluster, so that another operator can go on.

    Args:
        cluster: Where it writes.
        scraper: How it asks pods; one of its own if none is given.
    """

    def __init__(self, cluster: Cluster, scraper: Scraper | None = None) -> None:
        self._cluster = cluster
        self._scraper = scraper or Scraper()
        self._meter = Meter()
        self._memory: Memory | None = None
        self._scaled_at: float | None = None

    async def close(self) -> None:
        """Close the connections to the pods."""
        await self._scraper.close()

    async def step(self, queue: DaskQueue, observed: Observed, now: float) -> ScaleResult:
        """Look, decide, and do the next thing; never wait for anything but answers and writes.

        Args:
            queue: What is asked for.
            observed: What is there.
            now: The time, in seconds since the epoch.

        Raises:
            Exception: Whatever the writes to the cluster raise; call it again later.
        """
        pods = [Pod.of(manifest) for manifest in observed.consumer_pods]
        shards, consumers = await self._look(queue, observed, pods)
        deployment = observed.get(kinds.DEPLOYMENT.kind, names.consumer(queue.name))
        replicas = None if deployment is None else int(deployment["spec"].get("replicas", 1))
        demand = self._meter.look(shards, consumers, now)
        decision = self._decide(queue, _inputs(queue, shards, consumers, pods, demand, replicas or 0), now)
        removal = Removal(decision.desired)
        if replicas is not None:
            removal = await self._remove(queue, replicas, decision.desired, pods, consumers, now)
        scaled = await self._scale(queue, replicas, removal.replicas, decision, now)
        return self._result(decision, removal, shards, scaled, replicas)

    async def _look(
        self, queue: DaskQueue, observed: Observed, pods: Sequence[Pod]
    ) -> tuple[dict[str, ShardReading | None], dict[str, ConsumerReading | None]]:
        """Return what the pods say; a shard without a pod is one that does not answer."""
        there = {pod.name: pod for pod in map(Pod.of, observed.shard_pods)}
        asked = [f"{names.shard(queue.name)}-{number}" for number in range(queue.spec.shards.replicas)]
        shards = await self._scraper.shards(there.get(name, Pod(name)) for name in asked)
        return shards, await self._scraper.consumers(pod for pod in pods if not pod.leaving)

    def _decide(self, queue: DaskQueue, inputs: Inputs, now: float) -> Decision:
        """Return the number that is wanted, whoever says so."""
        memory = self._memory or self._restored(queue)
        consumers = queue.spec.consumers
        scaling = consumers.autoscaling
        limits = Limits(
            min_consumers=scaling.min_replicas,
            max_consumers=scaling.max_replicas,
            slots=consumers.slots,
            backlog_per_consumer=scaling.target_backlog_per_consumer,
            wait_seconds=scaling.target_wait_seconds,
            idle_seconds=scaling.idle_seconds_before_zero,
        )
        decision = autoscale.decide(inputs, memory, limits, now)
        said = 0 if queue.spec.suspend else None if scaling.mode == "Builtin" else consumers.replicas or 0
        if said is not None:
            who = "suspend" if queue.spec.suspend else "replicas"
            text = (
                "spec.suspend is true" if queue.spec.suspend else f"spec.consumers.replicas ({scaling.mode})"
            )
            memory = Memory(desired=said, last_active_at=decision.memory.last_active_at)
            decision = Decision(said, LimitedBy.NONE, who, f"{text}: {autoscale.counted(said)}", memory)
        self._memory = decision.memory
        return decision

    def _restored(self, queue: DaskQueue) -> Memory:
        """Return what the last operator wrote down, so that this one goes on from there."""
        scaling = queue.status.get("autoscaling") or {}
        desired = (queue.status.get("consumers") or {}).get("desiredReplicas")
        self._scaled_at = seconds_of(scaling.get("lastScaleTime"))
        return Memory(desired=desired, last_active_at=seconds_of(scaling.get("lastActiveTime")))

    async def _remove(
        self,
        queue: DaskQueue,
        replicas: int,
        desired: int,
        pods: Sequence[Pod],
        consumers: Mapping[str, ConsumerReading | None],
        now: float,
    ) -> Removal:
        """Do the next thing towards fewer consumers, and return what is to be done about the number."""
        drain_seconds = queue.spec.consumers.drain_seconds
        removal = scaling_down.plan(replicas, desired, pods, consumers, drain_seconds, now)
        if removal.drain:
            answers = await self._scraper.drain(removal.drain)
            told = {name: reading for name, reading in answers.items() if reading is not None}
            removal = scaling_down.plan(replicas, desired, pods, {**consumers, **told}, drain_seconds, now)
        marks: list[tuple[Pod, Mapping[str, str | None]]] = [
            (pod, {COST: str(cost), DRAINED_AT: time_of(pod.drained_at or now)})
            for pod, cost in removal.costs
        ]
        answers = await self._scraper.undrain(removal.undrain)
        # One that does not hear that it may go on stays marked, and is told again.
        spared = [pod for pod in removal.undrain if answers[pod.name] is not None or not pod.running]
        marks += [(pod, {COST: None, DRAINED_AT: None}) for pod in spared]
        await asyncio.gather(*(self._annotate(queue, pod, annotations) for pod, annotations in marks))
        return removal

    async def _annotate(self, queue: DaskQueue, pod: Pod, annotations: Mapping[str, str | None]) -> None:
        patch = {"metadata": {"annotations": dict(annotations)}}
        try:
            await self._cluster.merge(kinds.POD, queue.namespace, pod.name, patch)
        except ApiError as error:
            if error.status.code != NOT_FOUND:  # a pod that has gone meanwhile needs no mark
                raise

    async def _scale(
        self, queue: DaskQueue, before: int | None, after: int, decision: Decision, now: float
    ) -> Scaled | None:
        if before is None or before == after:
            return None
        await self._cluster.scale_consumers(queue.namespace, queue.name, after)
        self._scaled_at = now
        return Scaled(before, after, decision.cause)

    def _result(
        self,
        decision: Decision,
        removal: Removal,
        shards: Mapping[str, ShardReading | None],
        scaled: Scaled | None,
        replicas: int | None,
    ) -> ScaleResult:
        moving = bool(removal.draining or removal.undrain or replicas != decision.desired)
        waits_for_work = decision.desired == 0 and decision.cause not in SAID
        missing = decision.limited_by is LimitedBy.MISSING_METRICS
        return ScaleResult(
            desired=decision.desired,
            draining=removal.draining,
            limited_by=decision.limited_by.value,
            reason=SAID.get(decision.cause)
            or LIMIT_REASONS.get(decision.limited_by, decision.limited_by.value),
            message=decision.reason + (f"; {removal.reason}" if removal.reason else ""),
            active=not missing,
            backlog=_backlog(shards),
            shards=shards,
            again_seconds=SOON_SECONDS if moving or waits_for_work or missing else LATER_SECONDS,
            last_scale_at=self._scaled_at,
            last_active_at=decision.memory.last_active_at,
            scaled=scaled,
        )


def _inputs(
    queue: DaskQueue,
    shards: Mapping[str, ShardReading | None],
    consumers: Mapping[str, ConsumerReading | None],
    pods: Sequence[Pod],
    demand: Demand,
    replicas: int,
) -> Inputs:
    """Return what was seen, as the decision wants it."""
    answered = [reading for reading in shards.values() if reading is not None]
    held = bool(answered) and all(reading.paused for reading in answered)
    ready = {pod.name for pod in pods if pod.ready}
    # A consumer that has come up and does not answer is taken for busy: that costs a pod for a while, and no task.
    silent = sum(reading is None and name in ready for name, reading in consumers.items())
    busy = sum(reading.busy for reading in consumers.values() if reading is not None)
    return Inputs(
        ready=sum(reading.runnable for reading in answered),
        leased=sum(reading.leased for reading in answered),
        busy=busy + silent * queue.spec.consumers.slots,
        # What comes into queues that are all paused brings no work yet.
        arrivals_per_second=0.0 if held else demand.arrivals_per_second,
        mean_seconds=demand.mean_seconds,
        moved=demand.moved and not held,
        missing=tuple(name for name, reading in shards.items() if reading is None),
        replicas=replicas,
    )


def _backlog(shards: Mapping[str, ShardReading | None]) -> Backlog | None:
    """Return what lies in the shards that answered; None if none did."""
    answered = [reading for reading in shards.values() if reading is not None]
    ages = [reading.oldest_age_seconds for reading in answered if reading.oldest_age_seconds is not None]
    if not answered:
        return None
    return Backlog(
        ready=sum(reading.ready for reading in answered),
        leased=sum(reading.leased for reading in answered),
        delayed=sum(reading.delayed for reading in answered),
        dead=sum(reading.dead for reading in answered),
        oldest_age_seconds=max(ages, default=None),
    )
