"""What to do about the difference between what is wanted and what is there: pure, each action with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from daskqueue_operator import labels as lb
from daskqueue_operator import names
from daskqueue_operator.desired import pod_template
from daskqueue_operator.differences import difference
from daskqueue_operator.kinds import CLAIM, DEPLOYMENT, POD_MONITOR, STATEFUL_SET, Kind, Manifest, kind_of
from daskqueue_operator.observe import Observed, deleting, replaced, rolled_out, runs
from daskqueue_operator.quantities import amount

SCALING = "daskqueue-scaling"  # the field manager that the number of consumers belongs to


class Verb(Enum):
    """What is done."""

    CREATE = "create"  # apply it, after a look that nobody else has it
    APPLY = "apply"
    HAND_OVER = "hand over"  # give the number of consumers to the scaling
    GROW = "grow"  # a claim's size
    REPLACE = "replace"  # delete it without its pods; the next plan creates it
    DELETE = "delete"
    WAIT = "wait"  # nothing now; a later event brings it on


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do.

    Args:
        verb: what.
        kind: kind of the object.
        name: its name.
        reason: why, as a clause that ends a sentence.
        manifest: what to apply, or the patch of a claim; empty where nothing is needed.
        repair: somebody changed or removed what we had made.
    """

    verb: Verb
    kind: Kind
    name: str
    reason: str
    manifest: Manifest | None = None
    repair: bool = False

    def __str__(self) -> str:
        return f"{self.verb.value} {self.kind.kind} {self.name}: {self.reason}"


def plan(
    wanted: Sequence[Manifest], observed: Observed, *, may_roll: bool = True, known: bool = False
) -> list[Action]:
    """Return what to do, in the order of *wanted*.

    Args:
        wanted: the manifests, in the order in which they are made.
        observed: what is there.
        may_roll: pods may be replaced now; False while another DaskQueue has its turn.
        known: this DaskQueue was complete before, so that whatever is missing was taken away.
    """
    actions: list[Action] = []
    for manifest in wanted:
        there = observed.get(kind_of(manifest).kind, manifest["metadata"]["name"])
        actions += _for_object(manifest, there, observed, known)
    held = [_held(action, wanted, observed, actions, may_roll=may_roll) for action in actions]
    return held + _surplus(wanted, observed)


def rolls(action: Action, observed: Observed) -> bool:
    """Return whether an action replaces the pods of a workload because something else is wanted of them."""
    if action.verb is not Verb.APPLY or action.repair or action.manifest is None:
        return False
    template = pod_template(action.manifest)
    there = observed.get(action.kind.kind, action.name)
    if (
        template is None
        or there is None
        or _annotation(there, lb.TEMPLATE) == _annotation(action.manifest, lb.TEMPLATE)
    ):
        return False
    return bool(_annotation(there, lb.TEMPLATE)) or bool(difference(template, there["spec"].get("template")))


def _for_object(manifest: Manifest, there: Manifest | None, observed: Observed, known: bool) -> list[Action]:
    kind, name = kind_of(manifest), manifest["metadata"]["name"]
    if there is None:
        reason = "it is missing, or has lost its labels" if known else "it is new"
        return [Action(Verb.CREATE, kind, name, reason, manifest, repair=known)]
    if deleting(there):
        return [Action(Verb.WAIT, kind, name, "it is being deleted, and is made again when it is gone")]
    if kind is STATEFUL_SET and (growth := _growth(manifest, there, observed)):
        return growth
    first = [_hand_over(there)] if kind is DEPLOYMENT and _number_is_ours(manifest, there) else []
    if _annotation(there, lb.APPLIED) != _annotation(manifest, lb.APPLIED):
        return [*first, Action(Verb.APPLY, kind, name, "something else is wanted of it", manifest)]
    if changed := difference(manifest, there):
        return [
            *first,
            Action(Verb.APPLY, kind, name, f"somebody changed it: {changed}", manifest, repair=True),
        ]
    return first


def _annotation(manifest: Manifest, key: str) -> str | None:
    return manifest["metadata"].get("annotations", {}).get(key)


