"""Quantities as Kubernetes writes them: ``10Gi``, ``500m``, ``1.5``, ``2e3``."""

from __future__ import annotations

import re
from decimal import Decimal

QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def amount(quantity: str | int) -> Decimal:
    """Return what a quantity stands for, as a plain number.

    Args:
        quantity: as in a manifest, ``"10Gi"`` or ``2``.

    Raises:
        ValueError: it is no quantity.
    """
    found = QUANTITY.fullmatch(str(quantity))
    if found is None:
        raise ValueError(f"{quantity!r} is no quantity; write one such as 500m, 2 or 10Gi")
    number, suffix = Decimal(found[1]), found[2] or ""
    if suffix in _BINARY:
        return number * 1024 ** _BINARY[suffix]
    if suffix in _DECIMAL:
        return number.scaleb(_DECIMAL[suffix])
    return number.scaleb(int(suffix[1:])) if suffix else number


def is_quantity(value: object) -> bool:
    """Return whether *value* is a quantity."""
    return isinstance(value, str | int) and QUANTITY.fullmatch(str(value)) is not None
