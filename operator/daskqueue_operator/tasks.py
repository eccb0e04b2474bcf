"""All tasks of the operator: one for each DaskQueue, and a few short ones."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from typing import Any

import httpx2

from daskqueue_operator import sweeping
from daskqueue_operator.cache import Key
from daskqueue_operator.queue_task import QueueTask
from daskqueue_operator.site import Site

log = logging.getLogger("daskqueue_operator")

OVERDUE_SECONDS = 60.0  # a pass has deadlines of its own that are much shorter
DEAF_SECONDS = 30.0  # a watch that has not told of a DaskQueue for so long is dead

MOST_NAMESPACES = 10  # that one probe looks at


class Tasks:
    """Starts a task when a DaskQueue is first heard of, and knows whether all is well.

    Args:
        site: the cluster, and what all queues share.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._queues: dict[Key, tuple[QueueTask, asyncio.Task[None]]] = {}
        self._seen: dict[Key, tuple[Any, ...]] = {}
        self._short: dict[str, asyncio.Task[None]] = {}
        self._deaf_since: float | None = None

    def wake(self, key: Key) -> None:
        """Have a pass over a DaskQueue soon.

        Args:
            key: its namespace and name.
        """
        running = self._queues.get(key)
        if running is not None and not running[1].done():
            running[0].wake()
        elif self._site.cache.queue(key) is not None:
            task = QueueTask(self._site, key)
            self._queues[key] = task, asyncio.create_task(task.run(), name=f"DaskQueue {key[0]}/{key[1]}")
            self._queues[key][1].add_done_callback(lambda _: self._ended(key))

    def wake_self(self, key: Key, body: Mapping[str, Any]) -> None:
        """Have a pass over a DaskQueue that was changed by somebody else.

        Args:
            key: its namespace and name.
            body: the object as it is now.
        """
        metadata = body["metadata"]
        seen = (metadata["uid"], metadata.get("generation"), metadata.get("deletionTimestamp"))
        if self._seen.get(key) != seen or self._site.cache.queue(key) is None or key not in self._queues:
            self._seen[key] = seen
            self.wake(key)

    def sweep(self, body: Mapping[str, Any]) -> None:
        """Let go of an object in deletion that dask-kubernetes holds, in a while.

        Args:
            body: the object.
        """
        uid = body["metadata"]["uid"]
        if uid not in self._short:
            self._short[uid] = asyncio.create_task(self._logged(sweeping.sweep(self._site.cluster, body)))
            self._short[uid].add_done_callback(lambda _: self._short.pop(uid, None))

    async def trouble(self) -> str:
        """Return what a restart would mend; "" if nothing."""
        now = time.monotonic()
        for key, (task, _) in self._queues.items():
            if now - task.due_at > OVERDUE_SECONDS:
                return f"the task of DaskQueue {key[0]}/{key[1]} is stuck since {now - task.due_at:.0f} s"
        if self._site.unwatched:
            return f"the watches do not tell of {', '.join(self._site.unwatched)}, whose API came after the operator"
        return await self._deafness(now)

    async def close(self) -> None:
        """End all tasks."""
        running = [task for _, task in self._queues.values()] + list(self._short.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _deafness(self, now: float) -> str:
        """Compare what the watches told with a list. A server that does not answer proves nothing about us."""
        known = {key: body["metadata"]["generation"] for key, body in self._site.cache.queues().items()}
        try:
            namespaces = sorted({namespace for namespace, _ in known})[:MOST_NAMESPACES]
            listed = [await self._site.cluster.generations(namespace) for namespace in namespaces]
        except httpx2.HTTPError as error:
            log.warning("the API server does not answer: %s", error)
            return ""
        if all(known.get(key) == generation for part in listed for key, generation in part.items()):
            self._deaf_since = None
        elif self._deaf_since is None:
            self._deaf_since = now
        elif now - self._deaf_since > DEAF_SECONDS:
            return f"the watches are deaf: they do not tell of what a list shows in {', '.join(namespaces)}"
        return ""

    def _ended(self, key: Key) -> None:
        """Forget a task that has ended; a DaskQueue that came back meanwhile gets another."""
        task = self._queues.pop(key)[1]
        self._seen.pop(key, None)
        if not task.cancelled():
            self.wake(key)

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("a short task failed; it is tried again when its object changes")
