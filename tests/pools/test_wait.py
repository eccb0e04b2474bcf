"""``daskqueue.wait``: until jobs have ended, whatever has become of them."""

from __future__ import annotations

import pytest

from daskqueue import ConsumerPool, QueuePool, wait
from daskqueue.errors import WaitTimeoutError

from .test_as_completed import double, fail, run_async


def test_wait_returns_when_all_have_ended(make):
    pool = make.queues(2)
    jobs = [pool.submit(double, 1), pool.submit(fail, "bad"), pool.submit(double, 3)]
    assert jobs[2].cancel()
    make.consumers(pool, 2)
    done, not_done = wait(jobs, timeout=30)
    assert done == set(jobs)
    assert not_done == set()
    assert sorted(job.status for job in done) == ["cancelled", "error", "finished"]


def test_wait_returns_when_the_first_has_ended(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool, 2)
    slow = pool.submit(gate.wait)
    gate.expect()
    fast = pool.submit(double, 1)
    waited = wait([slow, fast], 30, "FIRST_COMPLETED")
    assert waited.done == {fast}
    assert waited.not_done == {slow}
    gate.let()
    assert wait([slow, fast]).not_done == set()
    consumers.cancel()


def test_wait_gives_up_in_time(make):
    pool = make.queues()
    with pytest.raises(WaitTimeoutError):
        wait(pool.map(double, range(3)), timeout="50ms")
    with pytest.raises(ValueError, match='choose "ALL_COMPLETED" or "FIRST_COMPLETED"'):
        wait([], return_when="FIRST")
    assert wait([]) == (set(), set())


def test_wait_is_awaited_with_an_asynchronous_client(cluster, name):
    async def use(client):
        pool = await QueuePool(client, name=name)
        consumers = ConsumerPool(client, pool)
        await consumers.start()
        jobs = await pool.map(double, range(10))
        done, not_done = await wait(jobs, timeout=30)
        assert (len(done), len(not_done)) == (10, 0)
        first = await wait(jobs, return_when="FIRST_COMPLETED")
        assert len(first.done) + len(first.not_done) == 10
        assert await wait([]) == (set(), set())
        await consumers.cancel()

    run_async(cluster, use)
