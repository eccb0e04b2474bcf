"""``Progressing``: something is still being changed."""

from __future__ import annotations

from daskqueue_operator import names
from daskqueue_operator.conditions.condition import Condition
from daskqueue_operator.conditions.view import View
from daskqueue_operator.kinds import DEPLOYMENT, STATEFUL_SET, Manifest
from daskqueue_operator.observe import rolled_out
from daskqueue_operator.plan import Verb
from daskqueue_operator.quantities import amount

TYPE = "Progressing"


def progressing(view: View) -> Condition:
    """Return whether the queue is on its way to what its spec says, and what is done or waited for."""
    if view.failure is not None:
        return Condition(TYPE, "True", view.failure.reason, view.failure.message)
    waiting = [action for action in view.actions if action.verb is Verb.WAIT]
    done = [action for action in view.actions if action.verb is not Verb.WAIT]
    if done or waiting:
        first = (done or waiting)[0]
        return Condition(TYPE, "True", "Waiting" if not done else "Changing", str(first))
    queue = view.queue.name
    workloads = [
        (DEPLOYMENT, names.scheduler(queue)),
        (STATEFUL_SET, names.shard(queue)),
        (DEPLOYMENT, names.consumer(queue)),
    ]
    for kind, name in workloads:
        if not rolled_out(view.observed.get(kind.kind, name)):
            return Condition(
                TYPE, "True", "RollingOut", f"the pods of {kind.kind} {name} are coming or going"
            )
    for claim in view.observed.claims:
        if growth := _growth(claim):
            return Condition(TYPE, "True", "Resizing", f"claim {claim['metadata']['name']} {growth}")
    return Condition(TYPE, "False", "Complete", "everything is as the spec says")


def _growth(claim: Manifest) -> str | None:
    """Return how far a claim's volume is behind what the claim asks for, None if it is not."""
    wanted = claim["spec"].get("resources", {}).get("requests", {}).get("storage")
    present = claim.get("status", {}).get("capacity", {}).get("storage")
    if wanted is None or present is None or amount(present) >= amount(wanted):
        return None
    return f"has {present} and is to have {wanted}"
