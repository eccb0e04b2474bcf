"""The status of a DaskQueue: what is there, what is so, and whether it is worth a write."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from daskqueue_operator import labels as lb
from daskqueue_operator import names
from daskqueue_operator.conditions.autoscaling import autoscaling
from daskqueue_operator.conditions.condition import Condition, as_status
from daskqueue_operator.conditions.consumers_ready import consumers_ready
from daskqueue_operator.conditions.dask_cluster_known import dask_cluster_known
from daskqueue_operator.conditions.progressing import progressing
from daskqueue_operator.conditions.ready import ready
from daskqueue_operator.conditions.scheduler_available import scheduler_available
from daskqueue_operator.conditions.shards_ready import shards_ready
from daskqueue_operator.conditions.view import View
from daskqueue_operator.conditions.workload import count
from daskqueue_operator.kinds import DEPLOYMENT, STATEFUL_SET, Manifest
from daskqueue_operator.observe import Observed, serves
from daskqueue_operator.scaling import ScaleResult

PAUSE_SECONDS = 5.0  # between two writes that only change numbers


def conditions(view: View) -> list[Condition]:
    """Return all conditions, ``Ready`` first."""
    scheduler, shards, consumers = scheduler_available(view), shards_ready(view), consumers_ready(view)
    first = ready(view, scheduler, shards, consumers)
    return [
        first,
        progressing(view),
        scheduler,
        shards,
        consumers,
        autoscaling(view),
        dask_cluster_known(view),
    ]


def refused(reason: str, message: str) -> list[Condition]:
    """Return the conditions of a DaskQueue that cannot be understood: nothing is done about it."""
    return [Condition("Ready", "False", reason, message)]


def status(view: View, scaled: ScaleResult | None, before: Mapping[str, Any], generation: int) -> Manifest:
    """Return the whole status.

    Args:
        view: the DaskQueue, what is there, and what was done.
        scaled: what the scaling said.
        before: the status as it was.
        generation: the generation of the spec that has been carried out.
    """
    now = written(view.now)
    name, namespace = view.queue.name, view.queue.namespace
    made: Manifest = {
        "observedGeneration": generation,
        "conditions": as_status(conditions(view), before.get("conditions", []), generation, now),
        "selector": lb.as_text(lb.selector(name, "consumer")),
        "endpoints": {
            "scheduler": names.scheduler_address(name, namespace),
            "dashboard": names.dashboard_address(name, namespace),
        },
        "shards": _shards(view),
        "consumers": _consumers(view.observed, name, scaled),
    }
    made |= (
        _numbers(scaled, before, now)
        if scaled
        else {key: before[key] for key in ("backlog", "autoscaling") if key in before}
    )
    if version := _version(scaled) or before.get("version"):
        made["version"] = version
    return made


def worth_writing(new: Mapping[str, Any], old: Mapping[str, Any], seconds: float) -> bool:
    """Return whether the status changed enough for a write.

    Args:
        new: the status as it would be.
        old: the status as it is.
        seconds: since the last write.
    """
    if _without_numbers(new) != _without_numbers(old) or _presence(new) != _presence(old):
        return True
    return seconds >= PAUSE_SECONDS and _without_time(new) != _without_time(old)


def written(moment: datetime) -> str:
    """Return a time as the API writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shards(view: View) -> Manifest:
    stateful_set = view.observed.get(STATEFUL_SET.kind, names.shard(view.queue.name))
    return {
        "replicas": view.shards,
        "readyReplicas": sum(map(serves, view.observed.shard_pods)),
        "updatedReplicas": count(stateful_set, "updatedReplicas"),
        "items": [_shard(view, number) for number in range(view.shards)],
    }


def _shard(view: View, number: int) -> Manifest:
    item = {"name": f"{names.shard(view.queue.name)}-{number}"}
    wanted = names.claim(view.queue.name, number)
    for claim in view.observed.claims:
        if claim["metadata"]["name"] == wanted:
            item["claimName"] = wanted
            if capacity := claim.get("status", {}).get("capacity", {}).get("storage"):
                item["capacity"] = capacity
    return item


def _consumers(observed: Observed, queue: str, scaled: ScaleResult | None) -> Manifest:
    deployment = observed.get(DEPLOYMENT.kind, names.consumer(queue))
    counts = {key: count(deployment, key) for key in ("replicas", "readyReplicas", "updatedReplicas")}
    if scaled is not None:
        counts |= {"desiredReplicas": scaled.desired, "drainingReplicas": scaled.draining}
    return counts


def _numbers(scaled: ScaleResult, before: Mapping[str, Any], now: str) -> Manifest:
    scaling = {"limitedBy": str(scaled.limited_by), "message": scaled.message}
    for key, seconds in (("lastScaleTime", scaled.last_scale_at), ("lastActiveTime", scaled.last_active_at)):
        if seconds is not None:
            scaling[key] = written(datetime.fromtimestamp(seconds, UTC))
    if scaled.backlog is None:
        return {"autoscaling": scaling}
    backlog = scaled.backlog
    numbers: Manifest = {
        "ready": backlog.ready,
        "leased": backlog.leased,
        "delayed": backlog.delayed,
        "deadLettered": _dead(scaled, backlog.dead, before),
        "observedTime": now,
    }
    if backlog.oldest_age_seconds is not None:
        numbers["oldestAgeSeconds"] = int(backlog.oldest_age_seconds)
    return {"autoscaling": scaling, "backlog": numbers}


def _dead(scaled: ScaleResult, dead: int, before: Mapping[str, Any]) -> int:
    """Return how many dead letters there are; those of a shard that does not answer just now are not gone."""
    away = any(reading is None for reading in scaled.shards.values())
    return max(dead, before.get("backlog", {}).get("deadLettered", 0)) if away else dead


def _version(scaled: ScaleResult | None) -> str | None:
    readings: Sequence[Any] = [*scaled.shards.values()] if scaled else []
    return next((found for reading in readings if (found := getattr(reading, "version", None))), None)


def _without_numbers(status: Mapping[str, Any]) -> Manifest:
    """Return a status without what changes all the time while there is work."""
    kept = copy.deepcopy({key: value for key, value in status.items() if key != "backlog"})
    for key in ("lastActiveTime", "message"):
        kept.get("autoscaling", {}).pop(key, None)
    for condition in kept.get("conditions", []):
        if condition["type"] == "Autoscaling":
            condition.pop("message")
    return kept


def _without_time(status: Mapping[str, Any]) -> Manifest:
    backlog = {key: value for key, value in status.get("backlog", {}).items() if key != "observedTime"}
    return {**status, "backlog": backlog}


def _presence(status: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether anything is there to do, and whether anything was given up."""
    backlog = status.get("backlog", {})
    return bool(backlog.get("ready")), bool(backlog.get("deadLettered"))
