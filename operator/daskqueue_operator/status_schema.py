"""What a DaskQueue's status may say: the schema of what the operator writes, with a text for each field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]

LIMITS = (
    "None",
    "MinReplicas",
    "MaxReplicas",
    "ScaleUpRate",
    "ScaleDownRate",
    "Stabilization",
    "BusyConsumers",
    "MissingMetrics",
)


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description} | more


def _count(description: str, **more: Any) -> Schema:
    return {"type": "integer", "format": "int32", "description": description} | more


def _long(description: str) -> Schema:
    return {"type": "integer", "format": "int64", "description": description}


def _time(description: str) -> Schema:
    return {"type": "string", "format": "date-time", "description": description}


def _object(description: str, properties: Schema, **more: Any) -> Schema:
    return {"type": "object", "description": description} | more | {"properties": properties}


def _map_list(description: str, key: str, at_most: int, item: Schema) -> Schema:
    return {
        "type": "array",
        "description": description,
        "maxItems": at_most,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": [key],
        "items": item,
    }


CONDITION = _object(
    "One thing that is so, or is not, and why.",
    {
        "type": _text("What it is about, such as Ready.", maxLength=316),
        "status": _text("Whether it is so.", enum=["True", "False", "Unknown"]),
        "observedGeneration": _long("The generation of the spec that this was seen with."),
        "lastTransitionTime": _time("When the status last changed."),
        "reason": _text(
            "Why, in a word.", minLength=1, maxLength=1024, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
        ),
        "message": _text("Why, in a sentence, and what to do about it.", maxLength=32768),
    },
    required=["type", "status", "lastTransitionTime", "reason", "message"],
)

SHARD = _object(
    "One shard.",
    {
        "name": _text("The name of its pod."),
        "claimName": _text("The claim of its volume."),
        "capacity": _text("How large its volume is by now."),
    },
    required=["name"],
)

STATUS = _object(
    "What the operator saw and decided.",
    {
        "observedGeneration": _long("The generation of the spec that this status is about."),
        "conditions": _map_list("What is so, or is not, and why.", "type", 16, CONDITION),
        "selector": _text("The labels of the consumers' pods, for autoscalers.", maxLength=1024),
        "version": _text("The version of daskqueue that the shards run.", maxLength=64),
        "endpoints": _object(
            "Where to reach it.",
            {
                "scheduler": _text(
                    "The address for Dask clients, such as tcp://invoices-scheduler.default:8786."
                ),
                "dashboard": _text("The address of the Dask dashboard."),
            },
        ),
        "shards": _object(
            "The pods that keep the messages.",
            {
                "replicas": _count("How many there are."),
                "readyReplicas": _count("How many serve."),
                "updatedReplicas": _count("How many are as the spec says by now."),
                "items": _map_list("Each shard and its volume.", "name", 64, SHARD),
            },
        ),
        "consumers": _object(
            "The pods that run the tasks.",
            {
                "replicas": _count("How many there are."),
                "readyReplicas": _count("How many serve."),
                "updatedReplicas": _count("How many are as the spec says by now."),
                "desiredReplicas": _count("How many are wanted now."),
                "drainingReplicas": _count("How many finish their tasks and go."),
            },
        ),
        "backlog": _object(
            "The messages of all shards, as last read from them.",
            {
                "ready": _long("Messages that a consumer may take now."),
                "leased": _long("Messages that consumers hold."),
                "delayed": _long("Messages that wait for their time."),
                "deadLettered": _long("Messages that were given up and are kept for people."),
                "oldestAgeSeconds": _long("How long the oldest ready message has waited, in seconds."),
                "observedTime": _time("When this was read."),
            },
        ),
        "autoscaling": _object(
            "What the operator thinks about the number of consumers.",
            {
                "limitedBy": _text(
                    "What keeps the number from what the backlog asks for.", enum=list(LIMITS)
                ),
                "message": _text("Why this many, in a sentence.", maxLength=8192),
                "lastScaleTime": _time("When the number of consumers last changed."),
                "lastActiveTime": _time("When there was last something to do."),
            },
        ),
    },
)


def unknown(value: Any, schema: Schema = STATUS, path: str = "status") -> Iterator[str]:
    """Yield the paths in *value* that the schema does not have, and that the API server would silently drop.

    Args:
        value: a part of an object.
        schema: the schema of that part.
        path: where that part is.
    """
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, Mapping) and "properties" in schema:
        for key, part in value.items():
            if key in schema["properties"]:
                yield from unknown(part, schema["properties"][key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from unknown(part, schema["items"], f"{path}[{number}]")
