"""Everything that a DaskQueue wants, in the order in which it is made."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from daskqueue_operator import labels as lb
from daskqueue_operator.build import configuration, consumers, scheduler, shards
from daskqueue_operator.build.dask_cluster import dask_cluster
from daskqueue_operator.build.disruption_budgets import disruption_budgets
from daskqueue_operator.build.pod_monitor import pod_monitor
from daskqueue_operator.build.source import Source, digest
from daskqueue_operator.kinds import DASK_CLUSTER, POD_MONITOR, Kind, Manifest


def desired(source: Source, absent: Collection[Kind]) -> list[Manifest]:
    """Return the manifests of a DaskQueue, each with the digests by which a later change is seen.

    The scheduler comes before the DaskCluster: dask-kubernetes leaves alone what it finds there.

    Args:
        source: the DaskQueue.
        absent: optional kinds whose API the cluster does not have.
    """
    made = [scheduler.service(source), scheduler.deployment(source)]
    if DASK_CLUSTER not in absent:
        made.append(dask_cluster(source))
    made += [configuration.connection(source), configuration.config(source)]
    made += [shards.service(source), shards.stateful_set(source), consumers.deployment(source)]
    made += disruption_budgets(source)
    if wants_pod_monitor(source, absent):
        made.append(pod_monitor(source))
    return [with_digests(manifest) for manifest in made]


def wants_pod_monitor(source: Source, absent: Collection[Kind]) -> bool:
    """Return whether a PodMonitor is made: where the API is, unless it is forbidden."""
    return source.queue.spec.monitoring.pod_monitor != "Disabled" and POD_MONITOR not in absent


def with_digests(manifest: Manifest) -> Manifest:
    """Return *manifest* with annotations that name its contents, and those of its pod template."""
    digests = {lb.APPLIED: digest(manifest)}
    template: dict[str, Any] | None = pod_template(manifest)
    if template is not None:
        digests[lb.TEMPLATE] = digest(template)
    metadata = manifest["metadata"]
    return manifest | {"metadata": metadata | {"annotations": metadata["annotations"] | digests}}


def pod_template(manifest: Manifest) -> Manifest | None:
    """Return the pod template of a workload; None of anything else."""
    return manifest.get("spec", {}).get("template")
