"""The docs page of the DaskQueue resource, made from the types of the spec."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from daskqueue_operator.dask_queue import API_VERSION, KIND, NAME_RULES
from daskqueue_operator.declare import Declared, Rule, declared, is_declared, rules_of
from daskqueue_operator.pod_spec import Pod
from daskqueue_operator.spec import Spec
from daskqueue_operator.status_schema import STATUS, Schema

TOP = f"""# The DaskQueue resource

<!-- Made by `python -m daskqueue_operator.schema --docs` from the types of the spec; edit those. -->

```yaml
apiVersion: {API_VERSION}
kind: {KIND}
metadata:
  name: invoices
```

These four lines are a whole queue. All else has a default, which `kubectl get dq invoices -o yaml` shows, and a text,
which `kubectl explain dq.spec` shows.
"""
TABLE = "| field | type | default | meaning |\n|---|---|---|---|\n"


def page() -> str:
    """Return the page, in Markdown."""
    return "\n".join(
        [
            TOP,
            "## spec\n",
            TABLE + "".join(_rows(Spec, "", skip=Pod)),
            "## spec.*.pod\n",
            "What may be changed in the pods of shards, scheduler and consumers; the operator keeps the rest.\n",
            TABLE + "".join(_rows(Pod, "", skip=None)),
            "## What is refused\n",
            "The API server refuses these; those with a star reach the operator, and `Ready` tells of them.\n",
            "\n".join(_refusals()) + "\n",
            "## status\n",
            "| field | type | meaning |\n|---|---|---|\n" + "".join(_status_rows(STATUS, "")),
        ]
    )


def _rows(kind: type, prefix: str, skip: type | None) -> Iterator[str]:
    """Yield a row for each field of *kind* and, below it, for each field of what it holds, but for *skip*."""
    for field in declared(kind):
        path = prefix + field.key
        if field.kind is skip:
            yield _row(path, field, "[pod](#specpod)", "")
        elif is_declared(field.kind):
            yield _row(path, field, "object", "")
            yield from _rows(field.kind, f"{path}.", skip)
        else:
            yield _row(path, field, _type(field), _default(field))
            yield from _item_rows(field, path)


def _item_rows(field: Declared, path: str) -> Iterator[str]:
    item: Any = get_args(field.kind)[0] if get_origin(field.kind) is tuple else None
    if is_declared(item):
        yield from _rows(item, f"{path}[].", skip=None)


def _row(path: str, field: Declared, kind: str, default: str) -> str:
    return f"| `{path}` | {kind} | {default} | {_cell(field.option.text)} |\n"


def _type(field: Declared) -> str:
    kind, origin, option = field.kind, get_origin(field.kind), field.option
    if origin is Literal:
        return " or ".join(f"`{choice or _EMPTY}`" for choice in get_args(kind))
    if origin is tuple:
        return f"list, {option.longest} at most"
    if kind is int:
        return f"integer, {option.at_least:,} to {option.at_most:,}"
    return {str: "string", bool: "boolean"}.get(kind, "mapping")


_EMPTY = '""'


def _default(field: Declared) -> str:
    value: Any = field.default
    if value is dataclasses.MISSING:
        return "required"
    if value is None or value in ((), {}):
        return ""
    return f"`{_EMPTY if value == '' else str(value).lower() if isinstance(value, bool) else value}`"


def _refusals() -> Iterator[str]:
    yield from (f"- `metadata.name`: {rule.message}." for rule in NAME_RULES)
    yield from (
        f"- `{path}`: {rule.message}{'' if rule.cel else ' *'}." for path, rule in _rules(Spec, "spec")
    )


def _rules(kind: type, path: str) -> Iterator[tuple[str, Rule]]:
    yield from ((path, rule) for rule in rules_of(kind))
    for field in declared(kind):
        below = f"{path}.{field.key}"
        yield from ((below, rule) for rule in field.option.rules)
        if is_declared(field.kind) and (field.kind is not Pod or path == "spec.shards"):
            yield from _rules(field.kind, below.replace("spec.shards.pod", "spec.*.pod"))


def _status_rows(schema: Schema, prefix: str) -> Iterator[str]:
    for key, part in schema["properties"].items():
        path = prefix + key
        yield f"| `{path}` | {part['type']} | {_cell(part['description'])} |\n"
        if part["type"] == "object":
            yield from _status_rows(part, f"{path}.")
        elif part["type"] == "array":
            yield from _status_rows(part["items"], f"{path}[].")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
