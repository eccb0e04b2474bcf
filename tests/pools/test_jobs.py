"""The handles of submitted messages: waited for, asked, passed around."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time

import cloudpickle
import pytest
from distributed import Client

from daskqueue import ConsumerPool, Job, QueuePool
from daskqueue.actors.caller import Caller
from daskqueue.errors import DaskQueueError, JobCancelledError, WaitTimeoutError

from .conftest import values_of


def double(number):
    return 2 * number


def raise_value_error(text):
    raise ValueError(text)


def test_a_job_is_a_key_of_the_results(make, durable):
    pool = make.queues(2, durable)
    consumers = make.consumers(pool, 2)
    jobs = [pool.submit(double, number) for number in range(10)]
    consumers.join(timeout=30)
    found = {}
    for results in consumers.results().values():
        found.update(results)
    assert found == {hash(job): 2 * number for number, job in enumerate(jobs)}
    assert {job: job.result(timeout=10) for job in jobs} == {job: 2 * n for n, job in enumerate(jobs)}


def test_ids_are_61_bit_numbers_that_are_their_own_hash_and_grow_within_a_queue(make, durable):
    pool = make.queues(2, durable)
    ids = [pool.submit(double, number).id for number in range(10)]
    assert len(set(ids)) == 10
    assert all(0 <= number < 2**61 - 1 and hash(number) == number for number in ids)
    assert ids[::2] == sorted(ids[::2])
    assert ids[1::2] == sorted(ids[1::2])


def test_a_result_is_awaited_at_most_for_the_timeout(make):
    pool = make.queues()
    job = pool.submit(double, 1)
    began = time.monotonic()
    with pytest.raises(WaitTimeoutError, match=r"0\.05"):
        job.result(timeout=0.05)
    with pytest.raises(TimeoutError):
        job.exception(timeout=0)
    assert time.monotonic() - began < 5
    assert not job.done()
    assert job.status == "pending"
    consumers = make.consumers(pool)
    assert job.result(timeout=10) == 2
    consumers.join(timeout=10)


def test_a_task_that_raises_timeouterror_is_no_timeout_of_the_caller(make):
    def give_up():
        raise TimeoutError("the task's own")

    pool = make.queues()
    make.consumers(pool)
    with pytest.raises(TimeoutError, match="the task's own") as caught:
        pool.submit(give_up).result(timeout=10)
    assert not isinstance(caught.value, WaitTimeoutError)


def test_jobs_are_in_the_order_of_their_calls(make):
    pool = make.queues(3)
    make.consumers(pool, 2)
    jobs = pool.map(double, range(100), batch_size=7)
    assert len(jobs) == 100
    assert [job.result(timeout=10) for job in jobs] == [2 * number for number in range(100)]
    assert jobs[-1].result() == 198
    assert [job.result() for job in jobs[10:40:10]] == [20, 40, 60]
    assert jobs[5] == jobs[5]
    assert jobs[5] != jobs[6]
    with pytest.raises(IndexError):
        jobs[100]


def test_waiting_for_many_jobs_is_one_long_poll_for_each_queue(make, gate, monkeypatch):
    pool = make.queues(2)
    jobs = pool.map(gate.wait, range(400), batch_size=10)
    asked = []
    call = Caller.call

    async def counted(self, ref, method, *args, **kwargs):
        asked.append(method)
        return await call(self, ref, method, *args, **kwargs)

    monkeypatch.setattr(Caller, "call", counted)
    loop = make.client.loop.asyncio_loop
    everything = asyncio.run_coroutine_threadsafe(_all_results(jobs), loop)
    consumers = make.consumers(pool, 2)
    gate.let(400)
    assert everything.result(timeout=30) == list(range(400))
    polls = asked.count("wait_settled")
    assert polls < 100, "a poll for each job"
    consumers.cancel()


def test_nobody_asks_while_nothing_happens(make, monkeypatch):
    pool = make.queues(2)
    jobs = pool.map(double, range(100), batch_size=10)
    asked = []
    call = Caller.call

    async def counted(self, ref, method, *args, **kwargs):
        asked.append(method)
        return await call(self, ref, method, *args, **kwargs)

    monkeypatch.setattr(Caller, "call", counted)
    with pytest.raises(TimeoutError):
        make.client.sync(_results_within, jobs, 1.0)
    assert asked.count("wait_settled") <= 4


async def _all_results(jobs):
    return await asyncio.gather(*jobs)


async def _results_within(jobs, seconds):
    async with asyncio.timeout(seconds):
        return await asyncio.gather(*jobs)


def test_a_handle_is_pickled_and_used_by_another_client(make, cluster, durable):
    pool = make.queues(2, durable)
    job = pool.submit(double, 4)
    pickled = pickle.dumps((pool, job))
    make.consumers(pool)
    with cluster.connect(set_as_default=True) as other:
        pool_there, job_there = pickle.loads(pickled)
        assert pool_there.client is other
        assert job_there.result(timeout=10) == 8
        assert job_there == job
        assert job_there.done()
        assert job_there.exception() is None
        assert pool_there.submit(double, 5).result(timeout=10) == 10
        assert sum(pool_there.get_queue_size().values()) == 0
        assert len(pool_there) == 2
        del pool_there, job_there


def test_a_handle_that_was_only_unpickled_can_wait_first(make, cluster):
    """Nothing has been called before that would have found the queues."""
    pool = make.queues()
    job = pool.submit(double, 4)
    pickled = pickle.dumps(job)
    make.consumers(pool)
    with cluster.connect(set_as_default=True):
        there = pickle.loads(pickled)
        assert there.result(timeout=10) == 8
        del there


def submit_more(pool, depth):
    """Use the pool from inside a task."""
    if depth:
        pool.submit(submit_more, pool, depth - 1)
    return depth


def test_a_task_submits_further_tasks_and_join_waits_for_them(make, durable):
    pool = make.queues(2, durable)
    consumers = make.consumers(pool, 2)
    pool.submit(submit_more, pool, 5)
    consumers.join(timeout=40)
    assert sorted(values_of(consumers.results())) == [0, 1, 2, 3, 4, 5]


def wait_for_other(job):
    return job.result(timeout=20) + 1


def test_a_job_is_waited_for_inside_a_task(make, durable):
    pool = make.queues(1, durable)
    consumers = make.consumers(pool, 2)
    job = pool.submit(double, 4)
    assert pool.submit(wait_for_other, job).result(timeout=30) == 9
    consumers.join(timeout=30)


def test_a_handle_works_in_a_plain_dask_task(make):
    pool = make.queues()
    consumers = make.consumers(pool)

    def use(pool):
        return pool.submit(double, 21).result(timeout=20)

    assert make.client.submit(use, pool, pure=False).result(timeout=30) == 42
    consumers.join(timeout=30)


def test_a_pickled_handle_is_small(make):
    pool = make.queues()
    jobs = pool.map(double, range(10_000))
    assert len(cloudpickle.dumps(jobs[9_999])) < 2000


def test_a_handle_of_a_dropped_transient_pool_says_that_the_pool_is_gone(make, cluster):
    pool = make.queues()
    job = pool.submit(double, 1)
    pickled = pickle.dumps(job)
    assert sum(pool.get_queue_size().values()) == 1
    del job, pool
    make.close()
    with cluster.connect(set_as_default=True):
        there = pickle.loads(pickled)
        with pytest.raises(DaskQueueError):
            there.result(timeout=20)
        del there


def test_jobs_are_waited_for_from_many_threads(make):
    pool = make.queues(2)
    make.consumers(pool, 2)
    results = {}

    def use(number):
        results[number] = [pool.submit(double, number + step).result(timeout=30) for step in range(5)]

    threads = [threading.Thread(target=use, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert results == {n: [2 * (n + step) for step in range(5)] for n in range(10)}


# With an asynchronous client


def run_async(cluster, use):
    """Run ``use(client)`` with an asynchronous client on a loop of its own."""

    async def main():
        async with Client(
            cluster.scheduler_address, asynchronous=True, direct_to_workers=True, set_as_default=False
        ) as client:
            return await use(client)

    return asyncio.run(main())


def test_everything_is_awaitable_with_an_asynchronous_client(cluster, name, tmp_path, durable):
    options = {"durability": "durable", "dirpath": tmp_path} if durable else {}

    async def use(client):
        pool = await QueuePool(client, 2, name=name, **options)
        consumers = ConsumerPool(client, pool, n_consumers=2)
        await consumers.start()
        job = await pool.submit(double, 3)
        assert isinstance(job, Job)
        assert await job == 6
        assert await job.result(timeout=10) == 6
        assert await job.exception() is None
        assert await job.done()
        jobs = await pool.map(double, range(100), batch_size=10)
        assert await asyncio.gather(*jobs) == [2 * number for number in range(100)]
        more = await pool.batch_submit([(double, 1), (raise_value_error, "async")])
        with pytest.raises(ValueError, match="async"):
            await more[1]
        later = await pool.options(delay=60).submit(double, 1)
        assert await later.cancel()
        with pytest.raises(JobCancelledError):
            await later
        assert sum((await pool.get_queue_size()).values()) == 0
        await consumers.join(timeout=30)
        results = await consumers.results()
        assert repr(pool).startswith("QueuePool : 2 queue(s)")
        assert repr(consumers).startswith("Consumers : 2 Consumers(s)")
        return sum(len(found) for found in results.values())

    assert run_async(cluster, use) == 102


def test_an_asynchronous_timeout_leaves_the_job_alone(cluster, name):
    async def use(client):
        pool = await QueuePool(client, name=name)
        job = await pool.submit(double, 3)
        with pytest.raises(WaitTimeoutError):
            await job.result(timeout=0.05)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await job
        consumers = ConsumerPool(client, pool)
        await consumers.start()
        assert await job == 6
        await consumers.cancel()

    run_async(cluster, use)


def test_concurrent_submits_of_an_asynchronous_client_share_calls(cluster, name, monkeypatch):
    asked = []
    call = Caller.call

    async def counted(self, ref, method, *args, **kwargs):
        asked.append(method)
        return await call(self, ref, method, *args, **kwargs)

    monkeypatch.setattr(Caller, "call", counted)

    async def use(client):
        pool = await QueuePool(client, name=name)
        jobs = await asyncio.gather(*(pool.submit(double, number) for number in range(500)))
        assert len(set(jobs)) == 500
        return [job.place.sequence for job in jobs]

    assert run_async(cluster, use) == list(range(500))
    assert asked.count("put") < 20
