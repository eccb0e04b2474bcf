"""Where the messages of a queue are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from daskqueue_operator.declare import Option, Rule
from daskqueue_operator.quantities import amount, is_quantity

AccessMode = Literal["ReadWriteOnce", "ReadWriteOncePod"]
WhenDeleted = Literal["Retain", "Delete"]
Medium = Literal["", "Memory"]

A_SIZE = Rule(
    "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
    "the size must be a quantity greater than zero, such as 10Gi",
    lambda size: is_quantity(size) and amount(size) > 0,
)


def fixed(field: str, why: str) -> Rule:
    """Return the rule that *field* is never set, changed or dropped after creation."""
    same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    return Rule(same, f"{field} may not be changed: {why}; make a new DaskQueue under another name")


@dataclass(frozen=True, slots=True)
class PersistentVolumeClaim:
    """A volume that outlives pods and nodes."""

    RULES: ClassVar = (
        Rule(
            "!has(self.size) || !has(oldSelf.size) || !isQuantity(self.size) || !isQuantity(oldSelf.size) || "
            "quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",
            "size may only grow: a volume cannot be made smaller",
        ),
        fixed("storageClassName", "a volume cannot move to another class"),
        # The default comes after this rule has run on what was written: hence no demand for has().
        Rule(
            "!has(self.accessMode) || !has(oldSelf.accessMode) || self.accessMode == oldSelf.accessMode",
            "accessMode may not be changed: a claim keeps its own; make a new DaskQueue under another name",
        ),
    )

    size: Annotated[
        str,
        Option(
            "How large the volume of each shard is. It may grow later, where the storage class allows it.",
            longest=32,
            rules=(A_SIZE,),
        ),
    ] = "10Gi"
    storage_class_name: Annotated[
        str | None,
        Option(
            "The StorageClass that makes the volumes; the cluster's default where nothing is said.",
            longest=253,
        ),
    ] = None
    access_mode: Annotated[
        AccessMode,
        Option(
            "`ReadWriteOncePod` lets Kubernetes itself hold off a second pod, where the storage driver can."
        ),
    ] = "ReadWriteOnce"
    when_deleted: Annotated[
        WhenDeleted,
        Option(
            "What becomes of the volumes when the DaskQueue is deleted. `Retain` keeps them, with their messages: a "
            "DaskQueue of the same name finds them again. `Delete` deletes them."
        ),
    ] = "Retain"


@dataclass(frozen=True, slots=True)
class EmptyDir:
    """A folder on the node that is lost with its pod."""

    medium: Annotated[
        Medium, Option('Where the folder is: `""` on the disk of the node, `Memory` in its memory.')
    ] = ""
    size_limit: Annotated[
        str | None,
        Option(
            "How large the folder may grow before the pod is evicted, messages and all.",
            longest=32,
            rules=(A_SIZE,),
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the messages of a shard are."""

    RULES: ClassVar = (
        Rule(
            "has(self.persistentVolumeClaim) != has(self.emptyDir)",
            "exactly one of persistentVolumeClaim and emptyDir must be set",
            lambda storage: (storage.persistent_volume_claim is None) != (storage.empty_dir is None),
        ),
        Rule(
            "has(self.persistentVolumeClaim) == has(oldSelf.persistentVolumeClaim)",
            "the kind of storage may not be changed: messages do not move; make a new DaskQueue under another name",
        ),
    )

    persistent_volume_claim: Annotated[
        PersistentVolumeClaim | None,
        Option("A volume for each shard that outlives pods and nodes: nothing is lost."),
    ] = None
    empty_dir: Annotated[
        EmptyDir | None,
        Option(
            "A folder on the node instead: it survives a restart of the container and is lost with its pod."
        ),
    ] = None


ON_VOLUMES = Storage(persistent_volume_claim=PersistentVolumeClaim())
