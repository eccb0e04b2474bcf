"""What all builders are given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daskqueue_operator.dask_queue import API_VERSION, KIND, DaskQueue
from daskqueue_operator.kinds import Kind, Manifest
from daskqueue_operator.labels import Component, labels


@dataclass(frozen=True, slots=True)
class Source:
    """A DaskQueue, and what the operator adds to its wishes.

    Args:
        queue: the DaskQueue.
        image: the image that its pods run.
        pull_policy: when nodes pull it.
        shards: how many shards to run: those asked for, and those that have kept claims.
        consumers: how many consumers the Deployment begins with; None: it is there, and its number is not ours.
    """

    queue: DaskQueue
    image: str
    pull_policy: str
    shards: int
    consumers: int | None

    @property
    def name(self) -> str:
        """Return the name of the DaskQueue."""
        return self.queue.name


def manifest(
    source: Source, kind: Kind, name: str, body: Manifest, component: Component | None = None
) -> Manifest:
    """Return a whole manifest: names, labels and the owner, around *body*."""
    metadata = {
        "name": name,
        "namespace": source.queue.namespace,
        "labels": labels(source.name, component),
        "annotations": {},
        "ownerReferences": [owner(source.queue)],
    }
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}


def owner(queue: DaskQueue, *, blocks: bool = True) -> Manifest:
    """Return the reference by which Kubernetes deletes an object together with its DaskQueue.

    Args:
        queue: the DaskQueue.
        blocks: a deletion in the foreground waits for the object.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": queue.name,
        "uid": queue.uid,
        "controller": True,
        "blockOwnerDeletion": blocks,
    }


def digest(value: Mapping[str, Any]) -> str:
    """Return a short name of *value*'s contents."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
