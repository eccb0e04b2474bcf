"""The DaskCluster: what Dask's own tools, such as ``KubeCluster.from_name``, know the queue by."""

from __future__ import annotations

from daskqueue_operator.build import scheduler
from daskqueue_operator.build.source import Source, manifest, owner
from daskqueue_operator.kinds import DASK_CLUSTER, Manifest


def dask_cluster(source: Source) -> Manifest:
    """Return the DaskCluster: our scheduler, and no workers.

    Dask's autoscaling and ``idleTimeout`` are never used: they do not see the queues' work.
    """
    pod = scheduler.pod_template(source)["spec"]
    spec = {
        "scheduler": {
            "spec": pod | {"containers": [*map(_with_args, pod["containers"])]},
            "service": scheduler.service(source)["spec"],
        },
        "worker": {"replicas": 0, "spec": {"containers": [{"name": "worker", "image": source.image}]}},
    }
    made = manifest(source, DASK_CLUSTER, source.name, {"spec": spec}, "scheduler")
    # dask-kubernetes has a finalizer on it: were it down, a deletion in the foreground would wait for ever.
    made["metadata"]["ownerReferences"] = [owner(source.queue, blocks=False)]
    return made


def _with_args(container: Manifest) -> Manifest:
    """Return a container with its command as ``args``, where ``KubeCluster.from_name`` looks for options."""
    rest = {key: value for key, value in container.items() if key != "command"}
    return rest | {"args": container["command"]}
