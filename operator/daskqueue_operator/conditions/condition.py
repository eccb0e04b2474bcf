"""A condition, as ``status.conditions`` has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Answer = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is so or is not.

    Args:
        type: what it is about, such as ``Ready``.
        status: whether it is so.
        reason: one word.
        message: a sentence that a person can act on.
    """

    type: str
    status: Answer
    reason: str
    message: str


def as_status(
    conditions: Iterable[Condition], before: Iterable[Mapping[str, Any]], generation: int, now: str
) -> list[dict[str, Any]]:
    """Return conditions for the status; the time of a transition stays while the answer does.

    Args:
        conditions: what is so now.
        before: ``status.conditions`` as it was.
        generation: the generation of the spec that was looked at.
        now: the time, as the API writes it.
    """
    old = {entry["type"]: entry for entry in before}
    written = []
    for condition in conditions:
        last = old.get(condition.type, {})
        since = last["lastTransitionTime"] if last.get("status") == condition.status else now
        written.append(
            {
                "type": condition.type,
                "status": condition.status,
                "observedGeneration": generation,
                "lastTransitionTime": since,
                "reason": condition.reason,
                "message": condition.message,
            }
        )
    return written
