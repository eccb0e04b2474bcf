"""Hosts as plain processes, for measuring them beside a LocalCluster."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from measuring import say, seconds_of

import daskqueue
from daskqueue import QueuePool
from daskqueue.errors import DaskQueueError

BIN = Path(sys.executable).parent
NAME = "benchmark"


@contextmanager
def hosts(folder: Path, shards: int, consumers: int) -> Iterator[QueuePool]:
    """Yield a pool of *shards* queue hosts, with *consumers* consumer hosts of one slot that are at work."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    common = ["--name", NAME, "--scheduler", address, "--metrics-port", "-1", "--log-level", "ERROR"]
    commands = [
        ["dask", "scheduler", "--host", "127.0.0.1", "--port", str(port), "--dashboard-address", ":0"]
    ]
    for shard in range(shards):
        own = ["--shard", str(shard), "--dir", str(folder / "hosted")]
        commands.append(["daskqueue", "serve", "queue", *common, *own])
    commands += [["daskqueue", "serve", "consumer", *common]] * consumers
    running = [
        subprocess.Popen([BIN / command[0], *command[1:]], stderr=subprocess.DEVNULL) for command in commands
    ]
    try:
        with connected(address, shards, consumers) as pool:
            yield pool
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


@contextmanager
def connected(address: str, shards: int, consumers: int) -> Iterator[QueuePool]:
    """Yield the pool once all hosts have joined."""
    say("  waiting for the hosts")
    while True:
        with suppress(DaskQueueError):
            pool = daskqueue.connect(NAME, address, timeout=60)
            break
        time.sleep(0.2)
    with pool:
        pool.client.wait_for_workers(shards + consumers)
        while len(pool) < shards:
            time.sleep(0.1)
        yield pool


def gathered(pool: QueuePool, calls: list[Any], batch_size: int) -> Callable[[], float]:
    """Return what submits calls, waits for all results, and returns the seconds it took."""

    def run() -> float:
        def there_and_back() -> None:
            results = pool.gather(pool.batch_submit(calls, batch_size=batch_size))
            if len(results) != len(calls):
                raise AssertionError(f"{len(calls)} tasks gave {len(results)} results")

        return seconds_of(there_and_back)

    return run
