"""One DaskQueue, as the API server has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daskqueue_operator.declare import Rule
from daskqueue_operator.errors import SpecError
from daskqueue_operator.parse import parse
from daskqueue_operator.spec import Spec

GROUP, VERSION, KIND, PLURAL = "daskqueue.dev", "v1alpha1", "DaskQueue", "daskqueues"
API_VERSION = f"{GROUP}/{VERSION}"
LONGEST_NAME = 40  # a StatefulSet's pods carry <name>-shard-<hash> as a label, of 63 characters at most

NAME_RULES = (
    Rule(
        f"self.metadata.name.size() <= {LONGEST_NAME}",
        f"metadata.name must have at most {LONGEST_NAME} characters: the names of pods and services are made from it",
        lambda name: len(name) <= LONGEST_NAME,
    ),
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be of lower-case letters, digits and '-', begin with a letter and end with a letter or "
        "digit: it becomes the name of Services",
        lambda name: re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) is not None,
    ),
)


@dataclass(frozen=True, slots=True)
class DaskQueue:
    """One DaskQueue of the cluster.

    Args:
        name: its name.
        namespace: its namespace.
        uid: its identity; a DaskQueue that was deleted and made again has another.
        generation: grows with each change of the spec.
        deleting: it is being deleted.
        spec: what it asks for.
        status: what was last written about it.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    deleting: bool
    spec: Spec
    status: Mapping[str, Any]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> DaskQueue:
        """Return the DaskQueue that *body*, an object of the API server, describes.

        Raises:
            SpecError: its name or spec cannot be; the API server refuses most of this before we see it.
        """
        metadata = body["metadata"]
        for rule in NAME_RULES:
            if rule.holds is not None and not rule.holds(metadata["name"]):
                raise SpecError("metadata.name", rule.message)
        return cls(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            deleting="deletionTimestamp" in metadata,
            spec=parse(Spec, body.get("spec") or {}, "spec"),
            status=body.get("status") or {},
        )
