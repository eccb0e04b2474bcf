"""``ConsumersReady``: as many consumers serve as there are to be."""

from __future__ import annotations

from daskqueue_operator import names
from daskqueue_operator.conditions.condition import Condition
from daskqueue_operator.conditions.troubles import first_trouble
from daskqueue_operator.conditions.view import View
from daskqueue_operator.conditions.workload import count, creation_trouble
from daskqueue_operator.kinds import DEPLOYMENT

TYPE = "ConsumersReady"


def consumers_ready(view: View) -> Condition:
    """Return whether all consumers that should be there serve, else why not."""
    name = names.consumer(view.queue.name)
    deployment = view.observed.get(DEPLOYMENT.kind, name)
    if deployment is None:
        return Condition(TYPE, "False", "Missing", f"Deployment {name} is not there yet")
    wanted, ready = deployment["spec"].get("replicas", 1), count(deployment, "readyReplicas")
    if wanted == 0 and view.queue.spec.suspend:
        return Condition(TYPE, "True", "Suspended", "no consumers run because spec.suspend is true")
    if wanted == 0:
        return Condition(TYPE, "True", "ScaledToZero", "no consumers run because there is nothing to do")
    if ready >= wanted:
        return Condition(TYPE, "True", "AllReady", f"all consumers are ready ({wanted})")
    pods = view.observed.pods_of("consumer")
    trouble = first_trouble(pods, view.observed, view.now) or creation_trouble(deployment)
    if trouble is not None:
        return Condition(TYPE, "False", trouble.reason, trouble.message)
    return Condition(TYPE, "False", "Starting", f"{ready} of {wanted} consumers are ready")
