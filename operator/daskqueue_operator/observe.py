"""What is there of a DaskQueue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from daskqueue_operator import labels as lb
from daskqueue_operator import names
from daskqueue_operator.kinds import CLAIM, DEPLOYMENT, POD, STATEFUL_SET, Kind, Manifest


@dataclass(frozen=True)
class Observed:
    """The objects of one DaskQueue, as the watches last saw them.

    Args:
        objects: all of them but pods and claims, by kind and name.
        pods: its pods, those in deletion too.
        claims: its PersistentVolumeClaims, also those kept from an earlier DaskQueue of the same name.
        absent: optional kinds whose API the cluster does not have.
        storage_classes: names of the storage classes, and whether each is the default; None: not asked.
        complaints: what pods say about why they are not ready, by name, where they were asked.
    """

    objects: Mapping[tuple[str, str], Manifest] = field(default_factory=dict)
    pods: tuple[Manifest, ...] = ()
    claims: tuple[Manifest, ...] = ()
    absent: frozenset[Kind] = frozenset()
    storage_classes: Mapping[str, bool] | None = None
    complaints: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, bodies: Iterable[Manifest], absent: frozenset[Kind] = frozenset(), **more: Any) -> Observed:
        """Sort the objects of a queue."""
        objects: dict[tuple[str, str], Manifest] = {}
        pods: list[Manifest] = []
        claims: list[Manifest] = []
        for body in bodies:
            name = body["metadata"]["name"]
            match body["kind"]:
                case POD.kind:
                    pods.append(body)
                case CLAIM.kind:
                    claims.append(body)
                case kind:
                    objects[kind, name] = body
        return cls(objects, _by_name(pods), _by_name(claims), absent, **more)

    @property
    def shard_pods(self) -> tuple[Manifest, ...]:
        """Return the pods of the shards."""
        return self.pods_of("shard")

    @property
    def consumer_pods(self) -> tuple[Manifest, ...]:
        """Return the pods of the consumers."""
        return self.pods_of("consumer")

    def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object; None if it is not there.

        Args:
            kind: as in a manifest, such as ``Deployment``.
            name: its name.
        """
        return self.objects.get((kind, name))

    def workloads(self) -> list[Manifest]:
        """Return the objects that make pods."""
        return [
            body for (kind, _), body in self.objects.items() if kind in (DEPLOYMENT.kind, STATEFUL_SET.kind)
        ]

    def pods_of(self, component: lb.Component) -> tuple[Manifest, ...]:
        """Return the pods of a part of the queue."""
        return tuple(pod for pod in self.pods if pod["metadata"]["labels"].get(lb.COMPONENT) == component)


def shards_to_run(asked: int, queue: str, observed: Observed) -> int:
    """Return how many shards to run: as many as are asked for, and all that have a kept claim.

    A claim may hold messages; a shard that nobody runs would hide them.
    """
    numbers = (
        names.shard_of_claim(queue, claim["metadata"]["name"])
        for claim in observed.claims
        if not deleting(claim)
    )
    return max([asked, *(number + 1 for number in numbers if number is not None)])


def deleting(body: Manifest) -> bool:
    """Return whether an object is being deleted: an apply onto it would be told `applied`, and be gone."""
    return "deletionTimestamp" in body["metadata"]


def rolled_out(workload: Manifest | None) -> bool:
    """Return whether all pods of a workload are there, ready, and of its newest template."""
    if workload is None or deleting(workload):
        return False
    status = workload.get("status", {})
    wanted = workload["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 0)
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")]
    return seen and counts == [wanted] * 3


def replaced(workload: Manifest | None) -> bool:
    """Return whether no pod of an older template is left, and some serve if there are to be any.

    Less than rolled out: consumers that find no room on a full cluster count as replaced.
    """
    if workload is None or deleting(workload):
        return False
    status = workload.get("status", {})
    seen = status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 0)
    serves = status.get("readyReplicas", 0) > 0 or workload["spec"].get("replicas", 1) == 0
    return seen and serves and status.get("replicas", 0) == status.get("updatedReplicas", 0)


def runs(pod: Manifest) -> bool:
    """Return whether the containers of a pod run, ready or not."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return bool(statuses) and all("running" in status.get("state", {}) for status in statuses)


def serves(pod: Manifest) -> bool:
    """Return whether a pod is ready, and not on its way out."""
    conditions = pod.get("status", {}).get("conditions", [])
    return not deleting(pod) and any(
        each["type"] == "Ready" and each["status"] == "True" for each in conditions
    )


def _by_name(bodies: list[Manifest]) -> tuple[Manifest, ...]:
    return tuple(sorted(bodies, key=lambda body: body["metadata"]["name"]))
