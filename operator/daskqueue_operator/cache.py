"""What the watches saw last: kopf's indexes, read as one store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from daskqueue_operator import labels as lb
from daskqueue_operator.kinds import DASK_QUEUE, WATCHED, Kind, Manifest
from daskqueue_operator.observe import Observed, deleting

Key = tuple[str, str]
Index = Mapping[Key, Iterable[Manifest]]


class Cache:
    """The objects of all DaskQueues, by namespace and name of their DaskQueue."""

    def __init__(self) -> None:
        self._indexes: Mapping[str, Index] = {}
        self._gone: set[str] = set()

    def attach(self, indexes: Mapping[str, Any]) -> None:
        """Take the indexes that kopf hands to a handler.

        Args:
            indexes: the handler's keyword arguments; an index is named after its kind's plural.
        """
        if not self._indexes:
            self._indexes = {kind.plural: indexes[kind.plural] for kind in (DASK_QUEUE, *WATCHED)}

    def queues(self) -> dict[Key, Manifest]:
        """Return all DaskQueues."""
        return {key: body for key in self._indexes.get(DASK_QUEUE.plural, {}) if (body := self.queue(key))}

    def queue(self, key: Key) -> Manifest | None:
        """Return a DaskQueue; None if there is none of that name."""
        found = [body for body in self._bodies(DASK_QUEUE, key) if body["metadata"]["uid"] not in self._gone]
        return next((body for body in found if not deleting(body)), found[0] if found else None)

    def forget(self, uid: str) -> None:
        """Take a DaskQueue as gone that the API server no longer has: of a namespace that goes, kopf hears no end."""
        self._gone.add(uid)

    def observed(self, key: Key, absent: frozenset[Kind]) -> Observed:
        """Return what is there of a DaskQueue.

        Args:
            key: its namespace and name.
            absent: optional kinds whose API the cluster does not have.
        """
        return Observed.of([body for kind in WATCHED for body in self._bodies(kind, key)], absent)

    def _bodies(self, kind: Kind, key: Key) -> list[Manifest]:
        return list(self._indexes.get(kind.plural, {}).get(key, ()))


def key_of(body: Mapping[str, Any]) -> Key:
    """Return the DaskQueue that an object belongs to; of a DaskQueue, itself."""
    metadata = body["metadata"]
    name = metadata["name"] if body.get("kind") == DASK_QUEUE.kind else metadata["labels"][lb.QUEUE]
    return metadata["namespace"], name
