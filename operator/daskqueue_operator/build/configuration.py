"""How the hosts of a queue are configured, and how clients reach it."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import yaml

from daskqueue_operator import names
from daskqueue_operator.build.source import Source, digest, manifest
from daskqueue_operator.consumers_spec import Consumers
from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.kinds import CONFIG_MAP, SECRET, Manifest
from daskqueue_operator.quantities import amount
from daskqueue_operator.queue_spec import Queue

QUEUE_FILE, CONSUMER_FILE = "queue.yaml", "consumer.yaml"
_BOTH: dict[str, str | int] = {
    "port": names.COMM_PORT,
    "metrics_port": names.METRICS_PORT,
    "local_directory": names.SCRATCH_FOLDER,
}
_OVERFLOW = {"Block": "block", "Raise": "raise", "DropOldest": "drop_oldest"}


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
    return (
        _BOTH
        | {
            "dir": names.DATA_FOLDER,
            "lease": f"{wanted.lease_seconds}s",
            "max_deliveries": wanted.max_deliveries,
            "fsync": interval if wanted.fsync == "Interval" else wanted.fsync.lower(),
        }
        | _chosen(_queue_choices(wanted), _queue_choices(Queue()))
    )


def consumer_options(queue: DaskQueue) -> dict[str, str | int]:
    """Return the options of ``daskqueue serve consumer``."""
    consumers = queue.spec.consumers
    options = _BOTH | {"slots": consumers.slots, "drain": f"{consumers.drain_seconds}s"}
    return options | _chosen(_consumer_choices(consumers), _consumer_choices(Consumers()))


def _queue_choices(wanted: Queue) -> dict[str, str | int | None]:
    return {
        "max_messages": wanted.max_messages,
        "max_bytes": _bytes(wanted.max_bytes),
        "overflow": _OVERFLOW[wanted.overflow],
        "retries": wanted.retries,
        "backoff": f"{wanted.backoff_seconds}s",
        "backoff_max": f"{wanted.backoff_max_seconds}s",
        "results": wanted.results.lower(),
        "result_ttl": f"{wanted.result_ttl_seconds}s",
        "result_bytes": _bytes(wanted.result_bytes),
        "result_count": wanted.result_count,
    }


def _consumer_choices(wanted: Consumers) -> dict[str, str | int | None]:
    resources = (f"{resource.name}={resource.path}" for resource in wanted.task_resources)
    return {
        "executor": wanted.executor.lower(),
        "batch_size": wanted.batch_size,
        "middleware": ",".join(middleware.path for middleware in wanted.middleware),
        "resources": ",".join(resources),
    }


def _chosen(
    wanted: Mapping[str, str | int | None], defaults: Mapping[str, str | int | None]
) -> dict[str, str | int]:
    """Return what is not the default.

    A host refuses an option that it does not know, and an older image does not know them all; nor must an upgrade of
    the operator that brings new options start every pod anew.
    """
    return {key: value for key, value in wanted.items() if value is not None and value != defaults[key]}


def _bytes(quantity: str | None) -> int | None:
    return None if quantity is None else max(int(amount(quantity)), 1)


def queue_digest(source: Source) -> str:
    """Return what changes when shards must start anew with other options."""
    return digest(queue_options(source.queue))


def consumer_digest(source: Source) -> str:
    """Return what changes when consumers must start anew with other options."""
    return digest(consumer_options(source.queue))


def _encoded(data: dict[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
