"""What scaling is given and gives back: the seam between the reconciler and the scaler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from daskqueue_operator.kinds import Kind, Manifest
from daskqueue_operator.scrape import ShardReading


class Cluster(Protocol):
    """What is written to Kubernetes."""

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        """Merge a patch into an object."""

    async def scale_consumers(self, namespace: str, name: str, replicas: int) -> None:
        """Set how many consumers the Deployment of a DaskQueue asks for."""


class Observed(Protocol):
    """What is there of a queue."""

    @property
    def shard_pods(self) -> Sequence[Mapping[str, Any]]:
        """The pods of the shards, as the API has them."""

    @property
    def consumer_pods(self) -> Sequence[Mapping[str, Any]]:
        """The pods of the consumers, as the API has them."""

    def get(self, kind: str, name: str) -> Mapping[str, Any] | None:
        """Return an object of the queue; None if it is not there."""


@dataclass(frozen=True)
class Backlog:
    """What lies in the shards that answered, together.

    Args:
        ready: Messages that wait.
        leased: Messages that consumers hold.
        delayed: Messages that wait for their time.
        dead: Dead letters.
        oldest_age_seconds: How long the oldest ready message has waited; None if none waits.
    """

    ready: int
    leased: int
    delayed: int
    dead: int
    oldest_age_seconds: float | None


@dataclass(frozen=True)
class Scaled:
    """A change of the number of consumers.

    Args:
        before: The number before.
        after: The number after.
        cause: One word: backlog, wait, arrivals, idle, suspend or replicas.
    """

    before: int
    after: int
    cause: str


@dataclass(frozen=True)
class ScaleResult:
    """What was found and done.

    Args:
        desired: Consumers that there should be.
        draining: Consumers that are on their way out.
        limited_by: What kept `desired` from being what the load alone asks for.
        reason: One word for the condition.
        message: A sentence for the condition.
        active: Whether scaling works: False while it has to hold the number.
        backlog: What lies in the shards; None if none answered.
        shards: What each shard said, by the name of its pod; None where it did not answer.
        again_seconds: When to look again, at the latest.
        last_scale_at: When the number of consumers was last changed, in seconds.
        last_active_at: When there was last something to do, in seconds.
        scaled: The change that was made now, if any.
    """

    desired: int
    draining: int
    limited_by: str
    reason: str
    message: str
    active: bool
    backlog: Backlog | None
    shards: Mapping[str, ShardReading | None]
    again_seconds: float
    last_scale_at: float | None
    last_active_at: float | None
    scaled: Scaled | None

    @property
    def paused(self) -> bool:
        """Whether a shard hands out nothing because somebody said so."""
        return any(reading is not None and reading.paused for reading in self.shards.values())
