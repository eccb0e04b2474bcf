"""Functions that know their pool: `@pool.task`."""

from __future__ import annotations

import asyncio
import importlib
import pickle
import sys

import cloudpickle
import pytest
from distributed import Client

from daskqueue import QueuePool

MODULE = """
import threading

made_here = threading.Lock()  # cannot be pickled: this module has to be imported


def triple(number):
    with made_here:
        return 3 * number


def decorate(pool):
    global triple
    triple = pool.task(retries=1)(triple)
"""


def import_tasks(path, pool):
    """Import the module of a user, which makes its function a task of the pool."""
    sys.path.insert(0, path)
    module = importlib.import_module("users_tasks")
    module.decorate(pool)
    return module


def forget_tasks(path):
    sys.path.remove(path)
    del sys.modules["users_tasks"]


def test_a_task_runs_here_or_there(make):
    pool = make.queues()
    make.consumers(pool)

    @pool.task
    def add(a, b=2):
        """Add."""
        return a + b

    assert (add(1), add.__name__, add.__doc__) == (3, "add", "Add.")
    assert pickle.loads(cloudpickle.dumps(add))(1) == 3
    assert add.submit(1, b=5).result(timeout=20) == 6
    assert pool.gather(add.map([1, 2, 3], b=1), timeout=20) == [2, 3, 4]
    assert pool.submit(add, 1).result(timeout=20) == 3
    assert pool.gather(pool.batch_submit([(add, 4)]), timeout=20) == [6]
    assert "add" in repr(add)
    assert pool.name in repr(add)


def test_its_options_are_those_of_its_messages(make):
    pool = make.queues()
    make.consumers(pool)

    @pool.task(retries=2, backoff="1ms")
    def fail():
        raise ValueError("no")

    assert isinstance(fail.submit().exception(timeout=20), ValueError)
    assert isinstance(fail.options(retries=0).submit().exception(timeout=20), ValueError)
    attempts = sorted(letter.attempts for letter in pool.dead.list())
    assert attempts == [1, 3]


def test_a_task_may_submit_itself(make):
    pool = make.queues()
    make.consumers(pool)

    @pool.task
    def count_down(number):
        if number:
            count_down.submit(number - 1)
        return number

    count_down.submit(3)
    pool.drain(timeout=30)
    assert pool[0].status()["enqueued"] == 4


def test_an_async_task(make):
    pool = make.queues()
    make.consumers(pool)

    @pool.task(priority=1)
    async def later(number):
        await asyncio.sleep(0)
        return 2 * number

    assert later.submit(4).result(timeout=20) == 8
    assert asyncio.run(later(4)) == 8


def test_an_importable_task_travels_as_its_name(make, client, tmp_path):
    (tmp_path / "users_tasks.py").write_text(MODULE)
    pool = make.queues(durable=True)
    users_tasks = import_tasks(str(tmp_path), pool)
    client.run(lambda path, pool: bool(import_tasks(path, pool)), str(tmp_path), pool)
    try:
        make.consumers(pool)
        assert users_tasks.triple.submit(2).result(timeout=20) == 6
        assert users_tasks.triple.options(priority=1).submit(3).result(timeout=20) == 9
        with pool.batching():
            jobs = [users_tasks.triple.submit(number) for number in range(5)]
        assert pool.gather(jobs, timeout=20) == [0, 3, 6, 9, 12]
    finally:
        client.run(forget_tasks, str(tmp_path))
        forget_tasks(str(tmp_path))


def test_mistakes_are_heard_where_they_are_made(make):
    pool = make.queues()
    with pytest.raises(TypeError, match="task wants a function"):
        pool.task(3)
    with pytest.raises(ValueError, match="retries is -1"):
        pool.task(retries=-1)
    with pytest.raises(TypeError, match="no option 'colour'"):
        pool.task(colour="red")
    with pytest.raises(TypeError, match="no option 'colour'"):
        pool.task(abs).options(colour="red")


def test_a_task_of_an_asynchronous_pool(cluster, name):
    async def main():
        async with Client(
            cluster.scheduler_address, asynchronous=True, direct_to_workers=True, set_as_default=False
        ) as client:
            pool = await QueuePool(client, name=name)

            @pool.task(delay="1h")
            def add(a, b):
                return a + b

            job = await add.submit(1, 2)
            assert await job.cancel()
            await pool.close()

    asyncio.run(main())
