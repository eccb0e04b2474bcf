"""Arguments as users write them: checked where they are given, with the choices named."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from dask.utils import parse_timedelta

Duration = float | str | timedelta
Moment = float | datetime


def seconds_of(what: str, value: Duration, *, least: float = 0.0) -> float:
    """Return *value* in seconds: a number, a timedelta, or text such as ``"10s"`` and ``"5 minutes"``.

    Raises:
        ValueError: not a duration, or less than *least* seconds; *what* names the argument.
    """
    try:
        seconds = float(parse_timedelta(value, default="s"))
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f'{what} is {value!r}; give seconds, a timedelta, or text such as "10s"') from error
    if not least <= seconds < math.inf:
        raise ValueError(f"{what} is {value!r}; it must be {least:g} seconds or more")
    return seconds


def timeout_of(value: Duration | None) -> float | None:
    """Return a time-out in seconds, None for as long as it takes; see :func:`seconds_of`."""
    return None if value is None else seconds_of("timeout", value)


def epoch_of(what: str, value: object) -> float:
    """Return a moment in seconds since the epoch: such a number, or a datetime, local unless it has a time zone.

    Raises:
        TypeError, ValueError: something else; *what* names the argument.
    """
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} is {value!r:.80}; give a datetime, or seconds since the epoch")
    if not 0 <= value < math.inf:
        raise ValueError(
            f"{what} is {value!r}; it must be a number of seconds since the epoch, or a datetime"
        )
    return float(value)


def check_choice(what: str, value: object, choices: Sequence[str]) -> None:
    """Make sure that *value* is one of the words.

    Raises:
        ValueError: it is not; the message names them.
    """
    if value not in choices:
        *others, last = (f'"{choice}"' for choice in choices)
        raise ValueError(f"{what} is {value!r:.80}; choose {', '.join(others)} or {last}")


def check_count(what: str, value: object, *, least: int = 1, most: int | None = None) -> None:
    """Make sure that *value* is a whole number from *least* to *most*.

    Raises:
        TypeError: not a whole number.
        ValueError: too small or too large.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} is {value!r}; it must be a whole number")
    if value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"between {least} and {most}"
        raise ValueError(f"{what} is {value}; it must be {bounds}")


def check_name(name: object) -> None:
    """Make sure that *name* can name a pool and its folders.

    Raises:
        ValueError: it cannot.
    """
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"name is {name!r}; use letters, digits, '-' and '_'")


def folder_of(dirpath: str | os.PathLike[str] | None, name: str) -> str:
    """Return the absolute folder of a durable pool; a relative one is relative to this process's."""
    if dirpath is None:
        data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return str(Path(data_home) / "daskqueue" / name)
    return str(Path(dirpath).absolute())


def told_scheduler(name: str) -> str | None:
    """Return the scheduler's address in the environment where that speaks of the pool *name*, as its hosts' does."""
    if os.environ.get("DASKQUEUE_NAME") != name:
        return None
    return os.environ.get("DASKQUEUE_SCHEDULER") or None
