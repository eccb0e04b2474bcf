"""Labels and annotations of the objects of a DaskQueue."""

from __future__ import annotations

from typing import Literal

Component = Literal["scheduler", "shard", "consumer"]

MANAGER = "daskqueue-operator"  # the label, and our name as a field manager
QUEUE = "daskqueue.dev/queue"
COMPONENT = "app.kubernetes.io/component"
MANAGED_BY = "app.kubernetes.io/managed-by"
SELECTOR = f"{MANAGED_BY}={MANAGER},{QUEUE}"  # what the watches ask for

APPLIED = "daskqueue.dev/applied"  # digest of the manifest as we applied it last
TEMPLATE = "daskqueue.dev/template"  # digest of the pod template in it
CONFIG = "daskqueue.dev/config"  # digest of the configuration that the pods started with


def labels(queue: str, component: Component | None = None) -> dict[str, str]:
    """Return the labels that an object of *queue* carries.

    Args:
        queue: name of the DaskQueue.
        component: the part that the object belongs to; None if it belongs to all.
    """
    return selector(queue, component) | {MANAGED_BY: MANAGER, QUEUE: queue}


def selector(queue: str, component: Component | None = None) -> dict[str, str]:
    """Return the labels that choose the pods of a part of *queue*."""
    chosen = {"app.kubernetes.io/name": "daskqueue", "app.kubernetes.io/instance": queue}
    return chosen | {COMPONENT: component} if component else chosen


def dask_selector(queue: str) -> dict[str, str]:
    """Return the labels by which dask-kubernetes and its clients choose the scheduler."""
    return {"dask.org/cluster-name": queue, "dask.org/component": "scheduler"}


def as_text(chosen: dict[str, str]) -> str:
    """Return labels as a selector in text, as ``/scale`` wants it."""
    return ",".join(f"{key}={value}" for key, value in chosen.items())
