"""Kill -9 of what runs in a pod, from outside."""

from __future__ import annotations

import os
import signal
from pathlib import Path

SIGKILL = "SIGKILL"
FORCED = "forced deletion"


def kill(kube, ns, pod, container=None):
    """Kill the first process of a pod's container so that it can say nothing any more.

    It ignores a SIGKILL from inside where it is number 1. Where the node is this machine, it gets one from outside;
    elsewhere the pod is deleted without grace, which is how a kubelet sends one.

    Returns:
        How it was done: `SIGKILL` or `forced deletion`.
    """
    statuses = kube.get("pod", pod, ns)["status"]["containerStatuses"]
    chosen = [status for status in statuses if container in (None, status["name"])]
    pid = first_process(chosen[0]["containerID"].rpartition("/")[2])
    if pid is None or os.geteuid() != 0:
        kube("delete", "pod", pod, "-n", ns, "--grace-period=0", "--force", "--wait=false")
        return FORCED
    os.kill(pid, signal.SIGKILL)
    return SIGKILL


def first_process(container_id):
    """Return the process of this machine that is a container's first, None if it runs elsewhere.

    Its number inside is 1, or another one where the containers of a pod share their processes: hence by age.
    """
    ages = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (started_at := _start_in(folder, container_id)) is not None:
            ages[int(folder.name)] = started_at
    return min(ages, key=ages.get, default=None)


def _start_in(folder, container_id):
    """Return when a process of a container began, in ticks; None if it is not one of the container's."""
    try:
        if container_id not in (folder / "cgroup").read_text():
            return None
        return int((folder / "stat").read_text().rpartition(")")[2].split()[19])
    except OSError:  # gone meanwhile
        return None
