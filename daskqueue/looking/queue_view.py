"""One queue of a pool, as its user looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskqueue.status import pending_of, queue_line

if TYPE_CHECKING:
    from daskqueue.handle import PoolHandle


class QueueView:
    """One queue of a pool."""

    def __init__(self, pool: PoolHandle, index: int) -> None:
        self.index = index
        self._pool = pool

    def qsize(self) -> int:
        """Return how many messages wait or run."""
        return self._pool.sync(self._size)

    def status(self) -> dict[str, Any]:
        """Return the queue's name and its counts by state."""
        return self._pool.sync(self._status)

    async def _size(self) -> int:
        return pending_of(await self._status())

    async def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = await self._pool.queues.call(self.index, "status")
        return status

    def __repr__(self) -> str:
        if self._pool.client.asynchronous:
            return f"queue {self.index} of {self._pool.name!r}"
        return queue_line(self.status())
