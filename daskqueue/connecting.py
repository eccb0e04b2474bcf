"""Reaching a pool that hosts serve, from a notebook, a job, a task or any other process."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, overload

import dask
from distributed import Client

from daskqueue.actors.directory import Directory, hosted_id
from daskqueue.actors.queues import PoolSpec
from daskqueue.arguments import check_count, check_name, seconds_of
from daskqueue.clients import check_address, open_client, open_client_here, shared_client, worker_here
from daskqueue.clock import Clock
from daskqueue.connection import Connection
from daskqueue.message import Durability
from daskqueue.pool import QueuePool
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.submitting.options import SubmitOptions

logger = logging.getLogger(__name__)

# Where Kubernetes tells a pod its namespace.
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
SCHEDULER_PORT = 8786
# Options of submits that hosts may have been given defaults for; a newer version's may say more.
DEFAULTS = ("retries", "overflow")
# What is left of the time to find the queues when connecting has taken nearly all of it.
LEAST_SECONDS = 1.0


class _Plan(NamedTuple):
    """What ``connect`` was asked for, checked."""

    name: str
    address: str
    client: Client | None
    seconds: float
    direct: bool | None
    retries: int | None

    async def options(self, client: Client) -> dict[str, Any]:
        """Return how to submit: as was asked for, else as the hosts say."""
        hosted = await Directory(client).hosted(hosted_id(self.name))
        said = {key: hosted.defaults[key] for key in DEFAULTS if key in hosted.defaults}
        return said if self.retries is None else {**said, "retries": self.retries}

    def pool(self, client: Client, *, owns_client: bool) -> QueuePool:
        spec = PoolSpec(
            pool_id=hosted_id(self.name),
            name=self.name,
            n_queues=0,
            durability=Durability.DURABLE,
            dirpath=None,
            hosted=True,
            scheduler=self.address,
        )
        connection = Connection(client, spec, direct=self.direct, owns_client=owns_client)
        return QueuePool.over(connection, SubmitOptions())


@overload
def connect(
    name: str | None = ...,
    address: str | None = ...,
    *,
    client: Client | None = ...,
    timeout: float | str = ...,
    asynchronous: Literal[False] = ...,
    direct: bool | None = ...,
    retries: int | None = ...,
) -> QueuePool: ...
@overload
def connect(
    name: str | None = ...,
    address: str | None = ...,
    *,
    client: Client | None = ...,
    timeout: float | str = ...,
    asynchronous: Literal[True],
    direct: bool | None = ...,
    retries: int | None = ...,
) -> Connecting: ...
def connect(
    name: str | None = None,
    address: str | None = None,
    *,
    client: Client | None = None,
    timeout: float | str = "30s",
    asynchronous: bool = False,
    direct: bool | None = None,
    retries: int | None = None,
) -> QueuePool | Connecting:
    """Return the pool that hosts serve under *name*, once one of its queues has answered.

    The pool goes on when its scheduler, its queues or their hosts are replaced: calls wait for them, up to a minute.

    Args:
        name: the pool's name; default: ``DASKQUEUE_NAME``.
        address: the scheduler's, such as ``"tcp://10.0.0.7:8786"``. Default: ``DASKQUEUE_SCHEDULER``, or
            ``daskqueue.scheduler`` in Dask's configuration; in a pod of Kubernetes the scheduler of the
            DaskQueue of that name in the pod's namespace; in a Dask task the scheduler of its worker.
        client: a Dask client of that scheduler, instead of an address; it stays open when the pool is closed.
        timeout: how long to try to connect and to find the queues (seconds, or text such as ``"30s"``).
        asynchronous: return something to ``await``, or for ``async with``, on the running event loop; true
            anyway with a *client* that is asynchronous.
        direct: whether queues are called straight (True) or through the scheduler (False); None to find out.
        retries: how often a task that raised is run again before it becomes a dead letter. Default: what the hosts
            were told (``daskqueue serve queue --retries``, ``spec.queue.retries`` of a DaskQueue), as they were when
            this connected.

    Raises:
        ValueError: an argument that cannot be, or no name or address to be found.
        ConnectionFailedError: no scheduler answers at the address.
        NoSuchQueueError: the scheduler knows of no queue of that name; the message lists those that are there.
        QueueLostError: the scheduler knows of the queue, but none of its shards answers.
    """
    if client is not None and not isinstance(client, Client):
        raise TypeError(f"client is {client!r:.80}; it must be a distributed.Client, or None")
    if client is not None and address is not None:
        raise ValueError("give a client or an address, not both: a client knows its scheduler's")
    if direct not in {True, False, None}:
        raise ValueError(f"direct is {direct!r}; choose True, False, or None to find out")
    if retries is not None:
        check_count("retries", retries, least=0)
    found = name if name is not None else os.environ.get("DASKQUEUE_NAME")
    if not found:
        raise ValueError('which queue? Give its name, as in connect("invoices"), or set DASKQUEUE_NAME')
    check_name(found)
    where = _address_of(client) if client is not None else address or find_address(found)
    check_address(where)
    seconds = seconds_of("timeout", timeout)
    plan = _Plan(found, where, client, seconds, direct, retries)
    if asynchronous or (client is not None and client.asynchronous):
        return Connecting(plan)
    return _connect(plan)


class Connecting:
    """A pool that is being connected to: ``await`` it, or use it with ``async with``."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._pool: QueuePool | None = None

    def __await__(self) -> Generator[Any, None, QueuePool]:
        return _connect_here(self._plan).__await__()

    async def __aenter__(self) -> QueuePool:
        self._pool = await self
        return self._pool

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            await cast("Any", self._pool.close())


