"""Pods that answer over real sockets, each on a loopback address of its own, and the API server that keeps them."""

from __future__ import annotations

import asyncio
import copy
import json
import socket
from typing import Any, Self

from aiohttp import web

from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.scaler import Scaler
from daskqueue_operator.scrape import Scraper


class Host:
    """One pod's HTTP: a shard's or a consumer's."""

    def __init__(self, name: str, ip: str) -> None:
        self.name, self.ip = name, ip
        self.metrics = ""
        self.stats: dict[str, Any] = {"slots": 1, "busy": 0, "held": 0, "draining": False}
        self.calls: list[str] = []
        self.silent = False
        self.released = asyncio.Event()
        self.runner: web.AppRunner | None = None

    async def start(self, port: int) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path}", self.answer)
        self.runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, self.ip, port).start()

    async def stop(self) -> None:
        self.released.set()
        if self.runner is not None:
            await self.runner.cleanup()

    async def answer(self, request: web.Request) -> web.Response:
        self.calls.append(f"{request.method} {request.path}")
        if self.silent:
            await self.released.wait()
        if request.path == "/metrics":
            return web.Response(text=self.metrics)
        if request.path == "/drain":
            self.stats["draining"] = request.method == "POST"
            self.stats["held"] = 0
        return web.Response(text=json.dumps(self.stats))

    def shard(
        self, ready: int = 0, leased: int = 0, enqueued: int = 0, oldest: float = 0.0, paused: bool = False
    ) -> None:
        """Say what a shard says."""
        label = f'queue="{self.name}"'
        self.metrics = (
            "# TYPE daskqueue_messages gauge\n"
            f'daskqueue_messages{{{label},state="ready"}} {ready}.0\n'
            f'daskqueue_messages{{{label},state="leased"}} {leased}.0\n'
            f'daskqueue_messages{{{label},state="delayed"}} 3.0\n'
            f'daskqueue_messages{{{label},state="dead"}} 2.0\n'
            f'daskqueue_oldest_message_age_seconds{{{label},state="ready"}} {oldest}\n'
            f"daskqueue_enqueued_total{{{label}}} {float(enqueued)}\n"
            f"daskqueue_acked_total{{{label}}} 1e+06\n"
            f"daskqueue_paused{{{label}}} {float(paused)}\n"
            f"daskqueue_volume_free_bytes{{{label}}} 4.096e+09\n"
            f'daskqueue_info{{durability="always",{label},version="1.2.3"}} 1.0\n'
        )

    def consumer(self, busy: int = 0, held: int = 0, seconds: float = 0.0, number: int = 0) -> None:
        """Say what a consumer says."""
        self.stats |= {"busy": busy, "held": held}
        self.metrics = "".join(
            f'daskqueue_processing_seconds_{key}{{outcome="{outcome}",task="f"}} {value / 2}\n'
            for key, value in (("sum", seconds), ("count", number))
            for outcome in ("done", "failed")
        )


class Stage:
    """A DaskQueue `q` with fake pods, as a scaler sees it; it is the API server, too."""

    def __init__(self, **spec: Any) -> None:
        self.body: dict[str, Any] = {
            "metadata": {"name": "q", "namespace": "n", "uid": "u"},
            "spec": spec,
            "status": {},
        }
        self.replicas: int | None = 0
        self.hosts: dict[str, Host] = {}
        self.manifests: dict[str, dict[str, Any]] = {}
        self.numbers: list[int] = []
        self.port = _free_port()
        self.scraper = Scraper(self.port, deadline_seconds=0.5)
        self.scaler = Scaler(self, self.scraper)
        self.now = 1_800_000_000.0
        self.made = 0

    async def __aenter__(self) -> Self:
        await self.pod("q-shard-0")
        self.hosts["q-shard-0"].shard()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.scraper.close()
        for host in self.hosts.values():
            await host.stop()

    async def pod(self, name: str, *, ready: bool = True) -> Host:
        """Make a pod that runs."""
        self.made += 1
        host = Host(name, f"127.0.1.{self.made}")
        await host.start(self.port)
        self.hosts[name] = host
        self.manifests[name] = {
            "metadata": {
                "name": name,
                "annotations": {},
                "creationTimestamp": f"2026-01-01T00:00:{self.made:02}Z",
            },
            "status": {
                "phase": "Running",
                "podIP": host.ip,
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "containerStatuses": [{"state": {"running": {}}}],
            },
        }
        return host

    async def consumers(self, *names: str) -> list[Host]:
        """Make consumers that run, as many as the Deployment asks for."""
        self.replicas = len(names)
        return [await self.pod(f"q-consumer-{name}") for name in names]

    async def remove(self, name: str) -> None:
        """Remove a pod, as its controller does."""
        await self.hosts.pop(name).stop()
        del self.manifests[name]

    async def step(self, after: float = 1.0) -> Any:
        self.now += after
        return await self.scaler.step(DaskQueue.of(copy.deepcopy(self.body)), self, self.now)

    def restart_operator(self) -> None:
        """Have another operator, which knows only what the cluster does."""
        self.scaler = Scaler(self, self.scraper)

    # What the scaler is given: the objects ...
    @property
    def shard_pods(self) -> list[dict[str, Any]]:
        return [manifest for name, manifest in self.manifests.items() if "-shard-" in name]

    @property
    def consumer_pods(self) -> list[dict[str, Any]]:
        return [manifest for name, manifest in self.manifests.items() if "-consumer-" in name]

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        assert (kind, name) == ("Deployment", "q-consumer")
        return None if self.replicas is None else {"spec": {"replicas": self.replicas}}

    # ... and where it writes.
    async def merge(self, kind: Any, namespace: str, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        assert (kind.kind, namespace) == ("Pod", "n")
        annotations = self.manifests[name]["metadata"]["annotations"]
        for key, value in patch["metadata"]["annotations"].items():
            annotations.pop(key, None)
            annotations |= {} if value is None else {key: value}
        return self.manifests[name]

    async def scale_consumers(self, namespace: str, name: str, replicas: int) -> None:
        assert (namespace, name) == ("n", "q")
        self.replicas = replicas
        self.numbers.append(replicas)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
