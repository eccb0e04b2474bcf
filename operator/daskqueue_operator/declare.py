"""The words in which the spec is declared, once: a field's text, default and bounds, and the rules between fields.

``parse`` reads a manifest by them, ``openapi`` makes the API server's schema of them, ``resource_page`` the docs.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold for a value, said twice: for the API server and for us.

    Args:
        cel: the rule in CEL; the API server refuses what breaks it. None where only we can tell, and say so in Ready.
        message: the sentence that people get.
        holds: the same in Python, for objects that were stored under another schema; None for rules about a change,
            which only the API server can see.
    """

    cel: str | None
    message: str
    holds: Callable[[Any], bool] | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """What is known about a field beside its type and default; stands in the ``Annotated`` of its type.

    Args:
        text: what it does, in a sentence or two, for ``kubectl explain`` and the docs.
        at_least: the least number.
        at_most: the greatest number.
        longest: the most characters of a text, entries of a list or keys of a mapping.
        value_longest: the most characters of a mapping's values.
        key: the field that tells the entries of a list apart; each entry must have it.
        rules: what must hold for the value.
    """

    text: str
    at_least: int | None = None
    at_most: int | None = None
    longest: int | None = None
    value_longest: int | None = None
    key: str | None = None
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Declared:
    """One field of a declared type.

    Args:
        name: its name in Python.
        key: its name in manifests.
        kind: its type, without the None of a field that may be absent.
        option: what else was declared about it.
        default: its value where nobody says anything; ``dataclasses.MISSING`` where somebody must.
    """

    name: str
    key: str
    kind: Any
    option: Option
    default: Any


_known: dict[type, tuple[Declared, ...]] = {}  # looking at annotations is most of the work of reading


def declared(kind: type) -> tuple[Declared, ...]:
    """Return the fields of *kind*, a dataclass that is annotated with options, in their order."""
    if kind in _known:
        return _known[kind]
    hints = get_type_hints(kind, include_extras=True)
    _known[kind] = tuple(_declared(field, hints[field.name]) for field in dataclasses.fields(kind))
    return _known[kind]


def rules_of(kind: type) -> tuple[Rule, ...]:
    """Return the rules between the fields of *kind*."""
    return getattr(kind, "RULES", ())


def is_declared(kind: Any) -> bool:
    """Return whether *kind* is a dataclass, whose fields are declared in turn."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def said(value: Any) -> Any:
    """Return a declared value as a manifest says it: without what is the default anyway."""
    if isinstance(value, tuple):
        return [said(entry) for entry in value]
    if not is_declared(type(value)):
        return value
    parts = ((field.key, getattr(value, field.name), field.default) for field in declared(type(value)))
    return {key: said(part) for key, part, default in parts if part != default}


def json_name(name: str) -> str:
    """Return the name of a field as manifests write it: ``lease_seconds`` is ``leaseSeconds``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _declared(field: dataclasses.Field[Any], hint: Any) -> Declared:
    assert get_origin(hint) is Annotated, f"{hint} says no Option"
    inner, option = get_args(hint)
    if get_origin(inner) in (Union, types.UnionType):
        (inner,) = (part for part in get_args(inner) if part is not type(None))
    make = field.default_factory
    default = field.default if make is dataclasses.MISSING else make()
    return Declared(field.name, json_name(field.name), inner, option, default)
