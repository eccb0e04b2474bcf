"""The consumers: pods that come and go with the backlog."""

from __future__ import annotations

from daskqueue_operator import labels as lb
from daskqueue_operator import names
from daskqueue_operator.build import configuration, pod
from daskqueue_operator.build.source import Source, manifest
from daskqueue_operator.kinds import DEPLOYMENT, Manifest

PORTS = {"comm": names.COMM_PORT, "metrics": names.METRICS_PORT}
GRACE_SECONDS = 15  # after the drain: to give back what was not finished, and to say good-bye

ROLLING = {"maxUnavailable": "25%", "maxSurge": "25%"}  # a single one stays until its successor serves


def deployment(source: Source) -> Manifest:
    """Return the Deployment of the consumers, without their number once it is there: that belongs to the scaling."""
    spec: Manifest = {
        "strategy": {"type": "RollingUpdate", "rollingUpdate": ROLLING},
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": lb.selector(source.name, "consumer")},
        "template": _template(source),
    }
    if source.consumers is not None:
        spec["replicas"] = source.consumers
    return manifest(source, DEPLOYMENT, names.consumer(source.name), {"spec": spec}, "consumer")


def _template(source: Source) -> Manifest:
    wanted = source.queue.spec.consumers
    container = pod.Container(
        component="consumer",
        command=["daskqueue", "serve", "consumer"],
        ports=PORTS,
        probes=pod.host_probes(),
        grace_seconds=wanted.drain_seconds + GRACE_SECONDS,
        env=pod.host_env(),
        env_from=[{"secretRef": {"name": names.connection(source.name)}}],
        volumes=[pod.config_volume(source, configuration.CONSUMER_FILE)],
        mounts=[pod.CONFIG_MOUNT],
    )
    return pod.template(source, container, wanted.pod, {}, configuration.consumer_digest(source))
