"""What the pods of all parts have in common: restricted, with a scratch folder, and what the user adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from daskqueue_operator import labels as lb
from daskqueue_operator import names
from daskqueue_operator.build.source import Source
from daskqueue_operator.kinds import Manifest
from daskqueue_operator.pod_spec import Pod

# Small enough for a laptop's cluster; a pod that asks for nothing is the first to be evicted.
REQUESTS: Mapping[str, str | int] = {"cpu": "100m", "memory": "256Mi"}

CONFIG_MOUNT = {"name": "config", "mountPath": names.CONFIG_FOLDER, "readOnly": True}

RESTRICTED_POD = {
    "runAsNonRoot": True,
    "runAsUser": names.USER_ID,
    "runAsGroup": names.USER_ID,
    "fsGroup": names.USER_ID,
    "fsGroupChangePolicy": "OnRootMismatch",  # else each start walks through the whole backlog
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True, slots=True)
class Container:
    """The one container of a pod, as far as parts differ.

    Args:
        component: the part; also the container's name.
        command: what it runs.
        ports: container ports by name.
        probes: startup, readiness and liveness probe.
        grace_seconds: how long it may take to end.
        env: variables, in the order of the manifest.
        env_from: sources of further variables.
        volumes: volumes beside the scratch folder.
        mounts: where they are mounted.
    """

    component: lb.Component
    command: list[str]
    ports: Mapping[str, int]
    probes: Mapping[str, Manifest]
    grace_seconds: int
    env: list[Manifest] = field(default_factory=list)
    env_from: list[Manifest] = field(default_factory=list)
    volumes: list[Manifest] = field(default_factory=list)
    mounts: list[Manifest] = field(default_factory=list)


def template(
    source: Source, container: Container, pod: Pod, own_labels: Mapping[str, str], config: str
) -> Manifest:
    """Return the pod template of a part.

    Args:
        source: the DaskQueue.
        container: what runs in it.
        pod: what the user wants in these pods.
        own_labels: labels beside those that all objects of the queue carry.
        config: digest of the configuration: pods are replaced when it changes; "" if they read none.
    """
    labels = {**pod.labels, **lb.labels(source.name, container.component), **own_labels}
    annotations = {**pod.annotations, **({lb.CONFIG: config} if config else {})}
    spec: Manifest = {
        "securityContext": RESTRICTED_POD,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service called `daskqueue` would set DASKQUEUE_PORT
        "shareProcessNamespace": True,  # else ours is process 1, deaf to SIGTERM until Python has set its handlers
        "terminationGracePeriodSeconds": container.grace_seconds,
        "containers": [_container(source, container, pod)],
        "volumes": [{"name": "tmp", "emptyDir": {}}, *container.volumes, *map(dict, pod.volumes)],
    }
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec | _wishes(source, pod)}


def _container(source: Source, container: Container, pod: Pod) -> Manifest:
    chosen = {entry["name"] for entry in pod.env}
    scratch = [{"name": name, "value": names.SCRATCH_FOLDER} for name in ("HOME", "TMPDIR")]
    resources = pod.resources
    asked = {**REQUESTS, **(resources.requests if resources else {})}
    limits = dict(resources.limits) if resources else {}
    return {
        "name": container.component,
        "image": source.image,
        "imagePullPolicy": source.pull_policy,
        "command": container.command,
        "env": [entry for entry in scratch if entry["name"] not in chosen]
        + container.env
        + [*map(dict, pod.env)],
        "envFrom": [*container.env_from, *map(dict, pod.env_from)],
        "ports": [{"name": name, "containerPort": port} for name, port in container.ports.items()],
        **container.probes,
        "resources": {"requests": _within(asked, limits)} | ({"limits": limits} if limits else {}),
        "securityContext": RESTRICTED_CONTAINER,
        "terminationMessagePolicy": "FallbackToLogsOnError",  # so that conditions can quote the last words
        "volumeMounts": [
            {"name": "tmp", "mountPath": names.SCRATCH_FOLDER},
            *container.mounts,
            *map(dict, pod.volume_mounts),
        ],
    }


def _within(requests: Mapping[str, str | int], limits: Mapping[str, str | int]) -> Manifest:
    """Return *requests*, where our own default would be above the user's limit: that limit."""
    return {
        name: limits[name] if name in REQUESTS and asked == REQUESTS[name] and name in limits else asked
        for name, asked in requests.items()
    }


def _wishes(source: Source, pod: Pod) -> dict[str, Any]:
    wishes: dict[str, Any] = {
        "imagePullSecrets": [{"name": secret.name} for secret in source.queue.spec.image_pull_secrets],
        "nodeSelector": dict(pod.node_selector),
        "tolerations": [*map(dict, pod.tolerations)],
        "affinity": pod.affinity and dict(pod.affinity),
        "serviceAccountName": pod.service_account_name,
        "priorityClassName": pod.priority_class_name,
    }
    return {key: value for key, value in wishes.items() if value}


def http_probe(path: str, port: str, **timing: int) -> Manifest:
    """Return a probe that asks over HTTP.

    Args:
        path: what it asks for.
        port: name of the container port.
        timing: further fields of the probe, such as ``periodSeconds``.
    """
    return {"httpGet": {"path": path, "port": port}, **timing}


def host_probes() -> dict[str, Manifest]:
    """Return the probes of a host: soon ready, and only killed when its event loop has stood for a minute."""
    return {
        "startupProbe": http_probe(
            "/healthz", "metrics", periodSeconds=1, failureThreshold=120, timeoutSeconds=2
        ),
        "readinessProbe": http_probe(
            "/readyz", "metrics", periodSeconds=1, failureThreshold=2, timeoutSeconds=2
        ),
        "livenessProbe": http_probe(
            "/healthz", "metrics", periodSeconds=10, failureThreshold=6, timeoutSeconds=5
        ),
    }


def host_env() -> list[Manifest]:
    """Return the variables of a host beside those of the connection."""
    return [
        {"name": "DASKQUEUE_CONFIG", "value": f"{names.CONFIG_FOLDER}/config.yaml"},
        {"name": "DASKQUEUE_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]


def config_volume(source: Source, key: str) -> Manifest:
    """Return the volume with one of the files of the ConfigMap, as ``config.yaml``."""
    items = [{"key": key, "path": "config.yaml"}]
    return {"name": "config", "configMap": {"name": names.config(source.name), "items": items}}
