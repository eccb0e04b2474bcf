"""DaskQueues that are right, wrong, or wrongly changed: judged by the operator and by an API server alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Spec = dict[str, Any]


@dataclass(frozen=True)
class Refused:
    """A DaskQueue that must not be.

    Args:
        because: the sentence that its user must get.
        spec: what it asks for.
        name: its name.
        told_by: ``both`` the API server and the operator, or one of them, in the words of `because`.
    """

    because: str
    spec: Spec = field(default_factory=dict)
    name: str = "invoices"
    told_by: str = "both"


@dataclass(frozen=True)
class Changed:
    """A change of a DaskQueue, and the sentence that refuses it; None where it is fine."""

    before: str
    spec: Spec
    because: str | None = None


def shards(**spec):
    """Return a spec that says something of the shards."""
    return {"shards": spec}


def queue(**spec):
    """Return a spec that says something of the messages."""
    return {"queue": spec}


def claim(**spec):
    """Return a spec that says something of the volumes."""
    return shards(storage={"persistentVolumeClaim": spec})


def consumers(**spec):
    """Return a spec that says something of the consumers."""
    return {"consumers": spec}


def pod(**spec):
    """Return a spec that changes the pods of the consumers."""
    return consumers(pod=spec)


EVERYTHING: Spec = {
    "image": "registry.example.com/invoices:1.2",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "suspend": True,
    "queue": {
        "leaseSeconds": 90,
        "maxDeliveries": 3,
        "retries": 4,
        "backoffSeconds": 2,
        "backoffMaxSeconds": 60,
        "maxMessages": 1_000_000,
        "maxBytes": "20Gi",
        "overflow": "DropOldest",
        "results": "Memory",
        "resultTtlSeconds": 3600,
        "resultBytes": "512Mi",
        "resultCount": 50_000,
        "fsync": "Interval",
        "fsyncIntervalMilliseconds": 20,
    },
    "shards": {
        "replicas": 3,
        "storage": {
            "persistentVolumeClaim": {
                "size": "50Gi",
                "storageClassName": "fast",
                "accessMode": "ReadWriteOncePod",
                "whenDeleted": "Delete",
            }
        },
        "pod": {"nodeSelector": {"disk": "ssd"}, "priorityClassName": "high"},
    },
    "scheduler": {"pod": {"resources": {"requests": {"cpu": 1, "memory": "1Gi"}}}},
    "consumers": {
        "slots": 4,
        "executor": "Processes",
        "batchSize": 50,
        "middleware": [{"path": "logging:NullHandler"}, {"path": "string:capwords"}],
        "taskResources": [{"name": "cwd", "path": "os:getcwd"}],
        "drainSeconds": 120,
        "autoscaling": {
            "minReplicas": 1,
            "maxReplicas": 20,
            "targetBacklogPerConsumer": 500,
            "targetWaitSeconds": 10,
            "idleSecondsBeforeZero": 0,
        },
        "pod": {
            "labels": {"team": "billing"},
            "annotations": {"example.com/note": "a long text " * 20},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "serviceAccountName": "invoices",
            "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "0.5Gi"}},
            "env": [{"name": "MODE", "value": "fast"}, {"name": "KEY", "valueFrom": {"secretKeyRef": {}}}],
            "envFrom": [{"secretRef": {"name": "credentials"}}],
            "volumes": [{"name": "models", "emptyDir": {}}],
            "volumeMounts": [{"name": "models", "mountPath": "/models"}],
        },
    },
    "monitoring": {"podMonitor": "Enabled", "labels": {"release": "prometheus"}},
}

ACCEPTED: dict[str, Spec] = {
    "four lines": {},
    "everything": EVERYTHING,
    "a folder on the node": shards(storage={"emptyDir": {"medium": "Memory", "sizeLimit": "100Mi"}}),
    "a fixed number": consumers(replicas=3, autoscaling={"mode": "Fixed"}),
    "none at all, fixed": consumers(replicas=0, autoscaling={"mode": "Fixed"}),
    "a number for an autoscaler to begin with": consumers(replicas=1, autoscaling={"mode": "External"}),
    "as many as at least": consumers(autoscaling={"minReplicas": 7, "maxReplicas": 7}),
    "a size with a fraction": claim(size="1.5Ti"),
    "a size in bytes": claim(size="1e9"),
    "full by messages": queue(maxMessages=10, overflow="Raise"),
    "full by bytes": queue(maxBytes="1Gi", overflow="DropOldest"),
    "waiting for room where there is no bound": queue(overflow="Block"),
    "pauses that are all alike": queue(backoffSeconds=600),
    "no pause": queue(backoffSeconds=0),
}

OUT_OF_BOUNDS = {
    "no time to work": ({"queue": {"leaseSeconds": 0}}, "queue.leaseSeconds"),
    "no delivery": ({"queue": {"maxDeliveries": 0}}, "queue.maxDeliveries"),
    "room for none": (queue(maxMessages=0), "queue.maxMessages"),
    "fewer than no retries": (queue(retries=-1), "queue.retries"),
    "results in a place unknown": (queue(results="Redis"), "queue.results"),
    "results for no time": (queue(resultTtlSeconds=0), "queue.resultTtlSeconds"),
    "results without a number": (queue(resultCount=0), "queue.resultCount"),
    "tasks in a place unknown": (consumers(executor="Cloud"), "consumers.executor"),
    "a resource without a function": (
        consumers(taskResources=[{"name": "db"}]),
        "consumers.taskResources[0]",
    ),
    "none at a time": (consumers(batchSize=0), "consumers.batchSize"),
    "a word unknown": ({"queue": {"fsync": "Sometimes"}}, "queue.fsync"),
    "no shard": (shards(replicas=0), "shards.replicas"),
    "too many shards": (shards(replicas=65), "shards.replicas"),
    "a text for a number": (shards(replicas="two"), "shards.replicas"),
    "a class without a name": (
        claim(storageClassName=""),
        "shards.storage.persistentVolumeClaim.storageClassName",
    ),
    "volumes for many": (
        claim(accessMode="ReadWriteMany"),
        "shards.storage.persistentVolumeClaim.accessMode",
    ),
    "no slot": (consumers(slots=0), "consumers.slots"),
    "a negative drain": (consumers(drainSeconds=-1), "consumers.drainSeconds"),
    "a mode unknown": (consumers(autoscaling={"mode": "Magic"}), "consumers.autoscaling.mode"),
    "no consumer ever": (consumers(autoscaling={"maxReplicas": 0}), "consumers.autoscaling.maxReplicas"),
    "an image without a name": ({"image": ""}, "image"),
    "a text for a list": (pod(tolerations="all"), "consumers.pod.tolerations"),
    "a text for a mapping": (pod(labels="all"), "consumers.pod.labels"),
    "a Secret without a name": ({"imagePullSecrets": [{}]}, "imagePullSecrets[0]"),
    "a variable without a name": (pod(env=[{"value": "1"}]), "consumers.pod.env[0]"),
    "a mount without a folder": (pod(volumeMounts=[{"name": "a"}]), "consumers.pod.volumeMounts[0]"),
}

A_SIZE = "the size must be a quantity greater than zero, such as 10Gi"
A_PATH = "write it as package.module:name, of a module in the image"
ONE_STORAGE = "exactly one of persistentVolumeClaim and emptyDir must be set"
LETTERS = "metadata.name must be of lower-case letters, digits and '-'"
A_NUMBER = "consumers.replicas must be set in the modes Fixed and External"
BUILTIN = "consumers.replicas cannot be set in mode Builtin, where the operator decides"
REFUSED: dict[str, Refused] = {
    "a name too long": Refused("metadata.name must have at most 40 characters", name="a" * 41),
    "a name with a digit first": Refused(LETTERS, name="1st"),
    "a name with a dot": Refused(LETTERS, name="in.voices"),
    "a size of words": Refused(A_SIZE, claim(size="large")),
    "a size of nothing": Refused(A_SIZE, claim(size="0Gi")),
    "a size below zero": Refused(A_SIZE, claim(size="-1Gi")),
    "a bound of words": Refused(A_SIZE, queue(maxBytes="much")),
    "no room for results": Refused(A_SIZE, queue(resultBytes="0")),
    "a queue without a bound that is full": Refused(
        "overflow is for shards that can be full", queue(overflow="Raise")
    ),
    "pauses that begin above their longest": Refused(
        "backoffSeconds must not be greater than backoffMaxSeconds", queue(backoffSeconds=601)
    ),
    "a middleware that is no path": Refused(A_PATH, consumers(middleware=[{"path": "invoices.tracing"}])),
    "a resource with a path of the disk": Refused(
        A_PATH, consumers(taskResources=[{"name": "db", "path": "/invoices/db.py"}])
    ),
    "a resource with a name of two words": Refused(
        "a name is of letters, digits and '_'",
        consumers(taskResources=[{"name": "the db", "path": "invoices:db"}]),
    ),
    "a limit of words": Refused(A_SIZE, shards(storage={"emptyDir": {"sizeLimit": "large"}})),
    "no storage": Refused(ONE_STORAGE, shards(storage={})),
    "two storages": Refused(ONE_STORAGE, shards(storage={"persistentVolumeClaim": {}, "emptyDir": {}})),
    "a number in mode Builtin": Refused(BUILTIN, consumers(replicas=3, autoscaling={"mode": "Builtin"})),
    "a number and no mode": Refused(BUILTIN, consumers(replicas=3)),
    "no number in mode Fixed": Refused(A_NUMBER, consumers(autoscaling={"mode": "Fixed"})),
    "no number in mode External": Refused(A_NUMBER, consumers(autoscaling={"mode": "External"})),
    "more at least than at most": Refused(
        "minReplicas must not be greater than maxReplicas", consumers(autoscaling={"minReplicas": 6})
    ),
    "a label of ours": Refused("use a prefix of your own", pod(labels={"daskqueue.dev/queue": "other"})),
    "an annotation of ours": Refused(
        "use a prefix of your own", pod(annotations={"controller.kubernetes.io/pod-deletion-cost": "9"})
    ),
    "a variable of ours": Refused("the variables DASKQUEUE_CONFIG", pod(env=[{"name": "DASKQUEUE_NAME"}])),
    "a volume of ours": Refused("the volumes data, tmp", pod(volumes=[{"name": "data", "emptyDir": {}}])),
    "a folder of ours": Refused(
        "the folders /data, /tmp", pod(volumeMounts=[{"name": "a", "mountPath": "/data"}])
    ),
    "a request of words": Refused(
        "each of requests must be a quantity such as 500m", pod(resources={"requests": {"cpu": "much"}})
    ),
    "a negative request": Refused("and not negative", pod(resources={"requests": {"cpu": "-1"}})),
    "a negative number of a request": Refused("and not negative", pod(resources={"requests": {"cpu": -1}})),
    "a limit for a pod of words": Refused(
        "each of limits must be a quantity such as 500m", pod(resources={"limits": {"memory": "1 GB"}})
    ),
    "a request above its limit": Refused(
        "no request may be greater than its limit",
        pod(resources={"requests": {"memory": "2Gi"}, "limits": {"memory": "2G"}}),
        told_by="the operator",
    ),
    "a word misspelt": Refused(
        'unknown field "spec.shards.replica"', shards(replica=3), told_by="the API server"
    ),
    "the same variable twice": Refused(
        "Duplicate value", pod(env=[{"name": "A"}, {"name": "A"}]), told_by="the API server"
    ),
}

# What the DaskQueues are like before they are changed.
BEFORE: dict[str, Spec] = {
    "four-lines": {},
    "large": shards(
        replicas=2, storage={"persistentVolumeClaim": {"size": "2Gi", "storageClassName": "standard"}}
    ),
    "folder": shards(storage={"emptyDir": {}}),
    "fixed": consumers(replicas=2, autoscaling={"mode": "Fixed"}),
}
KIND_OF_STORAGE = "the kind of storage may not be changed"
CHANGED: dict[str, Changed] = {
    "more shards": Changed("large", shards(replicas=3)),
    "fewer shards": Changed("large", shards(replicas=1), "shards.replicas may only grow"),
    "a larger volume": Changed("large", claim(size="3Gi")),
    "the same volume in other words": Changed("large", claim(size="2048Mi")),
    "a smaller volume": Changed("large", claim(size="2000Mi"), "size may only grow"),
    "a size of words": Changed("large", claim(size="huge"), A_SIZE),
    "a volume smaller than the default": Changed("four-lines", claim(size="9Gi"), "size may only grow"),
    "another class": Changed("large", claim(storageClassName="fast"), "storageClassName may not be changed"),
    "no class any more": Changed(
        "large", claim(storageClassName=None), "storageClassName may not be changed"
    ),
    "a class after all": Changed(
        "four-lines", claim(storageClassName="standard"), "storageClassName may not be changed"
    ),
    "another access": Changed("large", claim(accessMode="ReadWriteOncePod"), "accessMode may not be changed"),
    "volumes to be deleted": Changed("large", claim(whenDeleted="Delete")),
    "a folder for volumes": Changed(
        "large", shards(storage={"persistentVolumeClaim": None, "emptyDir": {}}), KIND_OF_STORAGE
    ),
    "volumes for a folder": Changed(
        "folder", shards(storage={"persistentVolumeClaim": {}, "emptyDir": None}), KIND_OF_STORAGE
    ),
    "a folder with a limit": Changed("folder", shards(storage={"emptyDir": {"sizeLimit": "1Gi"}})),
    "from a fixed number to Builtin, leaving the number": Changed(
        "fixed", consumers(autoscaling={"mode": "Builtin"}), BUILTIN
    ),
    "from a fixed number to Builtin": Changed(
        "fixed", consumers(replicas=None, autoscaling={"mode": "Builtin"})
    ),
    "from a fixed number to an autoscaler": Changed("fixed", consumers(autoscaling={"mode": "External"})),
    "from Builtin to a fixed number": Changed(
        "four-lines", consumers(replicas=2, autoscaling={"mode": "Fixed"})
    ),
    "from Builtin to an autoscaler without a number": Changed(
        "four-lines", consumers(autoscaling={"mode": "External"}), A_NUMBER
    ),
    "a bound after all": Changed("four-lines", queue(maxMessages=5)),
    "a full queue that drops": Changed("four-lines", queue(overflow="DropOldest"), "overflow is for shards"),
    "suspended": Changed("four-lines", {"suspend": True}),
}
