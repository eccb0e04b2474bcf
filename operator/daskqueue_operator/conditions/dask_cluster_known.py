"""``DaskClusterKnown``: Dask's own tools find the queue. Nothing else depends on it."""

from __future__ import annotations

from datetime import datetime

from daskqueue_operator.conditions.condition import Condition
from daskqueue_operator.conditions.view import View
from daskqueue_operator.kinds import DASK_CLUSTER

TYPE = "DaskClusterKnown"
PATIENCE_SECONDS = 30


def dask_cluster_known(view: View) -> Condition:
    """Return whether dask-kubernetes has seen our DaskCluster."""
    if DASK_CLUSTER in view.observed.absent:
        return Condition(
            TYPE,
            "False",
            "NoDaskKubernetes",
            "this cluster has no DaskCluster resource: install dask-kubernetes if KubeCluster.from_name is wanted; "
            "the queue works without it",
        )
    cluster = view.observed.get(DASK_CLUSTER.kind, view.queue.name)
    if cluster is None:
        return Condition(TYPE, "False", "Missing", f"DaskCluster {view.queue.name} is not there yet")
    if cluster.get("status", {}).get("phase"):
        return Condition(
            TYPE, "True", "Known", f"KubeCluster.from_name({view.queue.name!r}) finds this queue"
        )
    made = datetime.fromisoformat(cluster["metadata"]["creationTimestamp"])
    if (view.now - made).total_seconds() < PATIENCE_SECONDS:
        return Condition(TYPE, "False", "Starting", "dask-kubernetes has not seen the DaskCluster yet")
    return Condition(
        TYPE,
        "False",
        "NoAnswer",
        f"the operator of dask-kubernetes has not touched DaskCluster {view.queue.name}: is it running? "
        "The queue works without it",
    )
