"""What a host answers over HTTP: how it is, whether it is ready, its metrics, and the order to drain."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import prometheus_client
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from daskqueue.errors import DaskQueueError

TEXT = "text/plain; charset=utf-8"
# An open connection that a scraper keeps must not hold up the end of a pod.
_CLOSE_SECONDS = 1.0


class NotDrainableError(DaskQueueError):
    """What is served cannot be drained; the text says what to do instead."""


class StatusPortError(DaskQueueError):
    """The port for the status cannot be had."""


class Served(Protocol):
    """What a status server speaks for: a queue's host, or a consumer's."""

    def ready(self) -> str:
        """Return why it cannot be used yet, in one sentence; an empty text when it can."""

    def stats(self) -> Mapping[str, Any]:
        """Return its numbers as JSON can hold them."""

    def drain(self, on: bool) -> None:
        """Take nothing more and finish what runs; with False, go on as before.

        Raises:
            NotDrainableError: it is not for draining.
        """


class StatusServer:
    """Answers ``/healthz``, ``/readyz``, ``/metrics``, ``/stats`` and ``/drain`` on the running event loop.

    There is no authentication, as with every exporter: keep the port inside of the cluster.

    Args:
        served: what is asked.
        port: where it listens; 0 takes any free port.
        host: at which address; all of the machine's by default.
    """

    def __init__(self, served: Served, port: int, host: str = "") -> None:
        self.port = port
        self._host = host
        self._server = HTTPServer(Application(_routes(served), log_function=_log_nothing))

    async def start(self) -> None:
        """Listen; ``port`` is the real one from now on.

        Raises:
            StatusPortError: the port is taken, or not allowed.
        """
        try:
            listener = _listen(self._host, self.port)
        except (OSError, OverflowError) as error:
            where = f"{self._host or 'this machine'}, port {self.port}"
            raise StatusPortError(
                f"cannot serve metrics and health on {where}: {error}; choose another --metrics-port"
            ) from error
        self.port = listener.getsockname()[1]
        self._server.add_socket(listener)

    async def stop(self) -> None:
        """Listen no more, and close all connections."""
        self._server.stop()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._server.close_all_connections()
        except TimeoutError:
            pass


class _Page(RequestHandler):
    """One path; a method that it does not define is refused with those that it does."""

    methods: ClassVar[tuple[str, ...]] = ("GET",)

    def initialize(self, served: Served) -> None:
        self.served = served

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", TEXT)
        self.set_header("Cache-Control", "no-store")

    def write_error(self, status_code: int, **details: Any) -> None:
        method, path = self.request.method, self.request.path
        if status_code == 405:
            self.set_header("Allow", ", ".join(self.methods))
            self.finish(f"{path} knows no {method}; it answers {' and '.join(self.methods)}.\n")
        else:
            error = details.get("exc_info", (None, None))[1]
            self.finish(f"{method} {path} failed: {error!r}. The log of this process says more.\n")

    def send_json(self, content: Mapping[str, Any]) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(content) + "\n")


class _Health(_Page):
    def get(self) -> None:
        self.finish("ok\n")


class _Ready(_Page):
    def get(self) -> None:
        reason = self.served.ready()
        if reason:
            self.set_status(503)
        self.finish(f"{reason or 'ready'}\n")


class _Metrics(_Page):
    def get(self) -> None:
        self.set_header("Content-Type", prometheus_client.CONTENT_TYPE_LATEST)
        self.finish(prometheus_client.generate_latest())


class _Stats(_Page):
    def get(self) -> None:
        self.send_json(self.served.stats())


class _Drain(_Page):
    methods = ("POST", "DELETE")

    def post(self) -> None:
        self._drain(True)

    def delete(self) -> None:
        self._drain(False)

    def _drain(self, on: bool) -> None:
        try:
            self.served.drain(on)
        except NotDrainableError as error:
            self.set_status(405)
            self.set_header("Allow", "")
            self.finish(f"{error}\n")
        else:
            self.send_json(self.served.stats())


class _Unknown(_Page):
    def prepare(self) -> None:
        self.set_status(404)
        self.finish(f"There is no {self.request.path} here; there are {', '.join(PAGES)}.\n")


PAGES: dict[str, type[_Page]] = {
    "/healthz": _Health,
    "/readyz": _Ready,
    "/metrics": _Metrics,
    "/stats": _Stats,
    "/drain": _Drain,
}


def _listen(host: str, port: int) -> socket.socket:
    both = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=128, dualstack_ipv6=both)
    listener.setblocking(False)
    return listener


def _routes(served: Served) -> list[tuple[str, type[_Page], dict[str, Served]]]:
    pages = [(path, page, {"served": served}) for path, page in PAGES.items()]
    return [*pages, (".*", _Unknown, {"served": served})]


def _log_nothing(_: RequestHandler) -> None:
    """A probe every second is no news; errors are logged by tornado itself."""
