"""``ShardsReady``: all shards have recovered and serve."""

from __future__ import annotations

from daskqueue_operator import names
from daskqueue_operator.conditions.condition import Condition
from daskqueue_operator.conditions.troubles import first_trouble
from daskqueue_operator.conditions.view import View
from daskqueue_operator.conditions.workload import creation_trouble
from daskqueue_operator.kinds import STATEFUL_SET
from daskqueue_operator.observe import serves

TYPE = "ShardsReady"


def shards_ready(view: View) -> Condition:
    """Return whether all shards serve, else which does not and why."""
    name = names.shard(view.queue.name)
    stateful_set = view.observed.get(STATEFUL_SET.kind, name)
    if stateful_set is None:
        return Condition(TYPE, "False", "Missing", f"StatefulSet {name} is not there yet")
    ready = sum(map(serves, view.observed.shard_pods))
    if ready >= view.shards:
        return Condition(TYPE, "True", *_all_ready(view))
    trouble = first_trouble(view.observed.pods_of("shard"), view.observed, view.now)
    trouble = trouble or creation_trouble(stateful_set)
    if trouble is not None:
        return Condition(TYPE, "False", trouble.reason, trouble.message)
    return Condition(TYPE, "False", "Starting", f"{ready} of {view.shards} shards are ready")


def _all_ready(view: View) -> tuple[str, str]:
    asked = view.queue.spec.shards.replicas
    if view.shards > asked:
        claims = names.claim(view.queue.name, asked)
        return "KeptClaims", (
            f"{view.shards} shards run where {asked} are asked for: claim {claims} and the like are kept from before "
            "and may hold messages; delete them if you do not want what is in them"
        )
    return "AllReady", f"all shards are ready ({view.shards})"
