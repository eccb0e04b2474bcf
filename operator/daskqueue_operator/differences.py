"""Whether an object still is what was applied: everything that we want must be there; what others add may stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daskqueue_operator.quantities import amount


def difference(wanted: Any, there: Any, path: str = "") -> str:
    """Return where *there* lacks something of *wanted*; "" if nowhere.

    Empty values count as absent, quantities by what they stand for, and lists of objects in any order: the API server
    writes all these in its own way.

    Args:
        wanted: a manifest, or a part of one.
        there: the same part, as the API server has it.
        path: where the part is.
    """
    if empty(wanted):
        return ""
    if isinstance(wanted, Mapping):
        return _in_mapping(wanted, there, path)
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return _in_list(wanted, there, path)
    return "" if same(wanted, there) else f"{path} is {_shown(there)}, not {_shown(wanted)}"


def empty(value: Any) -> bool:
    """Return whether the API server may leave *value* out."""
    return (
        value is None
        or value is False
        or value in ("", 0)
        or (isinstance(value, Mapping | list) and not value)
    )


def same(wanted: Any, there: Any) -> bool:
    """Return whether two plain values mean the same."""
    if wanted == there:
        return True
    if isinstance(wanted, bool) or isinstance(there, bool) or there is None:
        return False
    try:
        return amount(wanted) == amount(there)
    except (ValueError, TypeError):
        return False


def _in_mapping(wanted: Mapping[str, Any], there: Any, path: str) -> str:
    if not isinstance(there, Mapping):
        return f"{path} is {_shown(there)}"
    found = (
        difference(value, there.get(key), f"{path}.{key}" if path else key) for key, value in wanted.items()
    )
    return next(filter(None, found), "")


def _in_list(wanted: Sequence[Any], there: Any, path: str) -> str:
    if not isinstance(there, Sequence) or isinstance(there, str):
        return f"{path} is {_shown(there)}"
    if not all(isinstance(entry, Mapping) for entry in wanted):
        return "" if list(wanted) == list(there) else f"{path} is {_shown(there)}, not {_shown(wanted)}"
    left = list(there)
    for number, entry in enumerate(wanted):
        # What stands at the same place is looked at first; no entry is the answer to two.
        candidates = _named_alike(entry, sorted(left, key=lambda other: other is not _at(there, number)))
        found = [difference(entry, other, f"{path}[{number}]") for other in candidates]
        if "" not in found:
            return found[0] if found else f"{path}[{number}] ({entry.get('name', 'an entry')}) is missing"
        matched = candidates[found.index("")]
        left = [other for other in left if other is not matched]
    return ""


def _at(entries: Sequence[Any], number: int) -> Any:
    return entries[number] if number < len(entries) else None


def _named_alike(entry: Mapping[str, Any], there: Sequence[Any]) -> list[Any]:
    """Return the entries that can be meant: those of the same name, where there are names."""
    if "name" not in entry:
        return list(there)
    return [other for other in there if isinstance(other, Mapping) and other.get("name") == entry["name"]]


def _shown(value: Any) -> str:
    text = "absent" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
