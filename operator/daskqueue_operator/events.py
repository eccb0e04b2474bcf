"""Kubernetes Events: told when something turns, never while it stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from daskqueue_operator import names
from daskqueue_operator.dask_queue import API_VERSION, KIND, DaskQueue
from daskqueue_operator.kinds import EVENT, Manifest
from daskqueue_operator.labels import MANAGER
from daskqueue_operator.plan import Action
from daskqueue_operator.scaling import ScaleResult
from daskqueue_operator.status import written

TOLD = ("Ready", "SchedulerAvailable", "ShardsReady", "ConsumersReady")  # conditions whose bad news are told
ON_THE_WAY = {"Starting", "Missing"}  # reasons that only say that time passes
LONGEST = 1000  # characters that the API allows in a message, nearly


@dataclass(frozen=True, slots=True)
class Notice:
    """What an Event says.

    Args:
        kind: whether it is bad news.
        reason: one word.
        message: a sentence.
    """

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


def of_conditions(new: Iterable[Mapping[str, Any]], old: Iterable[Mapping[str, Any]]) -> list[Notice]:
    """Return what to tell about conditions that turned; a sentence that several of them share is told once.

    Args:
        new: ``status.conditions`` as they are.
        old: as they were.
    """
    was = {entry["type"]: (entry["status"], entry["reason"]) for entry in old}
    notices: dict[str, Notice] = {}
    for entry in new:
        answer = (entry["status"], entry["reason"])
        if entry["type"] not in TOLD or answer == was.get(entry["type"]) or entry["reason"] in ON_THE_WAY:
            continue
        good = entry["status"] == "True"
        if good and entry["type"] != "Ready":
            continue  # the good news is that all of it works
        reason = entry["type"] if good else entry["reason"]
        notices.setdefault(
            entry["message"], Notice("Normal" if good else "Warning", reason, entry["message"])
        )
    return list(notices.values())


def of_actions(actions: Iterable[Action]) -> list[Notice]:
    """Return what to tell about actions: repairs only, since all else follows from what the user did."""
    return [
        Notice("Normal", "Repaired", f"{action.kind.kind} {action.name}: {action.reason}")
        for action in actions
        if action.repair
    ]


def of_scaling(result: ScaleResult | None) -> list[Notice]:
    """Return what to tell about a change of the number of consumers."""
    if result is None or result.scaled is None:
        return []
    before, after = result.scaled.before, result.scaled.after
    return [Notice("Normal", "Scaled", f"from {before} to {after} consumers: {result.message}")]


def of_dead_letters(queue: DaskQueue, new: Mapping[str, Any], old: Mapping[str, Any]) -> list[Notice]:
    """Return what to tell when the first messages were given up.

    Args:
        queue: whose messages they are.
        new: the status as it is.
        old: as it was.
    """
    dead = _dead(new)
    if not dead or _dead(old):
        return []
    inside = f"kubectl exec -n {queue.namespace} {names.shard(queue.name)}-0 -- daskqueue dead"
    message = (
        f"messages were given up and kept, {dead} by now: `{inside} list` shows why, `{inside} redrive` lets them "
        f"run again, `{inside} purge` drops them"
    )
    return [Notice("Warning", "DeadLetters", message)]


def _dead(status: Mapping[str, Any]) -> int:
    return int(status.get("backlog", {}).get("deadLettered", 0))


def event(queue: DaskQueue, notice: Notice, now: datetime) -> Manifest:
    """Return the Event of a notice."""
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"generateName": f"{queue.name}.", "namespace": queue.namespace},
        "type": notice.kind,
        "reason": notice.reason,
        "message": notice.message[:LONGEST],
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": queue.name,
            "namespace": queue.namespace,
            "uid": queue.uid,
        },
        "firstTimestamp": written(now),
        "lastTimestamp": written(now),
        "count": 1,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "reportingInstance": MANAGER,
    }
