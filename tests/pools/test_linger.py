"""Single submits that linger: they return at once, share record batches, and are durable when their wait says so."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading

import pytest
from clusters import Cluster
from distributed import Client

from daskqueue import QueuePool
from daskqueue.errors import BatchError, DuplicateKeyError, QueueFullError, QueueLostError


def double(number):
    return 2 * number


def on_its_way(job):
    return job.coming is not None


def sizes(pool):
    return sum(pool.get_queue_size().values())


def test_a_submit_that_lingers_gives_its_result(make, durable):
    pool = make.queues(2, durable, linger="5ms")
    make.consumers(pool, 2)
    jobs = [pool.submit(double, number) for number in range(2500)]
    assert jobs[7].result(timeout=30) == 14
    assert pool.gather(jobs, timeout=30) == [2 * number for number in range(2500)]
    assert len({job.id for job in jobs}) == 2500


def test_a_block_is_durable_at_its_end(make, durable):
    pool = make.queues(2, durable)
    with pool.batching() as same:
        assert same is pool
        jobs = [pool.submit(double, number) for number in range(1500)]
    assert not any(on_its_way(job) for job in jobs)
    assert sizes(pool) == 1500
    before = sizes(pool)
    assert not on_its_way(pool.submit(double, 1)), "the block is over"
    assert sizes(pool) == before + 1


def test_submits_share_record_batches(make):
    pool = make.queues(1)
    with pool.batching():
        jobs = [pool.submit(double, number) for number in range(100)]
    assert len({job.coming or "put" for job in jobs}) == 1
    assert [job.place.sequence for job in jobs] == list(range(100)), "in their order"


def test_options_count_in_a_block(make):
    pool = make.queues()
    with pool.batching():
        late = pool.options(delay="1h").submit(double, 1)
        pool.submit(double, 2)
    assert late.status == "pending"
    status = pool[0].status()
    assert (status["ready"], status["delayed"]) == (1, 1)


def test_a_result_can_be_waited_for_in_the_block(make):
    pool = make.queues()
    make.consumers(pool)
    with pool.batching():
        assert pool.submit(double, 4).result(timeout=20) == 8


def test_only_this_thread_is_in_the_block(make):
    pool = make.queues()
    elsewhere = []
    with pool.batching():
        thread = threading.Thread(target=lambda: elsewhere.append(on_its_way(pool.submit(double, 1))))
        thread.start()
        thread.join(timeout=20)
    assert elsewhere == [False]


def test_only_this_pool_is_in_the_block(make, name):
    pool, other = make.queues(), make.queues(name=f"{name}-other")
    with pool.batching():
        assert not on_its_way(other.submit(double, 1))
        with other.batching():
            first, second = pool.submit(double, 1), other.submit(double, 2)
        assert not on_its_way(second)
    assert first.id != second.id or first.pool_id != second.pool_id


def test_what_comes_after_in_bulk_is_put_after(make):
    pool = make.queues()
    with pool.batching():
        first = pool.submit(double, 1)
        later = pool.map(double, [2, 3])
    assert first.place.sequence < later[0].place.sequence


def test_a_put_that_fails_is_heard_from_its_job_and_from_the_block(make):
    pool = make.queues(max_messages=3, overflow="raise")
    for number in range(3):
        pool.submit(double, number)
    with pytest.raises(QueueFullError), pool.batching():
        job = pool.submit(double, 3)
    with pytest.raises(QueueFullError):
        job.result(timeout=10)
    assert sizes(pool) == 3
    lingering = pool.options(linger="1ms")
    lingering.submit(double, 4)
    with pytest.raises(QueueFullError):
        lingering.flush()
    lingering.flush()


def test_what_was_submitted_before_an_error_in_the_block_is_put(make):
    pool = make.queues()
    with pytest.raises(ZeroDivisionError), pool.batching():
        pool.submit(double, 1 / (len([pool.submit(double, 1)]) - 1))
    assert sizes(pool) == 1


def test_a_call_that_cannot_be_is_heard_at_once(make):
    pool = make.queues()
    with pool.batching():
        with pytest.raises(BatchError, match="pickled"):
            pool.submit(double, (x for x in ()))
        with pytest.raises(TypeError, match="wants a function"):
            pool.submit(3)
        pool.submit(double, 1)
    assert sizes(pool) == 1


def test_a_taken_key_is_heard_from_the_job(make):
    pool = make.queues(2).options(key="a", on_conflict="raise")
    first = pool.submit(double, 1)
    lingering = pool.options(linger="1ms")
    with pytest.raises(DuplicateKeyError) as caught:
        lingering.submit(double, 2).result(timeout=10)
    assert caught.value.job == first
    assert pool.options(linger="1ms", on_conflict="return").submit(double, 3) == first


def test_a_small_queue_takes_a_block_as_there_is_room(make):
    pool = make.queues(max_messages=10)
    make.consumers(pool)
    with pool.batching():
        jobs = [pool.submit(double, number) for number in range(500)]
    assert pool.gather(jobs, timeout=30) == [2 * number for number in range(500)]


def test_closing_sends_what_lingers(make, client):
    pool = make.queues(durable=True, linger="1h")
    pool.submit(double, 1)
    assert sizes(pool) == 0
    pool.close()
    assert sizes(make.queues(durable=True)) == 1
    with pytest.raises(QueueLostError, match="closed"):
        pool.submit(double, 2)


def test_who_drops_the_pool_does_not_drop_what_lingers(make, client, name, tmp_path):
    folder = {"durability": "durable", "dirpath": tmp_path / "queues", "name": name}
    pool = QueuePool(client, linger="50ms", **folder)
    pool.submit(double, 1)
    placed = next(iter(pool.connection.lingering._piles.values())).placed
    del pool
    placed.result(timeout=20)
    assert sizes(QueuePool(client, **folder)) == 1


def test_the_end_of_the_process_sends_what_lingers(cluster, make, name, tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from distributed import Client
        from daskqueue import QueuePool
        client = Client(sys.argv[1])
        pool = QueuePool(client, durability="durable", dirpath=sys.argv[2], name=sys.argv[3], linger="1h")
        for number in range(50):
            pool.submit(abs, number)
        """
    )
    folder = str(tmp_path / "queues")
    subprocess.run(
        [sys.executable, "-c", script, cluster.scheduler_address, folder, name],
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert sizes(make.queues(durable=True)) == 50


def test_a_task_may_linger_too(make):
    pool = make.queues()
    make.consumers(pool)

    def fan_out(pool, count):
        with pool.batching():
            jobs = [pool.submit(double, number) for number in range(count)]
        return [job.id for job in jobs]

    ids = pool.submit(fan_out, pool, 20).result(timeout=30)
    assert [pool.job(job_id).result(timeout=30) for job_id in ids] == [2 * number for number in range(20)]


def test_lingering_submits_outlive_their_queues_worker(name, tmp_path):
    with Cluster(n_workers=2) as cluster, cluster.connect() as client:
        pool = QueuePool(client, 2, durability="durable", dirpath=tmp_path / "queues", name=name)
        with pool.batching():
            before = [pool.submit(double, number) for number in range(300)]
            client.restart()
            after = [pool.submit(double, number) for number in range(300)]
        assert sizes(pool) == 600
        assert len({job.id for job in [*before, *after]}) == 600
        pool.close()


def test_an_asynchronous_pool_lingers(cluster, name):
    async def main():
        async with Client(
            cluster.scheduler_address, asynchronous=True, direct_to_workers=True, set_as_default=False
        ) as client:
            pool = await QueuePool(client, name=name, linger="5ms")
            jobs = [await pool.submit(double, number) for number in range(1500)]
            assert on_its_way(jobs[-1])
            await pool.flush()
            assert not any(on_its_way(job) for job in jobs)
            plain = await QueuePool(client, name=f"{name}-plain")
            async with plain.batching():
                job = await plain.submit(double, 1)
                assert on_its_way(job)
            assert not on_its_way(job)
            lingering = pool.options(linger="1h")
            await lingering.submit(double, 1)
            await lingering.flush()
            sizes = (await pool.get_queue_size(), await plain.get_queue_size())
            await pool.close()
            return [sum(size.values()) for size in sizes]

    assert asyncio.run(main()) == [1501, 1]
