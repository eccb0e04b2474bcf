"""A DaskQueue as its types, from the object that the API server hands over."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from daskqueue_operator.declare import Declared, Option, Rule, declared, is_declared, rules_of
from daskqueue_operator.errors import SpecError

T = TypeVar("T")
_WORDS = {int: "a whole number", str: "a text", bool: "true or false"}


def parse(kind: type[T], value: object, path: str) -> T:
    """Return *value*, a part of a manifest, as the declared *kind*; what is absent gets its default.

    Args:
        kind: a dataclass whose fields are annotated with options.
        value: a mapping as in the manifest; keys that are not declared are passed over, as the API server does.
        path: where it is in the object, for the errors.

    Raises:
        SpecError: something in it has the wrong type, is out of its bounds or breaks a rule.
    """
    mapping = _mapping(value, path)
    given: dict[str, Any] = {}
    for field in declared(kind):
        if mapping.get(field.key) is not None:
            given[field.name] = _value(field, mapping[field.key], f"{path}.{field.key}")
        elif field.default is dataclasses.MISSING:
            raise SpecError(path, f"has no {field.key}")
    parsed = kind(**given)
    _check(rules_of(kind), parsed, path)
    return parsed


def _value(field: Declared, value: object, path: str) -> Any:
    kind, origin = field.kind, get_origin(field.kind)
    if is_declared(kind):
        parsed: Any = parse(kind, value, path)
    elif origin is tuple:
        parsed = _entries(get_args(kind)[0], field.option, value, path)
    elif origin is Literal:
        parsed = _choice(get_args(kind), value, path)
    elif kind in _WORDS:
        parsed = _scalar(kind, field.option, value, path)
    else:
        parsed = dict(_mapping(value, path))
    _check(field.option.rules, parsed, path)
    return parsed


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(path, f"must be a mapping of names to values, not {value!r}")
    return value


def _entries(kind: Any, option: Option, value: object, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise SpecError(path, f"must be a list, not {value!r}")
    for number, entry in enumerate(value):
        if option.key is not None and not _mapping(entry, f"{path}[{number}]").get(option.key):
            raise SpecError(f"{path}[{number}]", f"has no {option.key}")
    if is_declared(kind):
        return tuple(parse(kind, entry, f"{path}[{number}]") for number, entry in enumerate(value))
    return tuple(dict(_mapping(entry, f"{path}[{number}]")) for number, entry in enumerate(value))


def _choice(choices: tuple[str, ...], value: object, path: str) -> object:
    if value not in choices:
        raise SpecError(path, f"is {value!r}; choose one of {', '.join(map(repr, choices))}")
    return value


def _scalar(kind: type, option: Option, value: object, path: str) -> object:
    if type(value) is not kind:
        raise SpecError(path, f"must be {_WORDS[kind]}, not {value!r}")
    if isinstance(value, int) and not _between(option.at_least, value, option.at_most):
        raise SpecError(path, f"is {value}; it must be from {option.at_least} to {option.at_most}")
    if isinstance(value, str) and not _between(1, len(value), option.longest):
        raise SpecError(path, f"must have from 1 to {option.longest} characters")
    return value


def _between(least: int | None, value: int, most: int | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _check(rules: tuple[Rule, ...], parsed: Any, path: str) -> None:
    for rule in rules:
        if rule.holds is not None and not rule.holds(parsed):
            raise SpecError(path, rule.message)
