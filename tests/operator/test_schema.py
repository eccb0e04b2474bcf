"""The CustomResourceDefinition says what the types of the spec say, and people can read it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from daskqueue.engine.settings import QueueSettings
from daskqueue_operator import schema
from daskqueue_operator.parse import parse
from daskqueue_operator.queue_spec import Queue
from daskqueue_operator.resource_page import page
from daskqueue_operator.spec import Spec
from daskqueue_operator.status_schema import STATUS, unknown

ROOT = Path(__file__).parents[2]
MADE = {
    "helm/daskqueue/templates/crd.yaml": ("", schema.crd_yaml),
    "docs/daskqueue-resource.md": (" --docs", page),
}
VERSION = schema.crd()["spec"]["versions"][0]
OBJECT = VERSION["schema"]["openAPIV3Schema"]
SPEC = OBJECT["properties"]["spec"]


def walk(part, path):
    """Yield each part of a schema with its path."""
    yield path, part
    for key, below in part.get("properties", {}).items():
        yield from walk(below, f"{path}.{key}")
    if "items" in part:
        yield from walk(part["items"], f"{path}[]")
    if isinstance(part.get("additionalProperties"), dict):
        yield from walk(part["additionalProperties"], f"{path}{{}}")


PARTS = [*walk(SPEC, "spec"), *walk(STATUS, "status")]


@pytest.mark.parametrize("file", MADE)
def test_the_files_are_what_the_types_make_of_them(file):
    option, make = MADE[file]
    fresh = (ROOT / file).read_text() == make()
    assert fresh, f"run: .venv/bin/{schema.COMMAND}{option} > {file}"


def test_helm_finds_nothing_to_replace_in_the_file():
    text = schema.crd_yaml()
    assert "{{" not in text
    assert yaml.safe_load(text) == schema.crd()


def test_every_field_has_a_text():
    silent = [path for path, part in PARTS if not path.endswith("}") and "description" not in part]
    assert [path for path in silent if not path.endswith("[]")] == []


def test_every_text_is_a_sentence():
    texts = {path: part["description"] for path, part in PARTS if "description" in part}
    assert [path for path, text in texts.items() if not re.fullmatch(r"[A-Z`].*\.", text)] == []


def test_everything_of_the_spec_has_a_bound():
    bounds = {"string": ("maxLength", "enum"), "array": ("maxItems",), "integer": ("minimum",)}
    spec = [(path, part) for path, part in PARTS if path.startswith("spec") and not path.endswith("}")]
    loose = [
        path
        for path, part in spec
        if part.get("type") in bounds and not any(b in part for b in bounds[part["type"]])
    ]
    assert loose == []


def test_the_defaults_of_the_schema_are_those_of_the_types():
    filled = filled_in({}, SPEC)
    assert filled["queue"]["leaseSeconds"] == Queue().lease_seconds
    assert filled["shards"]["storage"]["persistentVolumeClaim"]["size"] == "10Gi"
    assert parse(Spec, filled, "spec") == Spec()


def filled_in(value, part):
    """Return a value with the defaults of a schema, as the API server fills them in."""
    for key, below in part.get("properties", {}).items():
        if key not in value and "default" in below:
            value[key] = yaml.safe_load(yaml.safe_dump(below["default"]))
        if isinstance(value.get(key), dict):
            filled_in(value[key], below)
    return value


def test_a_queue_has_the_defaults_of_the_library():
    ours, theirs = Queue(), QueueSettings()
    assert ours.lease_seconds == theirs.lease_seconds
    assert ours.max_deliveries == theirs.max_losses
    assert ours.fsync.lower() == theirs.fsync


def test_the_columns_are_those_that_people_were_promised():
    promised = ["Ready", "Reason", "Shards", "Consumers", "Desired", "Backlog", "Oldest", "Age"]
    columns = VERSION["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == promised


def test_columns_and_scale_show_what_is_there():
    paths = [column["jsonPath"] for column in VERSION["additionalPrinterColumns"]]
    paths += VERSION["subresources"]["scale"].values()
    known = {path for path, _ in walk(OBJECT, "")} | {".metadata.creationTimestamp"}
    assert [path for path in paths if re.sub(r"\[\?.*?\)\]", "[]", path) not in known] == []


def test_every_rule_says_a_sentence_without_full_stop():
    messages = [rule["message"] for _, part in PARTS for rule in part.get("x-kubernetes-validations", ())]
    assert len(messages) > 20
    assert [message for message in messages if message.endswith(".") or len(message) > 250] == []


def test_a_status_that_the_api_server_would_drop_is_found():
    status = {
        "conditions": [{"type": "Ready", "mood": "good"}],
        "backlog": {"ready": 1},
        "weather": {},
        "shards": {"items": [{"name": "a"}, {"pod": "b"}]},
    }
    assert list(unknown(status)) == [
        "status.conditions[0].mood",
        "status.weather",
        "status.shards.items[1].pod",
    ]
