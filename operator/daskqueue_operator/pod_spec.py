"""What people may change in the pods of a queue; the operator keeps the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from daskqueue_operator.declare import Option, Rule
from daskqueue_operator.quantities import amount, is_quantity

Entries = tuple[Mapping[str, Any], ...]

OWN_LABELS = ("app.kubernetes.io/", "dask.org/", "daskqueue.dev/")
OWN_ANNOTATIONS = ("daskqueue.dev/", "controller.kubernetes.io/")
OWN_VOLUMES = ("data", "tmp", "config")
OWN_MOUNTS = ("/data", "/tmp", "/etc/daskqueue")  # noqa: S108 - inside a pod that is ours alone
OWN_VARIABLES = (
    "DASKQUEUE_CONFIG",
    "DASKQUEUE_DIR",
    "DASKQUEUE_HOST",
    "DASKQUEUE_METRICS_PORT",
    "DASKQUEUE_NAME",
    "DASKQUEUE_PORT",
    "DASKQUEUE_SCHEDULER",
    "DASKQUEUE_SHARD",
)


def no_key_begins(prefixes: tuple[str, ...], what: str) -> Rule:
    """Return the rule that no key of a mapping begins with one of *prefixes*."""
    cel = " && ".join(f"!k.startsWith('{prefix}')" for prefix in prefixes)
    return Rule(
        f"self.all(k, {cel})",
        f"{what} that begin with {' or '.join(prefixes)} are set by the operator; use a prefix of your own",
        lambda value: not any(key.startswith(prefixes) for key in value),
    )


def none_of(key: str, taken: tuple[str, ...], what: str) -> Rule:
    """Return the rule that no entry's *key* is one of those that the operator sets."""
    return Rule(
        f"self.all(entry, !(entry.{key} in {list(taken)}))",
        f"{what} {', '.join(taken)} belong to the operator; choose another",
        lambda entries: not any(entry.get(key) in taken for entry in entries),
    )


def all_quantities(what: str) -> Rule:
    """Return the rule that each value of a mapping is a quantity."""
    return Rule(
        "self.all(k, isQuantity(string(self[k])) && !string(self[k]).startsWith('-'))",
        f"each of {what} must be a quantity such as 500m, 2 or 1Gi, and not negative",
        lambda amounts: all(is_quantity(value) and amount(value) >= 0 for value in amounts.values()),
    )


def _within_limits(resources: Resources) -> bool:
    return all(
        amount(asked) <= amount(resources.limits[name])
        for name, asked in resources.requests.items()
        if name in resources.limits
    )


@dataclass(frozen=True, slots=True)
class Resources:
    """What a container asks for and may use at most."""

    RULES: ClassVar = (
        Rule(
            None,  # the API server thinks that this would cost it too much
            "no request may be greater than its limit",
            _within_limits,
        ),
    )

    requests: Annotated[
        Mapping[str, str | int],
        Option(
            "What is set aside for each pod, such as `cpu: 500m` and `memory: 1Gi`.",
            longest=8,
            rules=(all_quantities("requests"),),
        ),
    ] = field(default_factory=dict)
    limits: Annotated[
        Mapping[str, str | int],
        Option(
            "What a pod may use at most. A pod that uses more memory is killed and started again.",
            longest=8,
            rules=(all_quantities("limits"),),
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pod:
    """The changes to the pods of one component."""

    labels: Annotated[
        Mapping[str, str],
        Option(
            "Labels for the pods, beside those of the operator.",
            longest=32,
            value_longest=63,
            rules=(no_key_begins(OWN_LABELS, "labels"),),
        ),
    ] = field(default_factory=dict)
    annotations: Annotated[
        Mapping[str, str],
        Option(
            "Annotations for the pods.", longest=32, rules=(no_key_begins(OWN_ANNOTATIONS, "annotations"),)
        ),
    ] = field(default_factory=dict)
    node_selector: Annotated[
        Mapping[str, str],
        Option("Labels that a node must have for the pods to run there.", longest=32, value_longest=63),
    ] = field(default_factory=dict)
    tolerations: Annotated[
        Entries, Option("Taints of nodes that the pods put up with, as in a Pod.", longest=32)
    ] = ()
    affinity: Annotated[
        Mapping[str, Any] | None, Option("Which nodes and neighbours the pods like or avoid, as in a Pod.")
    ] = None
    service_account_name: Annotated[
        str | None,
        Option(
            "The ServiceAccount that the pods run as. They get no token for the API server, unless by a volume.",
            longest=253,
        ),
    ] = None
    priority_class_name: Annotated[
        str | None,
        Option("The PriorityClass of the pods: who goes first where there is no room for all.", longest=253),
    ] = None
    resources: Annotated[
        Resources | None,
        Option("What each pod asks for and may use at most; small requests where nothing is said."),
    ] = None
    env: Annotated[
        Entries,
        Option(
            "Environment variables for the container, as in a Pod; those that the operator sets cannot be replaced.",
            longest=128,
            key="name",
            rules=(none_of("name", OWN_VARIABLES, "the variables"),),
        ),
    ] = ()
    env_from: Annotated[
        Entries,
        Option("Secrets and ConfigMaps whose keys become environment variables, as in a Pod.", longest=32),
    ] = ()
    volumes: Annotated[
        Entries,
        Option(
            "Volumes for the pods, as in a Pod.",
            longest=32,
            key="name",
            rules=(none_of("name", OWN_VOLUMES, "the volumes"),),
        ),
    ] = ()
    volume_mounts: Annotated[
        Entries,
        Option(
            "Where the container sees those volumes, as in a Pod.",
            longest=32,
            key="mountPath",
            rules=(none_of("mountPath", OWN_MOUNTS, "the folders"),),
        ),
    ] = ()
