"""Clients of all kinds: through the scheduler, in threads, closed too early, none given; and what importing does."""

from __future__ import annotations

import gc
import logging
import os
import re
import subprocess
import sys
import threading
import time

import pytest
from clusters import Cluster, until
from distributed import Client, LocalCluster

from daskqueue import ConsumerPool, QueuePool
from daskqueue.actors.caller import Caller
from daskqueue.errors import QueueFullError

from .conftest import values_of


def double(number):
    return 2 * number


def use_everything(client, name, **options):
    """Walk through the notebook's steps."""
    pool = QueuePool(client, 2, name=name, **options)
    consumers = ConsumerPool(client, pool, n_consumers=2, batch_size=100)
    jobs = pool.map(double, range(500), batch_size=50)
    consumers.start()
    single = pool.submit(double, 500)
    assert single.result(timeout=30) == 1000
    consumers.join(timeout=60)
    assert sorted(values_of(consumers.results())) == [2 * number for number in range(501)]
    assert jobs[-1].result(timeout=10) == 998
    assert "0 pending items" in repr(pool)
    assert not single.cancel()


@pytest.mark.parametrize("direct", [False, None, True])
def test_a_client_works_with_and_without_direct_connections(cluster, name, tmp_path, direct):
    with Client(cluster, direct_to_workers=direct, set_as_default=False) as client:
        use_everything(client, name)
        use_everything(client, name, durability="durable", dirpath=tmp_path)


def test_errors_travel_through_the_scheduler_as_themselves(cluster, name):
    with Client(cluster, direct_to_workers=False, set_as_default=False) as client:
        pool = QueuePool(client, name=name, max_messages=1)
        pool.submit(double, 1)
        with pytest.raises(QueueFullError, match="at most 1"):
            pool.options(put_timeout=0).submit(double, 2)


def test_a_cluster_of_threads_works(name, tmp_path):
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        use_everything(client, name)
        use_everything(client, name, durability="durable", dirpath=tmp_path)


def test_the_default_client_is_taken_when_none_is_given(cluster, name):
    with cluster.connect(set_as_default=True) as client:
        pool = QueuePool(name=name)
        assert pool.client is client
        pool.submit(double, 1)
        assert pool[0].qsize() == 1


def test_without_any_client_it_says_so(name):
    with pytest.raises(ValueError, match=r"[Cc]lient"):
        QueuePool(name=name)


def test_who_waits_for_a_job_is_told_when_the_client_closes(cluster, name):
    client = cluster.connect()
    pool = QueuePool(client, name=name)
    job = pool.submit(double, 1)
    waiting = threading.Event()
    heard = []

    def wait():
        waiting.set()
        try:
            heard.append(job.result(timeout=60))
        except BaseException as error:  # noqa: BLE001  anything but silence
            heard.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    waiting.wait()
    client.close()
    waiter.join(timeout=15)
    assert not waiter.is_alive()
    assert isinstance(heard[0], BaseException)


def test_a_pool_of_a_closed_client_says_so(cluster, name):
    client = cluster.connect()
    pool = QueuePool(client, name=name)
    pool.submit(double, 1)
    client.close()
    began = time.monotonic()
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever Dask says of a closed client, but soon
        pool.submit(double, 2)
    assert "QueuePool" in repr(pool)
    assert time.monotonic() - began < 15


def test_handles_of_a_cluster_that_is_gone_say_so(name):
    with Cluster(n_workers=1) as cluster, cluster.connect() as client:
        pool = QueuePool(client, name=name)
        consumers = ConsumerPool(client, pool)
        consumers.start()
        job = pool.submit(double, 1)
        assert job.result(timeout=20) == 2
    assert "QueuePool" in repr(pool)
    assert "Consumers" in repr(consumers)
    for use in (lambda: pool.submit(double, 1), consumers.results, pool.get_queue_size):
        with pytest.raises(Exception):  # noqa: B017, PT011  as above
            use()


def actors_of(dask_worker):
    return len(dask_worker.state.actors)


def test_dropped_pools_leave_nothing_on_the_workers(make):
    client = make.client
    before = sum(client.run(actors_of).values())
    pool = make.queues(3)
    consumers = make.consumers(pool, 3)
    pool.map(double, range(30))
    consumers.join(timeout=30)
    assert sum(client.run(actors_of).values()) >= before + 3
    del pool, consumers
    make.close()
    gc.collect()
    until(lambda: sum(client.run(actors_of).values()) == before)


def count_calls():
    """Begin to count the calls that this process makes of actors."""
    call = Caller.call
    Caller.counted = {}

    async def counted(self, ref, method, *args, **kwargs):
        Caller.counted[method] = Caller.counted.get(method, 0) + 1
        return await call(self, ref, method, *args, **kwargs)

    Caller.call = counted
    Caller.uncounted = call


def stop_counting():
    Caller.call = Caller.uncounted
    return sum(Caller.counted.values())


def test_an_idle_pool_calls_nobody(make):
    pool = make.queues(2)
    consumers = make.consumers(pool, 8)
    pool.map(double, range(100))
    [job.result(timeout=20) for job in pool.map(double, range(20))]
    later = pool.options(delay=60).submit(double, 1)
    with pytest.raises(TimeoutError):
        later.result(timeout=0.2)  # what was under way comes to rest
    make.client.run(count_calls)
    with pytest.raises(TimeoutError):
        later.result(timeout=1.0)
    assert sum(make.client.run(stop_counting).values()) <= 4
    later.cancel()
    consumers.cancel()


IMPORT = """
import logging, os, sys
before = (logging.root.level, list(logging.root.handlers), set(os.listdir(".")), set(os.listdir(os.environ["HOME"])))
import daskqueue
after = (logging.root.level, list(logging.root.handlers), set(os.listdir(".")), set(os.listdir(os.environ["HOME"])))
assert before == after, (before, after)
assert logging.getLogger("daskqueue").handlers == []
assert logging.getLogger("daskqueue").level == logging.NOTSET
assert "matplotlib" not in sys.modules and "pandas" not in sys.modules
print("imported", sorted(daskqueue.__all__)[0])
"""


def test_importing_changes_nothing(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "cwd").mkdir()
    environment = {**os.environ, "HOME": str(home), "DASK_CONFIG": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", IMPORT],
        cwd=tmp_path / "cwd",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "imported Backoff\n"
    assert done.stderr == ""


def test_running_leaves_the_root_logger_alone(make):
    before = (logging.root.level, list(logging.root.handlers), logging.root.disabled)
    pool = make.queues()
    consumers = make.consumers(pool)
    pool.submit(double, 1)
    consumers.join(timeout=30)
    assert (logging.root.level, list(logging.root.handlers), logging.root.disabled) == before


def test_log_lines_are_not_shown_twice(make, capfd, caplog):
    """Where the program has handlers of its own, ours is silent."""
    caplog.set_level(logging.INFO, logger="daskqueue")
    pool = make.queues()
    make.consumers(pool)
    assert "Created 1 queues" in caplog.text
    assert "Created 1 queues" not in capfd.readouterr().err


def test_log_lines_look_as_in_the_notebook_where_nobody_listens(tmp_path):
    script = tmp_path / "notebook.py"
    script.write_text(
        "import logging, re, sys\n"
        "from daskqueue.notices import show_notices\n"
        "show_notices(); show_notices()\n"
        "logging.getLogger('daskqueue.pool').info('Created %d queues in Cluster and one QueueManager.', 2)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60
    )
    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3},\d{1,3} INFO: Created 2 queues in Cluster and one QueueManager\.\n"
    assert re.fullmatch(line, done.stderr), done.stderr
