"""The CustomResourceDefinition of DaskQueue, made from the types of the spec.

``python -m daskqueue_operator.schema`` prints it, with ``--docs`` the page for people.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from daskqueue_operator.dask_queue import GROUP, KIND, NAME_RULES, PLURAL, VERSION
from daskqueue_operator.openapi import schema_of
from daskqueue_operator.resource_page import page
from daskqueue_operator.spec import Spec
from daskqueue_operator.status_schema import STATUS

COMMAND = "python -m daskqueue_operator.schema"
HEADER = f"# Made by `{COMMAND}` from the types of the spec; edit those.\n"
READY = ".status.conditions[?(@.type=='Ready')]"
# What `kubectl get` shows: name, type, where it is, text; the last ones with `-o wide` only.
COLUMNS = (
    ("Ready", "string", f"{READY}.status", "Whether it takes messages and runs tasks"),
    ("Reason", "string", f"{READY}.reason", "Why, in a word"),
    ("Shards", "integer", ".status.shards.readyReplicas", "Shards that serve"),
    ("Consumers", "integer", ".status.consumers.readyReplicas", "Consumers that serve"),
    ("Desired", "integer", ".status.consumers.desiredReplicas", "Consumers that are wanted now"),
    ("Backlog", "integer", ".status.backlog.ready", "Messages that a consumer may take now"),
    ("Oldest", "integer", ".status.backlog.oldestAgeSeconds", "Seconds that the oldest of them has waited"),
    ("Age", "date", ".metadata.creationTimestamp", "Time since it was made"),
)
WIDE_COLUMNS = (
    ("Leased", "integer", ".status.backlog.leased", "Messages that consumers hold"),
    ("Dead", "integer", ".status.backlog.deadLettered", "Messages that were given up"),
    ("Draining", "integer", ".status.consumers.drainingReplicas", "Consumers that finish their tasks and go"),
    ("Scaling", "string", ".status.autoscaling.limitedBy", "What limits the number of consumers"),
    ("Version", "string", ".status.version", "The version of daskqueue in the shards"),
    ("Message", "string", f"{READY}.message", "Why it is ready or not, in a sentence"),
)


def crd() -> dict[str, Any]:
    """Return the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            # Deleting it deletes every DaskQueue: not even `helm uninstall` or a rolled-back release may do so.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": _names(),
            "conversion": {"strategy": "None"},
            "versions": [_version()],
        },
    }


def crd_yaml() -> str:
    """Return the CustomResourceDefinition as a file of the chart."""
    return HEADER + yaml.dump(crd(), Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True)


def _names() -> dict[str, Any]:
    return {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": KIND.lower(),
        "shortNames": ["dq"],
        "categories": ["dask"],
    }


def _version() -> dict[str, Any]:
    scale = {
        "specReplicasPath": ".spec.consumers.replicas",
        "statusReplicasPath": ".status.consumers.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}, "scale": scale},
        "additionalPrinterColumns": [
            *(_column(*column) for column in COLUMNS),
            *(_column(*column) | {"priority": 1} for column in WIDE_COLUMNS),
        ],
        "schema": {"openAPIV3Schema": _object()},
    }


def _column(name: str, kind: str, path: str, text: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": path, "description": text}


def _object() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "DaskQueue is a durable queue of tasks, kept on volumes and worked off by consumers.",
        "x-kubernetes-validations": [{"rule": rule.cel, "message": rule.message} for rule in NAME_RULES],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {"description": "What is asked for.", "default": {}} | schema_of(Spec),
            "status": STATUS,
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out in full, for people to read."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return that nothing is an alias."""
        return True


if __name__ == "__main__":
    sys.stdout.write(page() if "--docs" in sys.argv[1:] else crd_yaml())