def _number_is_ours(manifest: Manifest, there: Manifest) -> bool:
    """Return whether an apply without the number of pods would set it back to 1."""
    managers = {entry.get("manager") for entry in there["metadata"].get("managedFields", [])}
    return "replicas" not in manifest["spec"] and SCALING not in managers


def _hand_over(there: Manifest) -> Action:
    name, replicas = there["metadata"]["name"], there["spec"].get("replicas", 0)
    reason = "from now on the scaling alone sets the number of its pods"
    return Action(Verb.HAND_OVER, DEPLOYMENT, name, reason, {"spec": {"replicas": replicas}})


def _growth(manifest: Manifest, there: Manifest, observed: Observed) -> list[Action]:
    """Return what makes the volumes larger: first the claims, then the template, which cannot be edited."""
    wanted, now = (_size(stateful_set) for stateful_set in (manifest, there))
    if wanted is None or now is None or amount(wanted) <= amount(now):
        return []
    name, patch = manifest["metadata"]["name"], {"spec": {"resources": {"requests": {"storage": wanted}}}}
    queue = manifest["metadata"]["labels"][lb.QUEUE]
    small = [
        claim["metadata"]["name"]
        for claim in observed.claims
        if names.shard_of_claim(queue, claim["metadata"]["name"]) is not None
        and amount(claim["spec"]["resources"]["requests"]["storage"]) < amount(wanted)
    ]
    grown = [Action(Verb.GROW, CLAIM, claim, f"{wanted} are wanted", patch) for claim in small]
    return [
        *grown,
        Action(
            Verb.REPLACE,
            STATEFUL_SET,
            name,
            f"its claims have {wanted} now, and its template cannot be edited",
        ),
    ]


def _size(stateful_set: Manifest) -> str | None:
    templates = stateful_set["spec"].get("volumeClaimTemplates") or []
    return next((template["spec"]["resources"]["requests"]["storage"] for template in templates), None)


def _held(
    action: Action, wanted: Sequence[Manifest], observed: Observed, actions: list[Action], *, may_roll: bool
) -> Action:
    """Return *action*, or that it waits: for another queue's turn, or, with shards, for the other pods of its own."""
    if not rolls(action, observed):
        return action
    if not may_roll:
        return Action(
            Verb.WAIT, action.kind, action.name, "its pods are replaced after those of another DaskQueue"
        )
    if action.kind is not STATEFUL_SET:
        return action
    late = [
        other["metadata"]["name"]
        for other in wanted
        if kind_of(other) is DEPLOYMENT and _holds_up_shards(other, observed, actions)
    ]
    if late:
        return Action(Verb.WAIT, action.kind, action.name, f"shards come last, and {late[0]} is not through")
    return action


def _holds_up_shards(other: Manifest, observed: Observed, actions: list[Action]) -> bool:
    """Return whether the shards' pods wait for another workload's.

    They always wait for the scheduler, without which they serve nobody. Shards that do not even run have nothing to
    lose, and need not wait for consumers.
    """
    name, there = other["metadata"]["name"], observed.get(DEPLOYMENT.kind, other["metadata"]["name"])
    changes = any(
        action.name == name and action.kind is DEPLOYMENT and action.verb is Verb.APPLY for action in actions
    )
    if other["metadata"]["labels"][lb.COMPONENT] == "scheduler":
        return changes or not rolled_out(there)
    return all(map(runs, observed.shard_pods)) and (changes or not replaced(there))


def _surplus(wanted: Sequence[Manifest], observed: Observed) -> list[Action]:
    """Return the removal of what is no longer wanted; of all kinds only a PodMonitor can be."""
    keep = {manifest["metadata"]["name"] for manifest in wanted if kind_of(manifest) is POD_MONITOR}
    return [
        Action(Verb.DELETE, POD_MONITOR, name, "spec.monitoring.podMonitor is Disabled")
        for (kind, name), body in observed.objects.items()
        if kind == POD_MONITOR.kind and name not in keep and not deleting(body)
    ]
