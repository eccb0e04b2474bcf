"""The kinds of Kubernetes objects that the operator reads or writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daskqueue_operator.dask_queue import API_VERSION, KIND, PLURAL

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object and where the API server keeps it.

    Args:
        api_version: as in a manifest.
        kind: as in a manifest.
        plural: its name in paths of the API.
        optional: its API may be absent in a cluster; everything else goes on without it.
    """

    api_version: str
    kind: str
    plural: str
    optional: bool = False

    @property
    def group(self) -> str:
        """Return the API group, "" for the core."""
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """Return how messages and kopf name it: ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


DASK_QUEUE = Kind(API_VERSION, KIND, PLURAL)
SERVICE = Kind("v1", "Service", "services")
SECRET = Kind("v1", "Secret", "secrets")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
POD = Kind("v1", "Pod", "pods")
CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
EVENT = Kind("v1", "Event", "events")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
STORAGE_CLASS = Kind("storage.k8s.io/v1", "StorageClass", "storageclasses")
DASK_CLUSTER = Kind("kubernetes.dask.org/v1", "DaskCluster", "daskclusters", optional=True)
POD_MONITOR = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors", optional=True)

APPLIED = (
    SERVICE, SECRET, CONFIG_MAP, DEPLOYMENT, STATEFUL_SET, DISRUPTION_BUDGET, DASK_CLUSTER, POD_MONITOR,
)  # fmt: skip
WATCHED = (*APPLIED, POD, CLAIM)

_BY_NAME = {kind.kind: kind for kind in (*WATCHED, DASK_QUEUE, EVENT, STORAGE_CLASS)}


def kind_of(manifest: Manifest) -> Kind:
    """Return the kind of a manifest that this operator made or read."""
    return _BY_NAME[manifest["kind"]]
