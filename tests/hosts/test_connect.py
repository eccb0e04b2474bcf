"""``daskqueue.connect``: a pool that hosts serve, from all kinds of processes."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import pickle
import subprocess
import sys
import threading

import dask
import pytest
from clusters import until
from distributed import Client
from distributed.comm.core import connect as connect_comm

import daskqueue
from daskqueue import connect
from daskqueue.clients import close_client
from daskqueue.connecting import find_address
from daskqueue.errors import (
    ConnectionFailedError,
    DaskQueueError,
    JobCancelledError,
    NoSuchQueueError,
    QueueLostError,
    WaitTimeoutError,
)

from .processes import Site, free_port


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Two shards and a consumer with two slots, for all tests here that leave them alive."""
    site = Site(tmp_path_factory.mktemp("site"), "invoices")
    site.scheduler()
    for host in (site.queue(0), site.queue(1), site.consumer("--slots", 2)):
        host.wait_ready()
    yield site
    site.close()


@pytest.fixture
def pool(served):
    with connect("invoices", served.address) as connected:
        yield connected


@pytest.fixture
def untold(monkeypatch):
    """A process that was told nothing of queues."""
    for variable in ("DASKQUEUE_NAME", "DASKQUEUE_SCHEDULER", "DASKQUEUE_NAMESPACE"):
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


def double(number):
    return 2 * number


def fail(number):
    raise ValueError(f"no {number}")


def fail_if_odd(number):
    if number % 2:
        raise ValueError(f"odd: {number}")
    return number


# Ways to connect


def test_jobs_of_a_connected_pool_run_on_the_hosts(pool):
    assert pool.submit(double, 21).result(timeout=20) == 42
    jobs = pool.map(double, range(1000), batch_size=50)
    assert pool.gather(jobs, timeout=20) == [2 * number for number in range(1000)]
    assert {job.place.queue for job in jobs} == {0, 1}
    assert "2 queue(s)" in repr(pool)


def test_name_and_scheduler_come_from_the_environment(served, untold):
    untold.setenv("DASKQUEUE_NAME", "invoices")
    untold.setenv("DASKQUEUE_SCHEDULER", served.address)
    with connect() as pool:
        assert pool.submit(double, 1).result(timeout=20) == 2


def test_the_scheduler_comes_from_the_configuration_of_dask(served, untold):
    with dask.config.set({"daskqueue.scheduler": served.address}), connect("invoices") as pool:
        assert pool.submit(double, 2).result(timeout=20) == 4


def test_in_a_pod_the_name_is_enough(untold, tmp_path):
    namespace = tmp_path / "namespace"
    namespace.write_text("billing\n")
    untold.setattr("daskqueue.connecting.NAMESPACE_FILE", namespace)
    assert find_address("invoices") == "tcp://invoices-scheduler.billing:8786"
    untold.setenv("DASKQUEUE_NAMESPACE", "other")
    assert find_address("invoices") == "tcp://invoices-scheduler.other:8786"
    untold.setenv("DASKQUEUE_SCHEDULER", "tcp://elsewhere:1")
    assert find_address("invoices") == "tcp://elsewhere:1"


def test_without_an_address_the_error_names_the_ways(untold):
    with pytest.raises(
        ValueError, match=r"DASKQUEUE_SCHEDULER.*daskqueue\.scheduler.*client=.*DASKQUEUE_NAMESPACE"
    ):
        connect("invoices")


def test_without_a_name_it_says_so(untold):
    with pytest.raises(ValueError, match="DASKQUEUE_NAME"):
        connect(address="tcp://127.0.0.1:1")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "a b"}, "letters, digits"),
        ({"address": "127.0.0.1"}, "such as tcp://host:8786"),
        ({"address": "http://127.0.0.1:1"}, "such as tcp://host:8786"),
        ({"direct": "yes"}, "choose True, False"),
        ({"timeout": "soon"}, "timeout"),
        ({"retries": -1}, "0 or more"),
        ({"client": 5}, "must be a distributed.Client"),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, words):
    arguments = {"name": "invoices", "address": "tcp://127.0.0.1:1", **options}
    if "client" in options:
        del arguments["address"]
    with pytest.raises((ValueError, TypeError), match=words):
        connect(**arguments)


def test_a_client_that_is_given_stays_open(served):
    with Client(served.address, set_as_default=False) as client:
        with connect("invoices", client=client) as pool:
            assert pool.submit(double, 3).result(timeout=20) == 6
            assert pool.client is client
        assert client.status == "running"
        with pytest.raises(ValueError, match="not both"):
            connect("invoices", served.address, client=client)


