"""What every host process does: logs, listens for signals, answers questions about itself, and ends in order."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import dask

from daskqueue.serve.membership import QUIET
from daskqueue.serve.status_server import Served, StatusServer

logger = logging.getLogger(__name__)

NO_STATUS_SERVER = -1


class Host(Served, Protocol):
    """What a host process runs."""

    def run(self, stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        """Serve until *stop* is set, then end in order."""
        ...


def run(make: Callable[[], Host], metrics_port: int, log_level: str) -> None:
    """Run a host in this process until SIGTERM or SIGINT; a second signal ends it at once.

    Args:
        make: makes the host; called on the event loop.
        metrics_port: port of the status server; 0 for any, -1 for none.
        log_level: name of a level of ``logging``.

    Raises:
        ValueError: no such level.
        DaskQueueError: the host cannot serve; a restart does not help before somebody has looked.
    """
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Dask's workers say much that is of no use here, above all each time they look for a scheduler.
    logging.getLogger("distributed").setLevel(max(logging.getLogger().level, logging.ERROR))
    _set_quiet_defaults()
    asyncio.run(_run(make, metrics_port))


def _set_quiet_defaults() -> None:
    """Put defaults in the place of Dask's; what somebody has set himself stays."""
    nested: dict[str, Any] = {}
    dask.config.set(QUIET, config=nested)
    dask.config.update_defaults(nested)


async def _run(make: Callable[[], Host], metrics_port: int) -> None:
    stop = asyncio.Event()
    _listen(stop)
    host = make()
    server = StatusServer(host, max(metrics_port, 0)) if metrics_port != NO_STATUS_SERVER else None
    if server is not None:
        await server.start()
        logger.info("Status and metrics are served on port %d", server.port)
    try:
        await host.run(stop)
    finally:
        if server is not None:
            await server.stop()


def _listen(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            signal.raise_signal(signal.SIGINT)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
