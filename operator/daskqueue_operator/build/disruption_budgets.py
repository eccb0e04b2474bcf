"""How many pods of a part a node drain may take at a time."""

from __future__ import annotations

from daskqueue_operator import labels as lb
from daskqueue_operator import names
from daskqueue_operator.build.source import Source, manifest
from daskqueue_operator.kinds import DISRUPTION_BUDGET, Manifest


def disruption_budgets(source: Source) -> list[Manifest]:
    """Return the budgets: one shard, one scheduler, a quarter of the consumers.

    None forbids to take the last pod: a node could never be emptied, and nothing is lost by it.
    """
    return [
        _budget(source, names.scheduler(source.name), "scheduler", lb.dask_selector(source.name), 1),
        _budget(source, names.shard(source.name), "shard", lb.selector(source.name, "shard"), 1),
        _budget(source, names.consumer(source.name), "consumer", lb.selector(source.name, "consumer"), "25%"),
    ]


def _budget(
    source: Source, name: str, component: lb.Component, chosen: dict[str, str], unavailable: int | str
) -> Manifest:
    spec = {
        "maxUnavailable": unavailable,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",  # a broken pod must not keep a node from being emptied
        "selector": {"matchLabels": chosen},
    }
    return manifest(source, DISRUPTION_BUDGET, name, {"spec": spec}, component)
