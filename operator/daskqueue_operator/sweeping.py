"""DaskClusters that nobody lets go of: dask-kubernetes has a finalizer on them, and may be gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from daskqueue_operator.apply import Cluster
from daskqueue_operator.kinds import DASK_CLUSTER
from daskqueue_operator.observe import deleting

log = logging.getLogger("daskqueue_operator")

FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"
PATIENCE_SECONDS = 15.0  # dask-kubernetes needs about one


def is_held(body: Mapping[str, Any]) -> bool:
    """Return whether an object would be gone but for the finalizer of dask-kubernetes."""
    return deleting(dict(body)) and FINALIZER in body["metadata"].get("finalizers", [])


async def sweep(cluster: Cluster, body: Mapping[str, Any]) -> None:
    """Remove the finalizer of an object in deletion, after dask-kubernetes had time to do so itself.

    Args:
        cluster: the API server.
        body: the object, as it was when it was seen in deletion.
    """
    await asyncio.sleep(PATIENCE_SECONDS)
    kind, metadata = DASK_CLUSTER, body["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    there = await cluster.get(kind, namespace, name)
    if there is None or there["metadata"]["uid"] != metadata["uid"] or not is_held(there):
        return
    kept = [finalizer for finalizer in there["metadata"]["finalizers"] if finalizer != FINALIZER]
    log.warning(
        "%s/%s: dask-kubernetes does not let go of %s; its finalizer is removed", namespace, name, kind.kind
    )
    version = there["metadata"]["resourceVersion"]
    await cluster.merge(
        kind, namespace, name, {"metadata": {"finalizers": kept or None, "resourceVersion": version}}
    )
