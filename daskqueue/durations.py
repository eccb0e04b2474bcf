"""Durations as users write them."""

from __future__ import annotations

import math
from datetime import timedelta

from dask.utils import parse_timedelta


def seconds_of(what: str, value: float | str | timedelta) -> float:
    """Return *value* in seconds: a number, a timedelta, or text such as ``"10s"`` and ``"5 minutes"``.

    Raises:
        ValueError: not a duration, or a negative one; *what* names the argument.
    """
    try:
        seconds = float(parse_timedelta(value, default="s"))
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f'{what} is {value!r}; give seconds, a timedelta, or text such as "10s"') from error
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{what} is {value!r}; it must be 0 or more")
    return seconds
