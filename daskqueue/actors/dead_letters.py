"""A queue's dead letters, as clients ask for them over the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from daskqueue.actors import told
from daskqueue.actors.settlement import Pairs, to_pairs

if TYPE_CHECKING:
    from daskqueue.engine.engine import Engine

    Named = list[tuple[int, int]]  # a method of the class is called list
    Rows = list[tuple[Any, ...]]


class DeadLetters:
    """The verbs ``dead.<name>`` of a queue's service; plain data only.

    Args:
        engine: returns the open queue, or raises.
        check_incarnation: raises where the messages that are named were in an earlier life of the queue.

    An incarnation of None is for calls that name no messages.
    """

    def __init__(self, engine: Callable[[], Engine], check_incarnation: Callable[[int], None]) -> None:
        self._engine = engine
        self._check_incarnation = check_incarnation

    async def list(self, after: int, limit: int, max_bytes: int, whole: bool) -> tuple[Rows, int | None]:
        """Return a page of dead letters and where the next one begins; see ``DeadRow`` for the fields."""
        where = told.number(after), told.number(limit), told.number(max_bytes)
        rows, following = await self._engine().dead.page(*where, whole=bool(whole))
        return [tuple(row) for row in rows], following

    async def count(self) -> dict[str, int]:
        """Return how many dead letters there are, by reason."""
        return self._engine().dead.count()

    async def redrive(self, incarnation: int | None, runs: Pairs | None, limit: int | None = None) -> Named:
        """Let dead letters run again, and return which; name them for a call that may be sent twice."""
        if incarnation is not None:
            self._check_incarnation(incarnation)
        limit = None if limit is None else told.number(limit)
        again = await self._engine().dead.redrive(None if runs is None else told.runs(runs), limit)
        return to_pairs(again)

    async def purge(self, incarnation: int | None, runs: Pairs | None) -> Named:
        """Throw dead letters away, and return which."""
        if incarnation is not None:
            self._check_incarnation(incarnation)
        return to_pairs(await self._engine().dead.purge(None if runs is None else told.runs(runs)))
