"""The parts of the play: what the theatre's forks become. Each runs until it is killed, or told to end."""

from __future__ import annotations

import functools
import os
import signal

import dask
from clusters import QUIET
from distributed.cli import dask_scheduler, dask_worker

from daskqueue import connect
from daskqueue.actors import lease_watch
from daskqueue.cli import serve as serving
from daskqueue.cli.main import app
from daskqueue.engine.settings import QueueSettings
from daskqueue.serve import queue_host
from daskqueue.submitting import pool_settings

from .client import Client
from .curtain import fall
from .engine_life import SEGMENT_BYTES, make_small
from .owner import Owner, owned
from .tasks import FOLDER
from .traps import Trap

HOST = "127.0.0.1"
# How often a queue looks whether those who hold its messages still exist, and how many queues there are.
LOOK_SECONDS = 0.2
# What the consumers of a killed owner held waits so long for others, as nobody can tell that they are gone.
GRACE_SECONDS = 10.0


def scheduler(port: int) -> None:
    """Be the scheduler, always at the same address."""
    dask.config.set(QUIET)
    dask_scheduler.main(["--host", HOST, "--port", str(port), "--dashboard-address", ":0", "--no-dashboard"])


def queue(name: str, port: int, shard: int, folder: str, trap: list[object] | None) -> None:
    """Be the host of a shard, whose files are as small as can be."""
    make_small()
    serving.QueueSettings = functools.partial(QueueSettings, segment_bytes=SEGMENT_BYTES)
    lease_watch.LOST_CHECK_SECONDS = queue_host.FOLLOW_SECONDS = LOOK_SECONDS
    _serve("queue", name, port, trap, "--shard", shard, "--dir", folder, "--max-deliveries", 1_000_000)


def consumer(
    name: str, port: int, own_port: int, ledgers: str, executor: str, trap: list[object] | None
) -> None:
    """Be a consumer of two slots; always at the same address, so that a new one takes the place of the old one."""
    os.environ[FOLDER] = ledgers
    more = ("--slots", 2, "--batch-size", 10, "--port", own_port, "--executor", executor, "--drain", "10s")
    _serve("consumer", name, port, trap, *more)


def worker(port: int, ledgers: str, number: int) -> None:
    """Be a plain worker of Dask, for the actors of a pool."""
    os.environ[FOLDER] = ledgers
    make_small()
    lease_watch.LOST_CHECK_SECONDS = LOOK_SECONDS
    dask.config.set(QUIET)
    words = (
        f"tcp://{HOST}:{port}",
        "--name",
        f"worker-{number}",
        "--nthreads",
        1,
        "--no-nanny",
        "--no-dashboard",
    )
    dask_worker.main([str(word) for word in words])


def client(name: str, port: int, ledgers: str, who: str, seed: str) -> None:
    """Submit, and wait for what was submitted, until told to end."""
    _play(Client(name, f"tcp://{HOST}:{port}", ledgers, who, seed))


def owner(name: str, port: int, ledgers: str, who: str, seed: str, folder: str) -> None:
    """Do the same with a pool of one's own."""
    _make_pools_small()
    _play(Owner(name, f"tcp://{HOST}:{port}", ledgers, who, seed, folder))


def curtain(name: str, port: int, ledgers: str, seconds: float) -> None:
    """Wait until nothing waits or runs, and write down how everything ended."""
    dask.config.set(QUIET)
    with connect(name, f"tcp://{HOST}:{port}", timeout=seconds) as pool:
        fall(pool, ledgers, seconds)


def last_owner(name: str, port: int, ledgers: str, seconds: float, folder: str) -> None:
    """Do the same with a pool of one's own."""
    _make_pools_small()
    dask.config.set(QUIET)
    with owned(name, f"tcp://{HOST}:{port}", folder) as pool:
        fall(pool, ledgers, seconds)


def _make_pools_small() -> None:
    pool_settings.QueueSettings = functools.partial(
        QueueSettings, segment_bytes=SEGMENT_BYTES, grace_seconds=GRACE_SECONDS
    )


def _play(part: Client) -> None:
    dask.config.set(QUIET)
    signal.signal(signal.SIGTERM, lambda *_: part.stop.set())
    part.run()


def _serve(kind: str, name: str, port: int, trap: list[object] | None, *more: object) -> None:
    if trap is not None:
        Trap(*trap).lay()
    common = ("--name", name, "--scheduler", f"tcp://{HOST}:{port}", "--host", HOST, "--metrics-port", -1)
    app([str(word) for word in ("serve", kind, *common, *more)])
