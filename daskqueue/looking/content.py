"""What is in a message, for people who look at it: read when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daskqueue.batch import Batch, Broken
from daskqueue.errors import BatchError, CannotLoadError
from daskqueue.message import Call

# Longer arguments are shortened in what is printed.
_SHOWN_CHARACTERS = 60


class Content:
    """One message of a record batch.

    Args:
        batch: the record batch; empty where it could not be read.
        position: which of its messages.
    """

    __slots__ = ("_batch", "_loaded", "_position")

    def __init__(self, batch: bytes, position: int) -> None:
        self._batch = batch
        self._position = position
        self._loaded: Call | None = None

    @property
    def function(self) -> str:
        """The name of the function; empty for a raw item."""
        if not self._batch:
            return "a message that cannot be read"
        batch = Batch.parse(self._batch, verify=False)
        return "" if batch.holds_items else batch.function_name(self._position)

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments, unpickled at the first look; of a raw item itself alone.

        Raises:
            CannotLoadError: they cannot be unpickled here, or their bytes are gone.
        """
        return self._call.args

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments; see :attr:`args`."""
        return self._call.kwargs

    @property
    def _call(self) -> Call:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> Call:
        try:
            batch = Batch.parse(self._batch)
            if batch.holds_items:
                value = batch.item(self._position)
                found = value if isinstance(value, Broken) else Call(_nothing, (value,))
            else:
                found = batch.call(self._position)
        except BatchError as error:
            raise CannotLoadError(f"the message cannot be read: {error}") from error
        if isinstance(found, Broken):
            raise found.error
        return found

    def __str__(self) -> str:
        """Return the call as it would be written, with long arguments shortened."""
        try:
            shown = [_short(value) for value in self.args]
            shown += [f"{name}={_short(value)}" for name, value in self.kwargs.items()]
            return f"{self.function}({', '.join(shown)})"
        except CannotLoadError:
            return f"{self.function}(...)"


class Seen:
    """A message that somebody looks at.

    Args:
        content: what is in it.
    """

    __slots__ = ("_content",)

    def __init__(self, content: Content) -> None:
        self._content = content

    @property
    def function(self) -> str:
        """The name of the function; empty for a raw item."""
        return self._content.function

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments, unpickled at the first look; of a raw item itself alone.

        Raises:
            CannotLoadError: they cannot be unpickled here.
        """
        return self._content.args

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments; see :attr:`args`."""
        return self._content.kwargs


def _nothing(*_: Any) -> None:
    """Stand for the function that a raw item has not."""


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  the value's own code runs here
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
