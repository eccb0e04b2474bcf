"""DaskQueues, what they want, and what the API server would have of it."""

from __future__ import annotations

import copy
from datetime import UTC, datetime

from daskqueue_operator import kinds
from daskqueue_operator import labels as lb
from daskqueue_operator.build.source import Source
from daskqueue_operator.conditions.view import View
from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.desired import desired
from daskqueue_operator.observe import Observed
from daskqueue_operator.plan import SCALING

IMAGE = "localhost/daskqueue:1"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
THEN = "2026-11-23T11:00:00Z"


def body(spec=None, name="inv", status=None, generation=1, **metadata):
    """Return a DaskQueue as the API server has it."""
    whose = {
        "name": name,
        "namespace": "shop",
        "uid": "u-1",
        "generation": generation,
        "resourceVersion": "7",
    }
    whole = {"apiVersion": "daskqueue.dev/v1alpha1", "kind": "DaskQueue", "metadata": whose | metadata}
    return whole | {"spec": spec or {}} | ({"status": status} if status else {})


def source(spec=None, name="inv", shards=None, consumers=None, image=IMAGE):
    """Return what builders are given; by default of a queue whose Deployments are there."""
    queue = DaskQueue.of(body(spec, name))
    return Source(
        queue, queue.spec.image or image, "IfNotPresent", shards or queue.spec.shards.replicas, consumers
    )


def wanted(spec=None, **more):
    """Return all manifests of a queue."""
    return desired(source(spec, **more), frozenset())


def served(manifest):
    """Return a manifest as the API server would have it some time after it was applied."""
    there = copy.deepcopy(manifest)
    managers = [lb.MANAGER, SCALING] if manifest["metadata"]["name"].endswith("-consumer") else [lb.MANAGER]
    there["metadata"] |= {
        "uid": f"uid of {manifest['kind']} {manifest['metadata']['name']}",
        "resourceVersion": "11",
        "generation": 1,
        "creationTimestamp": THEN,
        "managedFields": [{"manager": manager} for manager in managers],
    }
    if manifest["kind"] in ("Deployment", "StatefulSet"):
        there["spec"].setdefault("replicas", 2)
        counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), there["spec"]["replicas"])
        there["status"] = {"observedGeneration": 1, **counts}
    if manifest["kind"] == "DaskCluster":
        there["status"] = {"phase": "Pending"}
    return there


def shard_pods(manifests):
    """Return the pods of the StatefulSet among manifests, all ready."""
    number = find(manifests, "StatefulSet", "inv-shard")["spec"]["replicas"]
    return [pod(f"inv-shard-{each}") for each in range(number)]


def world(manifests, *more, without=(), **known):
    """Return what is there once manifests were applied, with pods and claims, and without some (kind, name)."""
    bodies = [*map(served, manifests), *shard_pods(manifests)]
    kept = [each for each in bodies if (each["kind"], each["metadata"]["name"]) not in without]
    return Observed.of([*kept, *more], **known)


def find(bodies, kind, name):
    """Return one of many objects."""
    return next(each for each in bodies if (each["kind"], each["metadata"]["name"]) == (kind, name))


def pod(
    name="inv-shard-0",
    component="shard",
    *,
    ready=True,
    spec=None,
    since=THEN,
    conditions=(),
    queue="inv",
    **container,
):
    """Return a pod; *container* is its container's status."""
    ready_condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": since}
    if ready:
        container.setdefault("state", {"running": {}})
    statuses = [{"name": component, "image": IMAGE, "ready": ready, **container}] if container else []
    return {
        "apiVersion": "v1",
        "kind": kinds.POD.kind,
        "metadata": {"name": name, "namespace": "shop", "labels": lb.labels(queue, component)},
        "spec": spec or {},
        "status": {
            "phase": "Running" if statuses else "Pending",
            "conditions": [ready_condition, *conditions],
            "containerStatuses": statuses,
        },
    }


def claim(number=0, size="10Gi", phase="Bound", storage_class="standard", **metadata):
    """Return a shard's claim."""
    spec = {"resources": {"requests": {"storage": size}}}
    return {
        "apiVersion": "v1",
        "kind": kinds.CLAIM.kind,
        "metadata": {"name": f"data-inv-shard-{number}", "namespace": "shop", **metadata},
        "spec": spec | ({"storageClassName": storage_class} if storage_class else {}),
        "status": {"phase": phase} | ({"capacity": {"storage": size}} if phase == "Bound" else {}),
    }


def view(observed=None, spec=None, shards=None, **more):
    """Return a queue and what is there of it; by default all is well."""
    queue = DaskQueue.of(body(spec))
    there = world(wanted(spec)) if observed is None else observed
    return View(queue, there, shards or queue.spec.shards.replicas, more.pop("now", NOW), **more)
