"""The shards: one pod, one queue, one volume each."""

from __future__ import annotations

from daskqueue_operator import labels as lb
from daskqueue_operator import names
from daskqueue_operator.build import configuration, pod
from daskqueue_operator.build.source import Source, manifest
from daskqueue_operator.kinds import SERVICE, STATEFUL_SET, Manifest
from daskqueue_operator.storage_spec import EmptyDir, PersistentVolumeClaim

GRACE_SECONDS = 60  # to flush and close
PORTS = {"comm": names.COMM_PORT, "metrics": names.METRICS_PORT}


def service(source: Source) -> Manifest:
    """Return the headless Service that gives each shard its DNS name."""
    ports = [
        {"name": name, "port": port, "protocol": "TCP", "targetPort": name} for name, port in PORTS.items()
    ]
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,  # a shard that recovers is found, and says so itself
        "selector": lb.selector(source.name, "shard"),
        "ports": ports,
    }
    return manifest(source, SERVICE, names.shard(source.name), {"spec": spec}, "shard")


def stateful_set(source: Source) -> Manifest:
    """Return the StatefulSet of the shards."""
    claim = source.queue.spec.shards.storage.persistent_volume_claim
    spec: Manifest = {
        "replicas": source.shards,
        "serviceName": names.shard(source.name),
        "podManagementPolicy": "Parallel",  # a broken shard must not hold up the others, nor its own repair
        "updateStrategy": {"type": "RollingUpdate"},
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": lb.selector(source.name, "shard")},
        "template": _template(source),
    }
    if claim is not None:
        spec["volumeClaimTemplates"] = [_claim(source, claim)]
        spec["persistentVolumeClaimRetentionPolicy"] = {
            "whenDeleted": claim.when_deleted,
            "whenScaled": "Retain",
        }
    return manifest(source, STATEFUL_SET, names.shard(source.name), {"spec": spec}, "shard")


def _template(source: Source) -> Manifest:
    shards = source.queue.spec.shards
    index = {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}
    container = pod.Container(
        component="shard",
        command=["daskqueue", "serve", "queue"],
        ports=PORTS,
        probes=pod.host_probes(),
        grace_seconds=GRACE_SECONDS,
        env=[*pod.host_env(), {"name": "DASKQUEUE_SHARD", "valueFrom": index}],
        env_from=[{"secretRef": {"name": names.connection(source.name)}}],
        volumes=[pod.config_volume(source, configuration.QUEUE_FILE), *_scratch(shards.storage.empty_dir)],
        mounts=[pod.CONFIG_MOUNT, {"name": "data", "mountPath": names.DATA_FOLDER}],
    )
    return pod.template(source, container, shards.pod, {}, configuration.queue_digest(source))


def _scratch(wanted: EmptyDir | None) -> list[Manifest]:
    if wanted is None:
        return []
    volume = {"medium": wanted.medium, "sizeLimit": wanted.size_limit}
    return [{"name": "data", "emptyDir": {key: value for key, value in volume.items() if value}}]


def _claim(source: Source, wanted: PersistentVolumeClaim) -> Manifest:
    spec: Manifest = {
        "accessModes": [wanted.access_mode],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": wanted.size}},
    }
    if wanted.storage_class_name is not None:
        spec["storageClassName"] = wanted.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "labels": lb.labels(source.name, "shard")},
        "spec": spec,
    }
