"""Waiting until a pool is empty, and saying why it will not be."""

from __future__ import annotations

import asyncio
import threading

import pytest
from distributed import Client

from daskqueue import QueuePool
from daskqueue.errors import ConsumersNotStartedError, WaitTimeoutError


def double(number):
    return 2 * number


@pytest.fixture
def impatient(monkeypatch):
    """Looks at once, and gives up soon."""
    monkeypatch.setattr("daskqueue.looking.draining.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("daskqueue.looking.draining.ALONE_SECONDS", 0.2)


def test_an_empty_pool_is_drained(make):
    assert make.queues(2).drain() is None


def test_a_drain_returns_when_all_is_settled(make, gate, durable):
    pool = make.queues(2, durable)
    make.consumers(pool, 2)
    jobs = [pool.submit(gate.wait, number) for number in range(3)]
    gate.expect()
    draining = threading.Thread(target=pool.drain)
    draining.start()
    gate.let(3)
    draining.join(timeout=30)
    assert not draining.is_alive()
    assert all(job.done() for job in jobs)


def test_a_drain_says_what_is_left(make, log_lines):
    pool = make.queues(2)
    pool.map(double, range(5), batch_size=1)
    pool.options(delay="1h").submit(double, 1)
    with pytest.raises(WaitTimeoutError, match=r"was not empty after 0\.1 s: 5 waiting, 1 delayed"):
        pool.drain(timeout="100ms")
    with pytest.raises(ValueError, match="timeout is 'soon'"):
        pool.drain(timeout="soon")


def test_a_drain_that_nobody_works_for_is_refused(make, impatient, log_lines):
    pool = make.queues()
    pool.submit(double, 1)
    with pytest.raises(ConsumersNotStartedError, match=r"nobody consumes .* \(1 waiting\)"):
        pool.drain()
    assert any("Draining pool" in line and "1 waiting" in line for line in log_lines())


def test_a_drain_of_a_paused_pool_is_refused(make, impatient):
    pool = make.queues()
    make.consumers(pool)
    pool.pause()
    pool.submit(double, 1)
    with pytest.raises(ConsumersNotStartedError, match="paused"):
        pool.drain()
    pool.resume()
    pool.drain()


def test_a_drain_goes_on_while_somebody_works(make, impatient, gate):
    pool = make.queues()
    make.consumers(pool)
    pool.submit(gate.wait, 1)
    gate.expect()
    over = threading.Event()

    def drain():
        pool.drain()
        over.set()

    threading.Thread(target=drain, daemon=True).start()
    assert not over.wait(1.0), "one runs, so somebody works"
    gate.let()
    assert over.wait(20)


def test_what_lingers_is_drained_too(make):
    pool = make.queues(linger="1h")
    make.consumers(pool)
    job = pool.submit(double, 1)
    pool.drain(timeout=30)
    assert job.result(timeout=10) == 2


def test_a_drain_with_an_asynchronous_client(cluster, name):
    async def main():
        async with Client(
            cluster.scheduler_address, asynchronous=True, direct_to_workers=True, set_as_default=False
        ) as client:
            pool = await QueuePool(client, name=name)
            await pool.drain()
            await pool.submit(double, 1)
            with pytest.raises(WaitTimeoutError):
                await pool.drain(timeout=0.05)
            assert await pool.purge() == 1
            await pool.drain()
            await pool.close()

    asyncio.run(main())
