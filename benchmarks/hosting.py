"""Hosts as plain processes, for measuring them beside a LocalCluster."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring import say, seconds_of

import daskqueue
from daskqueue import QueuePool

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
    log = (folder / "hosts.log").open("w")
    running = [subprocess.Popen([BIN / command[0], *command[1:]], stderr=log) for command in commands]
    try:
        with connected(address, shards, consumers) as pool:
            yield pool
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        log.close()


@contextmanager
def connected(address: str, shards: int, consumers: int) -> Iterator[QueuePool]:
    """Yield the pool once all hosts have joined."""
    say("  waiting for the hosts")
    with daskqueue.connect(NAME, address, timeout=60) as pool:
        # Shards are never "running" to Dask, so its wait_for_workers does not count them.
        while len(pool.client.ncores()) < shards + consumers or len(pool.get_queue_size()) < shards:
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
