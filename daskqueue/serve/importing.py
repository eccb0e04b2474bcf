"""Objects that are named in settings as ``package.module:name``."""

from __future__ import annotations

import functools
import importlib
import re
from typing import Any

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def imported(option: str, path: str) -> Any:
    """Return what a path ``package.module:name`` names.

    Args:
        option: which setting says it, for the errors.
        path: the module's name, a colon, and a name in it, which may have dots.

    Raises:
        ValueError: it is no such path, or leads nowhere.
    """
    if not _PATH.fullmatch(path):
        raise ValueError(f"{option} has {path!r}; write it as package.module:name")
    module, _, name = path.partition(":")
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{option} has {path!r}, which cannot be imported here: {error}; it must be on the PYTHONPATH of this "
            "process, and in Kubernetes in its image"
        ) from error


def middleware_of(text: str) -> tuple[Any, ...]:
    """Return the middleware that a list of paths with commas between names; classes are made without arguments.

    Raises:
        ValueError: a path that leads nowhere.
    """
    found = (imported("middleware", path) for path in _parts(text))
    return tuple(each() if isinstance(each, type) else each for each in found)


def resources_of(text: str) -> dict[str, Any]:
    """Return what opens each resource that a list such as ``db=package.module:open_db`` names, commas between.

    Raises:
        ValueError: a part that is no such text, a name that comes twice, or a path that leads nowhere.
    """
    opened: dict[str, Any] = {}
    for part in _parts(text):
        name, equals, path = (each.strip() for each in part.partition("="))
        if not (name and equals):
            raise ValueError(f"resources has {part!r}; write it as name=package.module:function")
        if name in opened:
            raise ValueError(f"resources has {name!r} twice")
        opened[name] = imported("resources", path)
    if strange := [name for name, found in opened.items() if not callable(found)]:
        raise ValueError(f"resources has {', '.join(strange)}, of which the paths name no function")
    return opened


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
