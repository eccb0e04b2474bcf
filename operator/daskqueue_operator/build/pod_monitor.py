"""What tells a Prometheus operator to scrape the hosts."""

from __future__ import annotations

from daskqueue_operator import labels as lb
from daskqueue_operator.build.source import Source, manifest
from daskqueue_operator.kinds import POD_MONITOR, Manifest

INTERVAL = "15s"


def pod_monitor(source: Source) -> Manifest:
    """Return the PodMonitor of shards and consumers, with the labels that Prometheus may choose it by."""
    spec = {
        "selector": {
            "matchLabels": lb.selector(source.name),
            "matchExpressions": [{"key": lb.COMPONENT, "operator": "In", "values": ["shard", "consumer"]}],
        },
        "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "interval": INTERVAL}],
    }
    made = manifest(source, POD_MONITOR, source.name, {"spec": spec})
    made["metadata"]["labels"] = {**source.queue.spec.monitoring.labels, **made["metadata"]["labels"]}
    return made
