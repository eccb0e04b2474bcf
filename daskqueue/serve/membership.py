"""A process that is a worker of its Dask cluster, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from distributed import Status, Worker
from distributed.comm import CommClosedError

from daskqueue.clock import new_name

logger = logging.getLogger(__name__)

# Pauses between attempts to join, which grow from the first to the second.
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
# A worker that does not close within this time is told again.
LEAVE_SECONDS = 1.0
# How often a process that has no scheduler says so.
STILL_WAITING_SECONDS = 15.0

# Measured: an idle worker burns 15 % of a core with Dask's defaults and 2 % with these; a scheduler that was
# replaced is found again after 3.5 s instead of 30 s with the short time-out.
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.comm.timeouts.connect": "2s",
    "distributed.comm.timeouts.tcp": "15s",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process is a worker.

    Args:
        scheduler: the scheduler's address.
        name: what the worker is called there; a random part is added, since an old one may still be known.
        host: the address that others reach this process at; empty for what Dask finds out.
        port: the port there; 0 for any, which is then kept.
        threads: how many of Dask's own tasks it runs at a time; 0 for a worker that is given none.
        local_directory: where Dask may write; empty for the system's folder for temporary files.
    """

    scheduler: str
    name: str
    host: str = ""
    port: int = 0
    threads: int = 0
    local_directory: str = ""


class _Reserved(Worker):
    """A worker that the scheduler only ever sees paused, so that it gives it no tasks; actors answer there."""

    @property
    def status(self) -> Any:
        return Worker.status.fget(self)

    @status.setter
    def status(self, value: Any) -> None:
        Worker.status.fset(self, Status.paused if value is Status.running else value)


class Membership:
    """Joins a cluster whenever it can be joined; the :class:`~daskqueue.actors.node.Node` of what lives here.

    The Dask worker dies with its scheduler, or when somebody restarts or retires it. This object makes the next
    one, at the same address, and tells *on_joined*.

    Args:
        place: where.
        on_joined: called after each joining; what it raises ends the worker, and the next one is made.
    """

    def __init__(self, place: Place, on_joined: Callable[[Worker], Awaitable[None]]) -> None:
        self._place = place
        self._on_joined = on_joined
        self._worker: Worker | None = None
        self._address = place.host
        self._port = place.port
        self._running: asyncio.Task[None] | None = None
        self._joined = False
        self._waits = f"waiting for the scheduler at {place.scheduler}"

    # As a node

    @property
    def worker(self) -> Worker | None:
        """The present worker, None between two."""
        return self._worker

    @property
    def address(self) -> str:
        """The worker's address, which the next worker will have again."""
        return self._address

    @property
    def scheduler(self) -> Any:
        """The connection to the scheduler, None while there is none."""
        return self._worker.scheduler if self._worker is not None else None

    @property
    def state(self) -> Any:
        """The present worker's state machine."""
        return self._present.state

    @property
    def rpc(self) -> Any:
        """The present worker's connections to other workers."""
        return self._present.rpc

    @property
    def waiting(self) -> str:
        """Why it has not joined, in words; empty when it has."""
        return "" if self._joined else self._waits

    # Life

    def start(self) -> None:
        """Begin to join, and to join again whenever the worker has ended."""
        self._running = asyncio.create_task(self._run())

    async def leave(self) -> None:
        """Close the worker and join no more."""
        while self._running is not None and not self._running.done():
            # Dask now and then loses a cancellation that comes while it connects, and would go on for ever.
            self._running.cancel()
            await asyncio.wait([self._running], timeout=LEAVE_SECONDS)

    async def _run(self) -> None:
        saying = asyncio.create_task(self._say_that_it_waits())
        pause = FIRST_PAUSE_SECONDS
        try:
            while True:
                if await self._join_once():
                    pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        finally:
            saying.cancel()

    async def _join_once(self) -> bool:
        """Be a worker until it ends; return whether the cluster was joined."""
        self._waits = f"waiting for the scheduler at {self._place.scheduler}"
        joined = False
        worker: Any = None
        try:
            worker = self._make_worker()
            await worker
            self._port, self._address = worker.port, worker.address
            self._worker = worker
            await self._on_joined(worker)
            joined = self._joined = True
            logger.info("Joined %s as %s", self._place.scheduler, worker.address)
            await worker.finished()
            logger.warning("No longer a worker of %s: joining again", self._place.scheduler)
        except Exception as error:  # noqa: BLE001
            # A port that is still taken, a name that is still known, a scheduler that ends just now: all pass.
            self._waits = f"cannot join {self._place.scheduler}: {_root_of(error)}"
            logger.warning("%s", self._waits)
        finally:
            self._joined = False
            self._worker = None
            if worker is not None:
                await _close(worker)
        return joined

    def _make_worker(self) -> Worker:
        place = self._place
        kind = Worker if place.threads else _Reserved
        return kind(
            place.scheduler,
            name=f"{place.name}-{new_name()[:4]}",
            host=place.host or None,
            port=self._port,
            nthreads=max(place.threads, 1),
            local_directory=place.local_directory or None,
            memory_limit=0,
            dashboard_address=":0",
            death_timeout=None,
        )

    @property
    def _present(self) -> Any:
        if self._worker is None:
            raise CommClosedError(self._waits)
        return self._worker

    async def _say_that_it_waits(self) -> None:
        while True:
            await asyncio.sleep(STILL_WAITING_SECONDS)
            if not self._joined:
                logger.warning("Still %s", self._waits)


async def _close(worker: Any) -> None:
    with contextlib.suppress(Exception):
        await asyncio.wait_for(asyncio.shield(worker.close(timeout=2, nanny=False)), 5)


def _root_of(error: BaseException) -> str:
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return str(cast("Any", cause)) or repr(cause)
