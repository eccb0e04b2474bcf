"""The API server's schema of what is declared in Python."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args, get_origin

from daskqueue_operator.declare import Declared, Option, Rule, declared, is_declared, rules_of, said

Schema = dict[str, Any]
_INT_OR_STRING: Schema = {
    "x-kubernetes-int-or-string": True,
    "anyOf": [{"type": "integer"}, {"type": "string"}],
}
_SCALARS: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "format": "int32"},
    str: {"type": "string", "minLength": 1},
}


def schema_of(kind: type) -> Schema:
    """Return the schema of *kind*, a dataclass that is annotated with options."""
    fields = declared(kind)
    schema: Schema = {"type": "object"}
    required = [field.key for field in fields if field.default is dataclasses.MISSING]
    if required:
        schema["required"] = required
    schema.update(_validations(rules_of(kind)))
    schema["properties"] = {field.key: _property(field) for field in fields}
    return schema


def _property(field: Declared) -> Schema:
    schema = {"description": field.option.text} | _typed(field)
    default = _shown_default(field, schema)
    return schema if default is None else schema | {"default": default}


def _typed(field: Declared) -> Schema:
    kind, origin, option = field.kind, get_origin(field.kind), field.option
    if is_declared(kind):
        return schema_of(kind) | _validations(option.rules, rules_of(kind))
    if origin is Literal:
        return {"type": "string", "enum": list(get_args(kind))}
    if origin is tuple:
        return _list(get_args(kind)[0], option) | _validations(option.rules)
    if kind in _SCALARS:
        return _SCALARS[kind] | _bounds(option, kind) | _validations(option.rules)
    return _mapping(get_args(kind)[1], option) | _validations(option.rules)


def _bounds(option: Option, kind: type) -> Schema:
    if kind is str:
        return {"maxLength": option.longest}
    bounds = {"minimum": option.at_least, "maximum": option.at_most}
    return {name: value for name, value in bounds.items() if value is not None}


def _mapping(value: Any, option: Option) -> Schema:
    """Return the schema of a mapping: of texts, of quantities, or of anything as a Pod has it."""
    if value is Any:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    entry: Schema = {"type": "string"} if value is str else dict(_INT_OR_STRING)
    if option.value_longest is not None:
        entry["maxLength"] = option.value_longest
    return {"type": "object", "maxProperties": option.longest, "additionalProperties": entry}


def _list(kind: Any, option: Option) -> Schema:
    """Return the schema of a list, whose entries are declared or are as a Pod has them."""
    if is_declared(kind):
        entry = schema_of(kind)
    else:
        entry = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        if option.key is not None:
            text = {
                "type": "string",
                "minLength": 1,
                "maxLength": 512,
                "description": "It tells the entries apart.",
            }
            entry |= {"required": [option.key], "properties": {option.key: text}}
    schema: Schema = {"type": "array", "maxItems": option.longest, "items": entry}
    if option.key is not None:
        schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [option.key]}
    return schema


def _validations(*rules: tuple[Rule, ...]) -> Schema:
    told = [{"rule": rule.cel, "message": rule.message} for some in rules for rule in some if rule.cel]
    return {"x-kubernetes-validations": told} if told else {}


def _shown_default(field: Declared, schema: Schema) -> Any:
    """Return the default that the API server fills in, or None for none."""
    if is_declared(field.kind):
        inner = {} if field.default is None else said(field.default)
        nested = any("default" in part for part in schema["properties"].values())
        return inner if inner or (nested and field.default is not None) else None
    empty = field.default is dataclasses.MISSING or field.default in (None, (), {}, "")
    return None if empty else field.default
