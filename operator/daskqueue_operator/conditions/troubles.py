"""What is wrong with pods, in sentences that name the pod and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from daskqueue_operator.kinds import Manifest
from daskqueue_operator.observe import Observed, deleting

NO_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
NO_START = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PostStartHookError"}
PATIENCE_SECONDS = 60  # a pod that runs and is not ready for so long is worth a word
MANY_RESTARTS = 2
LAST_WORDS = 400  # characters of a log in a message


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a pod from serving.

    Args:
        reason: one word.
        message: a sentence.
    """

    reason: str
    message: str


def first_trouble(pods: Iterable[Manifest], observed: Observed, now: datetime) -> Trouble | None:
    """Return the trouble of the first pod that has one.

    Args:
        pods: the pods of a part of the queue.
        observed: what else is there: claims, storage classes.
        now: the time, with its zone.
    """
    found = (trouble for pod in pods if not deleting(pod) for trouble in troubles(pod, observed, now))
    return next(found, None)


def troubles(pod: Manifest, observed: Observed, now: datetime) -> Iterator[Trouble]:
    """Yield what is wrong with a pod, the cause before its consequences."""
    yield from _claim_troubles(pod, observed)
    yield from _placing_troubles(pod)
    for status in pod.get("status", {}).get("containerStatuses", []):
        yield from _container_troubles(pod, status)
    yield from _slowness(pod, observed, now)


def _claim_troubles(pod: Manifest, observed: Observed) -> Iterator[Trouble]:
    """Yield why a claim of the pod has no volume, where the storage class is the reason."""
    volumes = pod["spec"].get("volumes", [])
    wanted = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if "persistentVolumeClaim" in volume
    }
    for claim in observed.claims:
        pending = claim.get("status", {}).get("phase") == "Pending"
        if pending and claim["metadata"]["name"] in wanted and observed.storage_classes is not None:
            yield from _class_troubles(claim, observed.storage_classes)


def _class_troubles(claim: Manifest, classes: Mapping[str, bool]) -> Iterator[Trouble]:
    name, chosen = claim["metadata"]["name"], claim["spec"].get("storageClassName")
    choices = ", ".join(sorted(classes)) or "none"
    if chosen is None and True not in classes.values():
        yield Trouble(
            "NoDefaultStorageClass",
            f"claim {name} waits: no StorageClass is the cluster's default; set "
            f"spec.shards.storage.persistentVolumeClaim.storageClassName to one of: {choices}",
        )
    elif chosen and chosen not in classes:
        yield Trouble(
            "StorageClassMissing",
            f"claim {name} waits for StorageClass {chosen!r}, which does not exist (there are: {choices}); make it, "
            "or delete the DaskQueue and this claim and choose another in spec.shards.storage.persistentVolumeClaim",
        )


def _placing_troubles(pod: Manifest) -> Iterator[Trouble]:
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            said = condition.get("message", "the scheduler gives no reason")
            yield Trouble("Unschedulable", f"no node has room for pod {pod['metadata']['name']}: {said}")


def _container_troubles(pod: Manifest, status: Manifest) -> Iterator[Trouble]:
    name = pod["metadata"]["name"]
    waiting = status.get("state", {}).get("waiting", {})
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    if reason in NO_IMAGE:
        yield Trouble(
            "ImagePull",
            f"pod {name} cannot get image {status['image']} ({reason}{': ' + said if said else ''}); check "
            "spec.image, spec.imagePullPolicy and spec.imagePullSecrets",
        )
    elif reason in NO_START:
        yield Trouble("ContainerConfig", f"pod {name} cannot start its container ({reason}): {said}")
    elif reason == "CrashLoopBackOff" or _crashes(status):
        yield Trouble("CrashLoop", f"pod {name} starts and ends again, {_ending(status)}")


def _crashes(status: Manifest) -> bool:
    """Return whether a container keeps crashing, also while it runs once more: the answer must not flicker."""
    crashed = status.get("lastState", {}).get("terminated", {}).get("exitCode", 0) != 0
    return crashed and not status.get("ready") and status.get("restartCount", 0) >= MANY_RESTARTS


def _ending(status: Manifest) -> str:
    """Return how a container ended last, with its last words."""
    ended = status.get("lastState", {}).get("terminated", {})
    words = " ".join(ended.get("message", "").split())[-LAST_WORDS:]
    times = f"{status.get('restartCount', 0)} times by now"
    last = f"last with exit code {ended.get('exitCode', '?')} ({ended.get('reason', 'no reason given')})"
    return f"{times}, {last}{': ' + words if words else ', without a word in its log'}"


def is_slow(pod: Manifest, now: datetime) -> bool:
    """Return whether a pod is not ready for too long."""
    return any(
        (now - datetime.fromisoformat(since)).total_seconds() >= PATIENCE_SECONDS
        for since in _not_ready_since(pod)
    )


def _not_ready_since(pod: Manifest) -> list[str]:
    conditions = pod.get("status", {}).get("conditions", [])
    return [
        each["lastTransitionTime"]
        for each in conditions
        if each["type"] == "Ready" and each["status"] == "False"
    ]


def _slowness(pod: Manifest, observed: Observed, now: datetime) -> Iterator[Trouble]:
    """Yield that a pod is not ready for too long, with what it says itself."""
    if is_slow(pod, now):
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        phase, since = pod["status"].get("phase", "Pending"), _not_ready_since(pod)[0]
        said = observed.complaints.get(name)
        yield Trouble(
            "NotReady",
            f"pod {name} is {phase} and does not serve, since {since}{f' ({said})' if said else ''}: see "
            f"`kubectl describe pod {name} -n {namespace}` and `kubectl logs {name} -n {namespace}`",
        )
