"""What the objects of a DaskQueue are called, and the numbers that they share."""

from __future__ import annotations

COMM_PORT = 8788
METRICS_PORT = 9090
SCHEDULER_PORT = 8786
DASHBOARD_PORT = 8787
CONFIG_FOLDER = "/etc/daskqueue"
DATA_FOLDER = "/data"
SCRATCH_FOLDER = "/tmp"  # noqa: S108 - an emptyDir of the pod's own
USER_ID = 10001  # the image's user; its group has the same number


def scheduler(queue: str) -> str:
    """Return the name of the scheduler's Service, Deployment and disruption budget."""
    return f"{queue}-scheduler"


def shard(queue: str) -> str:
    """Return the name of the shards' StatefulSet, Service and disruption budget."""
    return f"{queue}-shard"


def consumer(queue: str) -> str:
    """Return the name of the consumers' Deployment and disruption budget."""
    return f"{queue}-consumer"


def connection(queue: str) -> str:
    """Return the name of the Secret that says how to reach the queue."""
    return f"{queue}-connection"


def config(queue: str) -> str:
    """Return the name of the ConfigMap of the hosts."""
    return f"{queue}-config"


def claim(queue: str, shard_number: int) -> str:
    """Return the name of a shard's PersistentVolumeClaim."""
    return f"data-{shard(queue)}-{shard_number}"


def shard_of_claim(queue: str, claim_name: str) -> int | None:
    """Return the number of the shard whose claim this is; None if it is no claim of this queue."""
    number = claim_name.removeprefix(f"data-{shard(queue)}-")
    return int(number) if number != claim_name and number.isdigit() else None


def scheduler_address(queue: str, namespace: str) -> str:
    """Return where hosts and clients in the cluster find the scheduler."""
    return f"tcp://{scheduler(queue)}.{namespace}:{SCHEDULER_PORT}"


def dashboard_address(queue: str, namespace: str) -> str:
    """Return where the Dask dashboard is, within the cluster."""
    return f"http://{scheduler(queue)}.{namespace}:{DASHBOARD_PORT}/status"
