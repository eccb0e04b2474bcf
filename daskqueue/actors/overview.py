"""Looking at a queue over the wire, and stopping it for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from daskqueue.actors import told

if TYPE_CHECKING:
    from daskqueue.engine.engine import Engine


class Overview:
    """The verbs ``look.<name>`` of a queue's service; plain data only.

    Args:
        engine: returns the open queue, or raises.
        about: what else is told of the queue in ``stats``.
    """

    def __init__(self, engine: Callable[[], Engine], about: Callable[[], dict[str, Any]]) -> None:
        self._engine = engine
        self._about = about

    async def peek(self, limit: int, max_bytes: int) -> list[tuple[Any, ...]]:
        """Return what will be delivered next; see ``WaitingRow`` for the fields."""
        rows = await self._engine().overview.peek(told.number(limit), told.number(max_bytes))
        return [(*row[:6], None if row.terms is None else tuple(row.terms), *row[7:]) for row in rows]

    async def pause(self, paused: bool) -> None:
        """Hand out nothing more, or go on; returns once that is durable."""
        await self._engine().pause(bool(paused))

    async def stats(self) -> dict[str, Any]:
        """Return numbers about the queue."""
        return self._about() | self._engine().overview.stats()
