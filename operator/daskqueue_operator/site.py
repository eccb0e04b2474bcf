"""What all DaskQueues of one operator share."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from daskqueue_operator import kinds
from daskqueue_operator.apply import Cluster
from daskqueue_operator.cache import Cache
from daskqueue_operator.kinds import Kind, Manifest
from daskqueue_operator.labels import APPLIED
from daskqueue_operator.observe import Observed
from daskqueue_operator.plan import Action, Verb
from daskqueue_operator.rivals import Rivals
from daskqueue_operator.scrape import Scraper
from daskqueue_operator.turns import Turns

APIS_SECONDS = 60.0  # how long the answer holds whether the cluster has an optional API
CLASSES_SECONDS = 10.0
UNSEEN_SECONDS = 10.0  # that the watches have to tell of an object that was made; they need a tenth of one


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator is told by its environment.

    Args:
        image: the image of queues that name none; "" if there is no such default.
        pull_policy: when nodes pull it.
        metrics_port: where the operator's own metrics are; 0 for any, -1 for nowhere.
    """

    image: str
    pull_policy: str
    metrics_port: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Read the variables ``DASKQUEUE_OPERATOR_*``.

        Raises:
            ValueError: the port is no number.
        """
        port = environment.get("DASKQUEUE_OPERATOR_METRICS_PORT", "8080")
        if not port.lstrip("-").isdigit():
            raise ValueError(
                f"DASKQUEUE_OPERATOR_METRICS_PORT must be a port, 0 for any or -1 for none, not {port!r}"
            )
        return cls(
            image=environment.get("DASKQUEUE_OPERATOR_IMAGE", ""),
            pull_policy=environment.get("DASKQUEUE_OPERATOR_PULL_POLICY") or "IfNotPresent",
            metrics_port=int(port),
        )


@dataclass
class Site:
    """The cluster, what was seen of it, and whose turn it is.

    Args:
        cluster: the API server.
        settings: the operator's settings.
        cache: what the watches saw.
        scraper: asks pods for their metrics.
        turns: whose pods may be replaced.
        rivals: other operators that serve the same queues.
        unwatched: kinds whose objects are there, and the watches never tell of them.
    """

    cluster: Cluster
    settings: Settings = field(default_factory=lambda: Settings.of(os.environ))
    cache: Cache = field(default_factory=Cache)
    scraper: Scraper = field(default_factory=Scraper)
    turns: Turns = field(default_factory=lambda: Turns(time.monotonic))
    rivals: Rivals = field(default_factory=lambda: Rivals(time.monotonic))
    unwatched: set[str] = field(default_factory=set)
    _unseen: dict[tuple[str, str, str], float] = field(default_factory=dict)
    _made: dict[tuple[str, str, str], tuple[str, str]] = field(default_factory=dict)
    _absent: tuple[float, frozenset[Kind]] = (-APIS_SECONDS, frozenset())
    _classes: tuple[float, Mapping[str, bool]] = (-CLASSES_SECONDS, MappingProxyType({}))

    def note(self, action: Action, applied: Manifest | None, namespace: str) -> None:
        """Remember what an apply made of an object."""
        key = (namespace, action.kind.kind, action.name)
        if applied is not None:
            self.rivals.note(applied)
        if applied is not None and action.verb is Verb.APPLY:
            self._made[key] = (applied["metadata"]["resourceVersion"], _digest(action))
        if action.verb is Verb.CREATE:
            if applied is None and key in self._unseen:
                self.unwatched.add(action.kind.plural)
            self._unseen.setdefault(key, time.monotonic())

    def news(self, actions: Sequence[Action], observed: Observed, namespace: str) -> list[Action]:
        """Return *actions* without those whose result is known, or on its way.

        An apply onto an object that is just as the last one left it changes nothing, for ever: the API server writes
        some values in its own way. And what was made is not made again before the watches had time to tell of it.
        """
        for kind, name in observed.objects:
            self._unseen.pop((namespace, kind, name), None)
        return [action for action in actions if not self._is_known(action, observed, namespace)]

    def _is_known(self, action: Action, observed: Observed, namespace: str) -> bool:
        key = (namespace, action.kind.kind, action.name)
        if action.verb is Verb.CREATE:
            return time.monotonic() - self._unseen.get(key, -UNSEEN_SECONDS) < UNSEEN_SECONDS
        there = observed.get(action.kind.kind, action.name)
        if action.verb is not Verb.APPLY or there is None:
            return False
        return self._made.get(key) == (there["metadata"]["resourceVersion"], _digest(action))

    async def absent(self, namespace: str) -> frozenset[Kind]:
        """Return the optional kinds whose API the cluster does not have, as it was within the last minute."""
        asked_at, absent = self._absent
        if time.monotonic() - asked_at >= APIS_SECONDS:
            optional = [kind for kind in kinds.APPLIED if kind.optional]
            absent = frozenset([kind for kind in optional if not await self.cluster.has(kind, namespace)])
            self._absent = (time.monotonic(), absent)
        return absent

    async def storage_classes(self) -> Mapping[str, bool]:
        """Return the storage classes, as they were within the last seconds."""
        asked_at, classes = self._classes
        if time.monotonic() - asked_at >= CLASSES_SECONDS:
            classes = await self.cluster.storage_classes()
            self._classes = (time.monotonic(), classes)
        return classes

    async def close(self) -> None:
        """Close all connections."""
        await self.scraper.close()
        await self.cluster.close()


def _digest(action: Action) -> str:
    assert action.manifest is not None
    return str(action.manifest["metadata"]["annotations"][APPLIED])
