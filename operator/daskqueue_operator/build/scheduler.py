"""The Dask scheduler: a Service and a Deployment, as dask-kubernetes would make them, but ours.

They are made before the DaskCluster: dask-kubernetes leaves alone what it finds there.
"""

from __future__ import annotations

from daskqueue_operator import labels as lb
from daskqueue_operator import names
from daskqueue_operator.build import pod
from daskqueue_operator.build.source import Source, manifest
from daskqueue_operator.kinds import DEPLOYMENT, SERVICE, Manifest

PORTS = {"tcp-comm": names.SCHEDULER_PORT, "http-dashboard": names.DASHBOARD_PORT}

# Vanished pods are noticed soon, and an idle scheduler stays idle.
SETTINGS = {
    "COMM__TIMEOUTS__CONNECT": "5s",
    "COMM__TIMEOUTS__TCP": "15s",  # distributed refuses less than 11 s
    "ADMIN__TICK__INTERVAL": "500ms",
    "WORKER__PROFILE__ENABLED": "False",
}


def service(source: Source) -> Manifest:
    """Return the Service of the scheduler."""
    ports = [
        {"name": name, "port": port, "protocol": "TCP", "targetPort": name} for name, port in PORTS.items()
    ]
    spec = {"type": "ClusterIP", "selector": lb.dask_selector(source.name), "ports": ports}
    made = manifest(source, SERVICE, names.scheduler(source.name), {"spec": spec}, "scheduler")
    made["metadata"]["labels"] |= lb.dask_selector(source.name)
    return made


def deployment(source: Source) -> Manifest:
    """Return the Deployment of the scheduler: one pod, never two, since workers would be split between them."""
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": lb.dask_selector(source.name)},
        "template": pod_template(source),
    }
    made = manifest(source, DEPLOYMENT, names.scheduler(source.name), {"spec": spec}, "scheduler")
    made["metadata"]["labels"] |= lb.dask_selector(source.name)
    return made


def pod_template(source: Source) -> Manifest:
    """Return the template of the scheduler's pod; the DaskCluster shows the same."""
    container = pod.Container(
        component="scheduler",
        command=[
            "dask", "scheduler", "--host", "0.0.0.0",  # noqa: S104 - reached through its Service
            "--port", str(names.SCHEDULER_PORT), "--dashboard-address", f":{names.DASHBOARD_PORT}",
        ],
        ports=PORTS,
        probes={
            "startupProbe": pod.http_probe("/health", "http-dashboard", periodSeconds=1, failureThreshold=120),
            "readinessProbe": pod.http_probe("/health", "http-dashboard", periodSeconds=1, failureThreshold=3),
            "livenessProbe": pod.http_probe(
                "/health", "http-dashboard", periodSeconds=10, failureThreshold=6, timeoutSeconds=5
            ),
        },
        grace_seconds=10,
        env=[{"name": f"DASK_DISTRIBUTED__{name}", "value": value} for name, value in SETTINGS.items()],
    )  # fmt: skip
    return pod.template(source, container, source.queue.spec.scheduler.pod, lb.dask_selector(source.name), "")
