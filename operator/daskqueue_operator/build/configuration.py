"""How the hosts of a queue are configured, and how clients reach it."""

from __future__ import annotations

import base64

import yaml

from daskqueue_operator import names
from daskqueue_operator.build.source import Source, digest, manifest
from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.kinds import CONFIG_MAP, SECRET, Manifest

QUEUE_FILE, CONSUMER_FILE = "queue.yaml", "consumer.yaml"
_BOTH: dict[str, str | int] = {
    "port": names.COMM_PORT,
    "metrics_port": names.METRICS_PORT,
    "local_directory": names.SCRATCH_FOLDER,
}


def connection(source: Source) -> Manifest:
    """Return the Secret with the variables by which a pod finds the queue (``envFrom``)."""
    data = {
        "DASKQUEUE_NAME": source.name,
        "DASKQUEUE_SCHEDULER": names.scheduler_address(source.name, source.queue.namespace),
    }
    # Not `stringData`: the API server turns it into `data`, and we could not see what is there.
    return manifest(source, SECRET, names.connection(source.name), {"type": "Opaque", "data": _encoded(data)})


def config(source: Source) -> Manifest:
    """Return the ConfigMap with a file for each kind of host."""
    data = {
        QUEUE_FILE: yaml.safe_dump(queue_options(source.queue)),
        CONSUMER_FILE: yaml.safe_dump(consumer_options(source.queue)),
    }
    return manifest(source, CONFIG_MAP, names.config(source.name), {"data": data})


def queue_options(queue: DaskQueue) -> dict[str, str | int]:
    """Return the options of ``daskqueue serve queue``."""
    wanted = queue.spec.queue
    interval = f"interval:{wanted.fsync_interval_milliseconds}"
    return _BOTH | {
        "dir": names.DATA_FOLDER,
        "lease": f"{wanted.lease_seconds}s",
        "max_deliveries": wanted.max_deliveries,
        "fsync": interval if wanted.fsync == "Interval" else wanted.fsync.lower(),
    }


def consumer_options(queue: DaskQueue) -> dict[str, str | int]:
    """Return the options of ``daskqueue serve consumer``."""
    consumers = queue.spec.consumers
    return _BOTH | {"slots": consumers.slots, "drain": f"{consumers.drain_seconds}s"}


def queue_digest(source: Source) -> str:
    """Return what changes when shards must start anew with other options."""
    return digest(queue_options(source.queue))


def consumer_digest(source: Source) -> str:
    """Return what changes when consumers must start anew with other options."""
    return digest(consumer_options(source.queue))


def _encoded(data: dict[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
