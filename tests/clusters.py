"""Dask clusters for tests: real processes, quiet, and gone without a trace."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import contextmanager

import psutil
from distributed import Client, LocalCluster

QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.admin.large-graph-warning-threshold": "1GB",
    "distributed.comm.timeouts.connect": "10s",
    # SpecCluster closes a nanny whose worker is away this long after *any* earlier loss: a second restart in time.
    "distributed.deploy.lost-worker-timeout": "1h",
}


class Cluster(LocalCluster):
    """A LocalCluster with defaults for tests."""

    def __init__(self, n_workers=2, threads_per_worker=1, **options):
        super().__init__(
            n_workers=n_workers,
            threads_per_worker=threads_per_worker,
            processes=True,
            dashboard_address=":0",
            worker_dashboard_address=":0",
            silence_logs=logging.CRITICAL,
            **options,
        )

    def connect(self, **options):
        """Return a new client of this cluster; close it before the cluster."""
        return Client(self, **{"direct_to_workers": True, "set_as_default": False, **options})


def pids(client):
    """Return the process id of each worker by its address."""
    return client.run(os.getpid)


def kill(pid):
    """Kill a process so that it can say nothing any more; returns when it is dead."""
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    process.wait(timeout=10)


@contextmanager
def stopped(pid):
    """Hold a process as a debugger or a swapping machine does."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def until(holds, seconds=10):
    """Look again and again, where there is no event that could be waited for."""
    again = threading.Event()
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come about"
        again.wait(0.02)


def worker_of_queue(pool, index=0):
    """Return the address of the worker that holds a queue of the pool."""
    return dict(pool.queues.refs)[index].address


def worker_of_consumer(consumers, index=0):
    """Return the address of the worker that holds a consumer of the pool."""
    return consumers._consumers._held[consumers[index]].ref.address
