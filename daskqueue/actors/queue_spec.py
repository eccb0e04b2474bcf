"""What a worker must know to open one queue of a pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daskqueue.actors import pool_folder
from daskqueue.clock import new_incarnation
from daskqueue.engine.settings import QueueSettings
from daskqueue.message import INCARNATION_BITS, Durability

if TYPE_CHECKING:
    from pathlib import Path

# A durable queue goes on with its sequences when it is re-opened, so it stays the same incarnation.
DURABLE_INCARNATION = 1


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """All that a worker needs to open one queue of a pool.

    *defaults* is what clients of a hosted pool take where their user says nothing.
    """

    pool_id: str
    pool_name: str
    index: int
    key: str
    durability: Durability
    dirpath: str | None
    former_incarnation: int
    settings: QueueSettings = field(default_factory=QueueSettings)
    create: bool = True
    hosted: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return pool_folder.queue_folder(self.dirpath or "/", self.pool_name, self.index)


def incarnation_of(spec: QueueSpec) -> int:
    """Return which life this is: a transient queue begins its sequences anew, and no old id may come again."""
    if spec.durability is Durability.DURABLE:
        return DURABLE_INCARNATION
    chosen = spec.former_incarnation
    while chosen == spec.former_incarnation:
        chosen = new_incarnation(INCARNATION_BITS)
    return chosen
