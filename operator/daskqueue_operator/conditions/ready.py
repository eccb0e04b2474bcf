"""``Ready``: the queue takes messages, and gives them to those that are there to run them."""

from __future__ import annotations

from collections.abc import Sequence

from daskqueue_operator import names
from daskqueue_operator.conditions.condition import Condition
from daskqueue_operator.conditions.view import View
from daskqueue_operator.conditions.workload import count
from daskqueue_operator.kinds import DEPLOYMENT

TYPE = "Ready"
ON_THE_WAY = {"Starting", "Missing"}


def ready(view: View, scheduler: Condition, shards: Condition, consumers: Condition) -> Condition:
    """Return the one answer that people look at first, with the cause before its consequences.

    Consumers that are only starting do not take readiness away: messages are accepted and kept. Those that cannot
    start do, unless others of them serve.

    Args:
        view: the DaskQueue and what was done about it.
        scheduler: ``SchedulerAvailable``.
        shards: ``ShardsReady``.
        consumers: ``ConsumersReady``.
    """
    if view.failure is not None:
        return Condition(TYPE, "False", view.failure.reason, view.failure.message)
    if missing := [condition for condition in (scheduler, shards) if condition.status != "True"]:
        return Condition(TYPE, "False", *_worst(missing))
    if consumers.status == "True" or consumers.reason in ON_THE_WAY:
        return Condition(TYPE, "True", *_greeting(view))
    deployment = view.observed.get(DEPLOYMENT.kind, names.consumer(view.queue.name))
    some = count(deployment, "readyReplicas") > 0
    return Condition(TYPE, "True" if some else "False", consumers.reason, consumers.message)


def _worst(missing: Sequence[Condition]) -> tuple[str, str]:
    """Return reason and message of what is wrong, or else of what is only starting."""
    wrong = [condition for condition in missing if condition.reason not in ON_THE_WAY]
    first = (wrong or missing)[0]
    return first.reason, first.message


def _greeting(view: View) -> tuple[str, str]:
    """Return reason and message of a queue that works, which somebody may have told to hand out nothing."""
    name, namespace = view.queue.name, view.queue.namespace
    if view.queue.spec.suspend:
        return (
            "Suspended",
            "messages are taken and kept; no consumers run because spec.suspend is true",
        )
    if view.scaling is not None and view.scaling.paused:
        resume = f"kubectl exec -n {namespace} {names.shard(name)}-0 -- daskqueue queue resume"
        return (
            "Paused",
            f"messages are taken and kept; nothing is handed out since somebody paused it: `{resume}`",
        )
    return "Serving", f'messages are taken: daskqueue.connect("{name}") in namespace {namespace}'
