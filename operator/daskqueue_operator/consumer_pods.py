"""What scaling needs to know of a pod."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

COST = "controller.kubernetes.io/pod-deletion-cost"
DRAINED_AT = "daskqueue.dev/drained-at"


@dataclass(frozen=True)
class Pod:
    """A pod of a queue.

    Args:
        name: Its name.
        ip: Where it can be asked; None before it has an address.
        ready: Whether it is Ready.
        started: Whether it has come as far as to a node and its containers.
        running: Whether a container of it runs now.
        leaving: Whether it is being deleted, or has ended.
        created_at: When it was made, in seconds.
        template: Which version of the Deployment's template it was made from.
        cost: Its deletion cost: the cheapest ones are removed first.
        drained_at: When it was told to drain, in seconds; None if it was not.
    """

    name: str
    ip: str | None = None
    ready: bool = True
    started: bool = True
    running: bool = True
    leaving: bool = False
    created_at: float = 0.0
    template: str = ""
    cost: int = 0
    drained_at: float | None = None

    @staticmethod
    def of(manifest: Mapping[str, Any]) -> Pod:
        """Return the pod of a manifest as the API has it.

        Args:
            manifest: The manifest.
        """
        metadata, status = manifest["metadata"], manifest.get("status", {})
        annotations = metadata.get("annotations") or {}
        conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
        phase = status.get("phase")
        return Pod(
            name=metadata["name"],
            ip=status.get("podIP"),
            ready=conditions.get("Ready") == "True",
            started=phase == "Running",
            running=any(
                "running" in (each.get("state") or {}) for each in status.get("containerStatuses") or ()
            ),
            leaving="deletionTimestamp" in metadata or phase in {"Succeeded", "Failed"},
            created_at=seconds_of(metadata.get("creationTimestamp")) or 0.0,
            template=(metadata.get("labels") or {}).get("pod-template-hash", ""),
            cost=_number(annotations.get(COST)),
            drained_at=seconds_of(annotations.get(DRAINED_AT)),
        )


def seconds_of(time: str | None) -> float | None:
    """Return a time of the API in seconds; None if it is none.

    Args:
        time: Such as `2026-01-31T12:00:00Z`.
    """
    try:
        return datetime.fromisoformat(time or "").timestamp()
    except ValueError:
        return None


def time_of(seconds: float) -> str:
    """Return a time as the API writes it.

    Args:
        seconds: The time, in seconds.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