def find_address(name: str) -> str:
    """Return the address of the scheduler of the pool *name*, from what this process was told.

    Raises:
        ValueError: it was told nothing; the text names the ways.
    """
    told = os.environ.get("DASKQUEUE_SCHEDULER") or dask.config.get("daskqueue.scheduler", None)
    if told:
        return str(told)
    if namespace := os.environ.get("DASKQUEUE_NAMESPACE") or _namespace_of_pod():
        return f"tcp://{name}-scheduler.{namespace}:{SCHEDULER_PORT}"
    if (worker := worker_here()) is not None:
        return str(cast("Any", worker.scheduler).address)
    raise ValueError(
        f'where is the queue {name!r}? Give its scheduler, as in connect({name!r}, "tcp://host:{SCHEDULER_PORT}"), '
        "or set DASKQUEUE_SCHEDULER, or daskqueue.scheduler in Dask's configuration, or give a client=; in a pod of "
        "Kubernetes without a service account, set DASKQUEUE_NAMESPACE"
    )


def _namespace_of_pod() -> str:
    fs = LocalFileSystem()
    if not fs.exists(NAMESPACE_FILE):
        return ""
    file = fs.open(NAMESPACE_FILE)
    try:
        return fs.read(file, 0, fs.size(file)).decode().strip()
    finally:
        fs.close(file)


def _address_of(client: Client) -> str:
    scheduler = cast("Any", client.scheduler)
    if scheduler is None or client.status in {"closing", "closed"}:
        raise ValueError("the Dask client is closed, or not yet awaited; give one that is connected")
    return str(scheduler if isinstance(scheduler, str) else scheduler.address)


def _connect(plan: _Plan) -> QueuePool:
    clock = Clock()
    began = clock.now()
    client, made = plan.client, False
    if client is None and worker_here() is not None:
        # Many tasks of one process connect: each with a client of its own would be too many.
        client = shared_client(plan.address, plan.seconds)
    if client is None:
        client, made = open_client(plan.address, plan.seconds), True
    pool = plan.pool(client, owns_client=made)
    try:
        pool.sync(pool.reach, max(plan.seconds - (clock.now() - began), LEAST_SECONDS))
        return pool.options(**pool.sync(plan.options, client))
    except BaseException:
        pool.close()
        raise


async def _connect_here(plan: _Plan) -> QueuePool:
    clock = Clock()
    began = clock.now()
    client = plan.client or await open_client_here(plan.address, plan.seconds)
    pool = plan.pool(client, owns_client=plan.client is None)
    try:
        await pool.reach(max(plan.seconds - (clock.now() - began), LEAST_SECONDS))
        return pool.options(**await plan.options(client))
    except BaseException:
        await cast("Any", pool.close())
        raise
