"""One pass over one DaskQueue: look, want, plan, carry out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby

import httpx2
from lightkube.core.exceptions import ApiError

from daskqueue_operator import names
from daskqueue_operator.apply import NameTakenError
from daskqueue_operator.build.source import Source
from daskqueue_operator.complaints import complaints
from daskqueue_operator.conditions.view import Failure
from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.desired import desired
from daskqueue_operator.errors import SpecError
from daskqueue_operator.kinds import DEPLOYMENT
from daskqueue_operator.observe import Observed, rolled_out, shards_to_run
from daskqueue_operator.operator_metrics import ACTIONS
from daskqueue_operator.plan import Action, Verb, plan, rolls
from daskqueue_operator.site import Site

log = logging.getLogger("daskqueue_operator")

RIVALRY = "AnotherOperator"
REFUSALS = {400: "Rejected", 403: "Forbidden", 404: "Rejected", 422: "Rejected"}


@dataclass(frozen=True)
class Outcome:
    """What a pass found and did.

    Args:
        observed: what was there before it.
        shards: how many shards run.
        actions: what was to be done, in that order.
        failure: what was in the way; the actions after it were left for later.
    """

    observed: Observed
    shards: int
    actions: Sequence[Action] = ()
    failure: Failure | None = None

    @property
    def yields(self) -> bool:
        """Return whether all was left to another operator."""
        return self.failure is not None and self.failure.reason == RIVALRY

    @property
    def waiting(self) -> list[Action]:
        """Return what is only waited for."""
        return [action for action in self.actions if action.verb is Verb.WAIT]

    @property
    def done(self) -> list[Action]:
        """Return what was not only waited for."""
        return [action for action in self.actions if action.verb is not Verb.WAIT]


async def reconcile(site: Site, queue: DaskQueue, wake: Callable[[], None]) -> Outcome:
    """Bring a DaskQueue a step nearer to its spec.

    Args:
        site: the cluster and what was seen of it.
        queue: the DaskQueue.
        wake: called when its turn comes to have its pods replaced.

    Raises:
        SpecError: the spec cannot be carried out.
        HTTPError: the API server is not well; try again.
    """
    key = (queue.namespace, queue.name)
    observed = await _look(site, queue)
    source = source_of(site, queue, observed)
    if contested := site.rivals.contest(key, observed):
        return Outcome(observed, source.shards, (), _rivalry(contested))
    wanted = desired(source, observed.absent)
    known = bool(queue.status.get("observedGeneration"))
    actions = site.news(plan(wanted, observed, known=known), observed, queue.namespace)
    if any(rolls(action, observed) for action in actions):
        asked_for = queue.generation != queue.status.get("observedGeneration")
        if not (asked_for or site.turns.take(key, wake)):
            actions = site.news(
                plan(wanted, observed, known=known, may_roll=False), observed, queue.namespace
            )
    elif all(rolled_out(workload) for workload in observed.workloads()):
        site.turns.give_back(key)
    return Outcome(observed, source.shards, actions, await _carry_out(site, queue, actions))


def _rivalry(contested: str) -> Failure:
    return Failure(
        RIVALRY,
        f"another operator serves this DaskQueue too, and wants something else of {contested}: run one operator for "
        "a namespace (`kubectl get deployments -A -l app.kubernetes.io/component=operator`); this one waits a minute",
    )


def source_of(site: Site, queue: DaskQueue, observed: Observed) -> Source:
    """Return what the manifests are built from.

    Raises:
        SpecError: nobody says which image to run.
    """
    image = queue.spec.image or site.settings.image
    if not image:
        raise SpecError(
            "spec.image",
            "no image is named, and the operator has no default; set it, or DASKQUEUE_OPERATOR_IMAGE there",
        )
    there = observed.get(DEPLOYMENT.kind, names.consumer(queue.name)) is not None
    return Source(
        queue=queue,
        image=image,
        pull_policy=queue.spec.image_pull_policy or site.settings.pull_policy,
        shards=shards_to_run(queue.spec.shards.replicas, queue.name, observed),
        consumers=None if there else first_consumers(queue),
    )


def first_consumers(queue: DaskQueue) -> int:
    """Return how many consumers a new queue begins with."""
    consumers = queue.spec.consumers
    if queue.spec.suspend:
        return 0
    return (
        consumers.autoscaling.min_replicas
        if consumers.autoscaling.mode == "Builtin"
        else consumers.replicas or 0
    )


async def _look(site: Site, queue: DaskQueue) -> Observed:
    """Return what is there; where something is in trouble, with what explains it."""
    key = (queue.namespace, queue.name)
    observed = site.cache.observed(key, await site.absent(queue.namespace))
    if any(claim.get("status", {}).get("phase") == "Pending" for claim in observed.claims):
        observed = replace(observed, storage_classes=await site.storage_classes())
    return replace(observed, complaints=await complaints(observed.pods, datetime.now(UTC)))


async def _carry_out(site: Site, queue: DaskQueue, actions: Sequence[Action]) -> Failure | None:
    """Do what a plan says, and return what was refused; whatever comes after that waits for the next pass.

    New objects are made at once, but for the DaskCluster: the scheduler must be there before it.
    """
    todo = [action for action in actions if action.verb is not Verb.WAIT]
    for together, group in groupby(
        todo, lambda action: action.verb is Verb.CREATE and not action.kind.optional
    ):
        if together:
            failures = await asyncio.gather(*(_do(site, queue, action) for action in group))
            failure = next(filter(None, failures), None)
        else:
            failure = await _do_each(site, queue, group)
        if failure is not None:
            return failure
    return None


async def _do_each(site: Site, queue: DaskQueue, actions: Iterable[Action]) -> Failure | None:
    for action in actions:
        failure = await _do(site, queue, action)
        if failure is not None and not action.kind.optional:
            return failure
    return None


async def _do(site: Site, queue: DaskQueue, action: Action) -> Failure | None:
    """Do one thing, and return what was refused."""
    log.info("%s/%s: %s", queue.namespace, queue.name, action)
    try:
        done = await site.cluster.carry_out(action, queue.namespace)
        site.note(action, done, queue.namespace)
    except NameTakenError as error:
        return Failure("NameTaken", str(error))
    except httpx2.HTTPStatusError as error:
        failure = _refusal(action, error)
        log.warning("%s/%s: %s", queue.namespace, queue.name, failure.message)
        return failure
    ACTIONS.labels(action.verb.value, action.kind.kind).inc()
    return None


def _refusal(action: Action, error: httpx2.HTTPStatusError) -> Failure:
    """Return what the API server does not let us do.

    Raises:
        HTTPStatusError: it is no refusal, but the server that is not well.
    """
    reason = REFUSALS.get(error.response.status_code)
    if reason is None:
        raise error
    said = error.status.message if isinstance(error, ApiError) else str(error)
    return Failure(
        reason, f"the API server refuses to {action.verb.value} {action.kind.kind} {action.name}: {said}"
    )
