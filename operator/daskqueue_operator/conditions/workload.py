"""What Deployments and StatefulSets say about their pods."""

from __future__ import annotations

from daskqueue_operator.conditions.troubles import Trouble
from daskqueue_operator.kinds import Manifest


def creation_trouble(workload: Manifest) -> Trouble | None:
    """Return why a workload cannot even make its pods, such as a quota or a missing ServiceAccount."""
    for condition in workload.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            name, said = workload["metadata"]["name"], condition.get("message", "no reason given")
            return Trouble("PodsRefused", f"{workload['kind']} {name} cannot make its pods: {said}")
    return None


def count(workload: Manifest | None, key: str) -> int:
    """Return a number of a workload's status, 0 where there is none."""
    return int(workload.get("status", {}).get(key, 0)) if workload else 0
