"""The Dask worker that queues and consumers live on, as far as they use it."""

from __future__ import annotations

from typing import Any, Protocol


class Node(Protocol):
    """A ``distributed.Worker``, or what stands for the present one in a process that joins again and again."""

    @property
    def address(self) -> Any:
        """Where others reach it."""

    @property
    def scheduler(self) -> Any:
        """Its connection to the scheduler, None while it has none."""

    @property
    def state(self) -> Any:
        """Its state machine; the actors are there."""

    @property
    def rpc(self) -> Any:
        """Its pool of connections to other workers."""
