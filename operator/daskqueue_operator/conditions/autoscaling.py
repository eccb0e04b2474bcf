"""``Autoscaling``: the number of consumers is decided on, not held."""

from __future__ import annotations

from daskqueue_operator.conditions.condition import Condition
from daskqueue_operator.conditions.view import View

TYPE = "Autoscaling"


def autoscaling(view: View) -> Condition:
    """Return whether the scaling works, and what it said last."""
    said = view.scaling
    if said is None:
        return Condition(TYPE, "Unknown", "Starting", "nothing was decided yet")
    return Condition(TYPE, "True" if said.active else "False", said.reason, said.message)
