"""What a DaskQueue asks for: its types, defaults, bounds, rules and texts, declared here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from daskqueue_operator.consumers_spec import Consumers
from daskqueue_operator.declare import Option, Rule
from daskqueue_operator.pod_spec import Pod
from daskqueue_operator.queue_spec import Queue
from daskqueue_operator.storage_spec import ON_VOLUMES, Storage

PullPolicy = Literal["Always", "IfNotPresent", "Never"]
PodMonitor = Literal["Auto", "Enabled", "Disabled"]


@dataclass(frozen=True, slots=True)
class PullSecret:
    """A Secret by its name."""

    name: Annotated[str, Option("The name of the Secret, in the namespace of the DaskQueue.", longest=253)]


@dataclass(frozen=True, slots=True)
class Shards:
    """The queues that messages are spread over."""

    replicas: Annotated[
        int,
        Option(
            "How many queues, each with a pod and a volume of its own, share the messages. It may only grow.",
            at_least=1,
            at_most=64,
            rules=(
                Rule(
                    "self >= oldSelf",
                    "shards.replicas may only grow: every shard owns a part of the messages",
                ),
            ),
        ),
    ] = 1
    storage: Annotated[
        Storage, Option("Where the messages are: one of persistentVolumeClaim and emptyDir.")
    ] = ON_VOLUMES
    pod: Annotated[Pod, Option("Changes to the pods of the shards.")] = field(default_factory=Pod)


@dataclass(frozen=True, slots=True)
class Scheduler:
    """The Dask scheduler, through which hosts and clients find each other."""

    pod: Annotated[Pod, Option("Changes to the pod of the scheduler.")] = field(default_factory=Pod)


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What Prometheus is told."""

    pod_monitor: Annotated[
        PodMonitor,
        Option(
            "Whether a PodMonitor is made for the Prometheus operator: `Auto` where the cluster knows PodMonitors, "
            "`Enabled` in any case (a condition complains where it cannot be), `Disabled` never."
        ),
    ] = "Auto"
    labels: Annotated[
        Mapping[str, str],
        Option("Labels for the PodMonitor, by which a Prometheus chooses it.", longest=32, value_longest=63),
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spec:
    """What a DaskQueue asks for."""

    image: Annotated[
        str | None,
        Option(
            "The image of all pods; it must hold daskqueue and what the tasks import. The operator's own image where "
            "nothing is said.",
            longest=512,
        ),
    ] = None
    image_pull_policy: Annotated[
        PullPolicy | None,
        Option("When the nodes pull the image; as for the operator's own pod where nothing is said."),
    ] = None
    image_pull_secrets: Annotated[
        tuple[PullSecret, ...],
        Option(
            "Secrets of this namespace with the credentials of the image's registry.", longest=10, key="name"
        ),
    ] = ()
    suspend: Annotated[
        bool, Option("True lets all consumers finish and go; shards and scheduler stay, and take messages.")
    ] = False
    queue: Annotated[Queue, Option("How messages are kept and lent.")] = field(default_factory=Queue)
    shards: Annotated[Shards, Option("The queues that the messages are spread over, each with a volume.")] = (
        Shards()
    )
    scheduler: Annotated[Scheduler, Option("The Dask scheduler, where clients and pods find each other.")] = (
        Scheduler()
    )
    consumers: Annotated[Consumers, Option("The pods that run the tasks.")] = field(default_factory=Consumers)
    monitoring: Annotated[Monitoring, Option("What Prometheus is told.")] = Monitoring()
