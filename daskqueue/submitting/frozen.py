"""Arguments as they are now, for a call that is encoded a little later."""

from __future__ import annotations

import pickle
from typing import Any

from daskqueue.chunk import pickle_value, registered_by_value
from daskqueue.errors import BatchError

# Types whose values nobody can change in the meantime.
UNCHANGING = frozenset((int, float, complex, bool, str, bytes, type(None)))


class Frozen:
    """A value that was pickled already; unpickling it gives the value, not this."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.data,)

    def __sizeof__(self) -> int:
        return len(self.data)


def freeze(value: Any) -> Any:
    """Return *value* if it cannot change, else what stands for the value that it has now.

    Raises:
        BatchError: it cannot be pickled.
    """
    if type(value) in UNCHANGING:
        return value
    try:
        return Frozen(pickle_value(value, by_value=bool(registered_by_value())))
    except Exception as error:
        raise BatchError(f"an argument cannot be pickled: {type(error).__name__}: {error}") from error
