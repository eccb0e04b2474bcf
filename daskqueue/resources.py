"""What tasks share within a process, such as a connection: opened at its start, closed at its end."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

logger = logging.getLogger(__name__)

Awaiting = Callable[[Coroutine[Any, Any, Any]], Any]


class Resources(Mapping[str, Any]):
    """Opens what factories make, in their order, and closes it in the reverse order.

    What a factory returns is the resource. A coroutine is awaited first. A context manager is entered, and
    what that gives is the resource; an asynchronous one likewise. Locks are left alone: to enter one would
    take it for good. What has a ``close`` is closed at the end.

    Args:
        factories: called without arguments.
        awaiting: waits for a coroutine and returns what it returns.

    Raises:
        Exception: what a factory raised; the note names the resource. What was opened before is closed.
    """

    def __init__(self, factories: Mapping[str, Callable[[], Any]], awaiting: Awaiting) -> None:
        self._opened: dict[str, Any] = {}
        self._awaiting = awaiting
        self._stack = ExitStack()
        for name, factory in factories.items():
            try:
                self._opened[name] = self._open(factory)
            except BaseException as error:
                error.add_note(f"while the resource {name!r} was opened")
                self.close()
                raise

    def __getitem__(self, name: str) -> Any:
        try:
            return self._opened[name]
        except KeyError:
            names = ", ".join(map(repr, self._opened)) or "none"
            raise KeyError(
                f"no resource {name!r}; there are: {names}. They are given to ConsumerPool(resources=...)"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened)

    def __len__(self) -> int:
        return len(self._opened)

    def close(self) -> None:
        """Close all, the last opened first; what one raises is logged, and the others are closed all the same."""
        self._stack.close()
        self._opened.clear()

    def _open(self, factory: Callable[[], Any]) -> Any:
        made = factory()
        if inspect.iscoroutine(made):
            made = self._awaiting(made)
        resource = self._entered(made)
        close = getattr(resource, "close", None) or getattr(resource, "aclose", None)
        # An entered one that gives something else than itself looks after that.
        if resource is made and callable(close):
            self._at_end(close)
        self._leave_at_end(made, resource)
        return resource

    def _entered(self, made: Any) -> Any:
        kind = type(made)
        if hasattr(kind, "__aenter__") and hasattr(kind, "__aexit__"):
            return self._awaiting(_called(made.__aenter__))
        if _is_context(kind):
            return made.__enter__()
        return made

    def _leave_at_end(self, made: Any, resource: Any) -> None:
        kind = type(made)
        if hasattr(kind, "__aenter__") and hasattr(kind, "__aexit__"):
            self._at_end(lambda: self._awaiting(_called(made.__aexit__, None, None, None)))
        elif _is_context(kind):
            self._at_end(lambda: made.__exit__(None, None, None))

    def _at_end(self, close: Callable[[], Any]) -> None:
        self._stack.callback(self._close, close)

    def _close(self, close: Callable[[], Any]) -> None:
        try:
            value = close()
            if inspect.iscoroutine(value):
                self._awaiting(value)
        except Exception:
            logger.exception("A resource could not be closed")


def _is_context(kind: type) -> bool:
    return hasattr(kind, "__enter__") and hasattr(kind, "__exit__") and not hasattr(kind, "acquire")


async def _called(function: Callable[..., Any], *args: Any) -> Any:
    """An awaitable of any kind as a coroutine."""
    return await function(*args)