@pytest.mark.parametrize("direct", [True, False])
def test_queues_are_reached_straight_or_through_the_scheduler(served, direct, peers):
    with connect("invoices", served.address, direct=direct) as pool:
        assert pool.gather(pool.map(double, range(300)), timeout=20)[-1] == 598
        assert pool.get_queue_size()
        assert (peers(pool) == {served.address}) is not direct


@pytest.fixture
def peers():
    """Returns whom the client of a pool has connections to."""
    return lambda pool: {
        address
        for connections in (pool.client.rpc.available, pool.client.rpc.occupied)
        for address, open_ones in connections.items()
        if open_ones
    }


def test_a_client_that_cannot_reach_workers_goes_through_the_scheduler(served, monkeypatch, peers):
    async def behind_a_firewall(address, *args, **kwargs):
        if address != served.address:
            raise OSError("no route to host")
        return await connect_comm(address, *args, **kwargs)

    monkeypatch.setattr("distributed.core.connect", behind_a_firewall)
    with connect("invoices", served.address) as pool:
        assert pool.gather(pool.map(double, range(300)), timeout=20)[-1] == 598
        assert peers(pool) == {served.address}


def test_a_client_that_can_reach_workers_calls_them_straight(pool, served, peers):
    pool.submit(double, 1).result(timeout=20)
    assert peers(pool) - {served.address}


def test_on_an_event_loop_everything_can_be_awaited(served):
    async def use():
        async with connect("invoices", served.address, asynchronous=True) as pool:
            assert await (await pool.submit(double, 4)) == 8
            jobs = await pool.map(double, range(200))
            assert await pool.gather(jobs, timeout=20) == [2 * number for number in range(200)]
        assert pool.client.status == "closed"
        pool = await connect("invoices", served.address, asynchronous=True)
        assert await (await pool.submit(double, 5)) == 10
        await pool.close()
        async with Client(served.address, asynchronous=True, set_as_default=False) as client:
            pool = await connect("invoices", client=client)
            assert await (await pool.submit(double, 6)) == 12
            await pool.close()
            assert client.status == "running"

    asyncio.run(use())


ELSEWHERE = """
import pickle, sys
pool, job, jobs = pickle.load(sys.stdin.buffer)
assert job.result(timeout=20) == 42, job
assert pool.gather(jobs, timeout=20) == [0, 2, 4]
assert pool.options(retries=1).submit(abs, -7).result(timeout=20) == 7
again = pickle.loads(pickle.dumps(job))
assert again.result(timeout=20) == 42 and again._pool.client is pool.client
"""


def test_handles_work_in_another_process_that_was_told_nothing(pool):
    jobs = pool.map(abs, [0, -2, -4])
    handles = pickle.dumps((pool, pool.submit(abs, -42), list(jobs)))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DASKQUEUE")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ELSEWHERE],
        input=handles,
        env=environment,
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_handle_from_outside_of_the_cluster_takes_the_address_that_is_known_inside(pool, untold):
    job = pool.submit(abs, -5)
    handle = pickle.loads(pickle.dumps(job))
    handle._pool._spec = dataclasses.replace(handle._pool._spec, scheduler=f"tcp://127.0.0.1:{free_port()}")
    untold.setenv("DASKQUEUE_NAME", "invoices")
    untold.setenv("DASKQUEUE_SCHEDULER", pool.connection.cluster.address)
    assert handle.result(timeout=20) == 5
    close_client(handle._pool.client)


def submit_from_a_task(number):
    from distributed import get_worker  # noqa: PLC0415

    import daskqueue as in_task  # noqa: PLC0415

    with in_task.connect("invoices", get_worker().scheduler.address) as pool:
        return pool.submit(abs, number), id(pool.client)


def result_of(job):
    return job.result(timeout=20)


def test_a_task_connects_and_hands_a_job_on(pool):
    (first, one), (second, other) = pool.gather(pool.map(submit_from_a_task, [-1, -2]), timeout=30)
    assert (first.result(timeout=20), second.result(timeout=20)) == (1, 2)
    assert one == other, "each task made a client of its own"
    assert pool.submit(result_of, second).result(timeout=20) == 2


def test_a_task_finds_the_scheduler_of_its_worker(pool):
    def connect_by_name():
        from daskqueue.connecting import find_address as find  # noqa: PLC0415

        return find("other")

    assert pool.submit(connect_by_name).result(timeout=20) == pool.connection.cluster.address


# What goes wrong at once


