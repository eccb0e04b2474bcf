"""``SchedulerAvailable``: the Dask scheduler answers."""

from __future__ import annotations

from daskqueue_operator import names
from daskqueue_operator.conditions.condition import Condition
from daskqueue_operator.conditions.troubles import first_trouble
from daskqueue_operator.conditions.view import View
from daskqueue_operator.conditions.workload import creation_trouble
from daskqueue_operator.kinds import DEPLOYMENT

TYPE = "SchedulerAvailable"


def scheduler_available(view: View) -> Condition:
    """Return whether the scheduler serves, else why not."""
    name = names.scheduler(view.queue.name)
    deployment = view.observed.get(DEPLOYMENT.kind, name)
    if deployment is None:
        return Condition(TYPE, "False", "Missing", f"Deployment {name} is not there yet")
    if deployment.get("status", {}).get("readyReplicas", 0) >= 1:
        address = names.scheduler_address(view.queue.name, view.queue.namespace)
        return Condition(TYPE, "True", "Available", f"the scheduler serves at {address}")
    pods = view.observed.pods_of("scheduler")
    trouble = first_trouble(pods, view.observed, view.now) or creation_trouble(deployment)
    if trouble is not None:
        return Condition(TYPE, "False", trouble.reason, trouble.message)
    return Condition(TYPE, "False", "Starting", "the scheduler's pod is starting")