def test_nobody_listens():
    address = f"tcp://127.0.0.1:{free_port()}"
    before = threading.active_count()
    with pytest.raises(ConnectionFailedError, match=rf"{address}.*1\.5 s.*refused.*dask scheduler") as caught:
        connect("invoices", address, timeout=1.5)
    assert caught.value.retryable
    assert isinstance(caught.value, ConnectionError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert threading.active_count() <= before


def test_nobody_listens_to_an_event_loop():
    async def use():
        with pytest.raises(ConnectionFailedError):
            await connect("invoices", f"tcp://127.0.0.1:{free_port()}", timeout=0.5, asynchronous=True)

    asyncio.run(use())


def test_a_wrong_name_is_told_with_those_that_are_there(served, caplog):
    caplog.set_level("INFO", "daskqueue")
    before = threading.active_count()
    with pytest.raises(NoSuchQueueError, match=r"no queue 'invoice' .*there are: invoices\..*kubectl"):
        connect("invoice", served.address, timeout="1s")
    assert "Waiting up to 1 s for queue 'invoice': there is no queue" in caplog.text
    until(lambda: threading.active_count() <= before)


def test_a_queue_that_comes_late_is_waited_for(served):
    late = Site(served.folder / "late", "late")
    late.folder.mkdir()
    late.address = served.address
    connecting = []
    waiter = threading.Thread(target=lambda: connecting.append(connect("late", served.address)))
    waiter.start()
    late.queue().wait_ready()
    waiter.join(20)
    with connecting[0] as pool:
        assert pool.submit(double, 1).status == "pending"
    late.close()


# Closing


def test_a_closed_pool_says_so(served):
    pool = connect("invoices", served.address)
    job = pool.submit(double, 1)
    pool.close()
    pool.close()
    assert pool.client.status == "closed"
    for use in (lambda: pool.submit(double, 1), lambda: pool.gather([job]), pool.get_queue_size):
        with pytest.raises(DaskQueueError, match="closed"):
            use()


def test_a_pool_whose_client_is_closed_says_so(served):
    with Client(served.address, set_as_default=False) as client:
        pool = connect("invoices", client=client)
    with pytest.raises(QueueLostError, match=r"client of pool 'invoices' is closed: connect"):
        pool.submit(double, 1)


def test_a_pool_that_is_dropped_closes_its_client(served):
    pool = connect("invoices", served.address)
    client = pool.client
    del pool
    gc.collect()
    until(lambda: client.status == "closed")


# All results at once


def test_gather_keeps_the_order_and_takes_any_jobs(pool):
    jobs = [pool.submit(double, number) for number in range(10)]
    shuffled = [jobs[7], jobs[2], jobs[7], jobs[0]]
    assert pool.gather(shuffled, timeout=20) == [14, 4, 14, 0]
    assert pool.gather((job for job in jobs[:2]), timeout=20) == [0, 2]
    assert pool.gather([]) == []
    values = [None, 0, "", ValueError("a value like any other")]
    assert list(map(repr, pool.gather(pool.map(_same, values), timeout=20))) == list(map(repr, values))


def _same(value):
    return value


def test_gather_raises_what_a_task_raised_before_the_others_are_done(pool, gate):
    bad, slow = pool.submit(fail, 3), pool.submit(gate.wait)
    with pytest.raises(ValueError, match="no 3") as caught:
        pool.gather([slow, bad], timeout=20)
    assert "Traceback" in str(caught.value.__cause__)
    gate.let()
    assert slow.exception(timeout=20) is None


def test_gather_returns_exceptions_in_their_places(pool):
    jobs = [*pool.map(fail_if_odd, range(6)), pool.options(delay=60).submit(double, 1)]
    jobs[-1].cancel()
    found = pool.gather(jobs, timeout=20, errors="return")
    assert found[:6:2] == [0, 2, 4]
    assert [str(error) for error in found[1:6:2]] == ["odd: 1", "odd: 3", "odd: 5"]
    assert isinstance(found[6], JobCancelledError)


def test_gather_says_how_many_are_not_done_in_time(pool):
    late = pool.options(delay=60).submit(double, 1)
    done = pool.submit(double, 1)
    done.result(timeout=20)
    with pytest.raises(WaitTimeoutError, match=r"1 of 2 jobs were not done after 0\.5 s"):
        pool.gather([done, late], timeout=0.5)
    assert late.cancel()


# Hosts that come and go


def test_a_shard_that_is_added_gets_its_share(pool, served, monkeypatch):
    monkeypatch.setattr("daskqueue.actors.shards.LOOK_SECONDS", 0.2)
    added = served.queue(2)
    added.wait_ready()
    until(lambda: pool.submit(double, 1).place.queue == 2, seconds=20)
    assert pool.n_queues == 3
    jobs = pool.map(double, range(30), batch_size=1)
    assert {job.place.queue for job in jobs} == {0, 1, 2}
    assert pool.gather(jobs, timeout=30)[-1] == 58


def test_consumers_of_ones_own_are_refused_for_a_pool_that_hosts_serve(pool):
    with pytest.raises(ValueError, match="daskqueue serve consumer"):
        daskqueue.ConsumerPool(pool.client, pool)
