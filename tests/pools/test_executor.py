"""A pool where a ``concurrent.futures.Executor`` is wanted."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading

import pytest
from clusters import until
from joblib import Parallel, delayed, parallel_config, register_parallel_backend
from joblib.parallel import ParallelBackendBase

from daskqueue import ConsumerPool, QueuePool
from daskqueue.errors import BatchError, QueueFullError

from .test_as_completed import double, fail, run_async


def add(left, *, right):
    return left + right


def test_calls_are_submitted_and_their_results_are_futures(make, durable):
    pool = make.queues(2, durable)
    make.consumers(pool, 2)
    with pool.get_executor() as executor:
        futures = [executor.submit(double, number) for number in range(200)]
        keyword = executor.submit(add, 1, right=2)
        bad = executor.submit(fail, "bad")
        assert isinstance(bad, concurrent.futures.Future)
        assert [future.result(timeout=30) for future in futures] == [2 * n for n in range(200)]
        assert keyword.result(timeout=30) == 3
        with pytest.raises(ValueError, match="bad"):
            bad.result(timeout=30)
        assert isinstance(bad.exception(), ValueError)
        assert "raise ValueError" in bad.job.traceback()
        done, _ = concurrent.futures.wait([*futures, bad], timeout=30)
        assert len(done) == 201
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(double, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(double, [1])


def test_states_are_those_of_the_message(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool, batch_size=1)
    executor = pool.get_executor()
    running = executor.submit(gate.wait, "ran")
    gate.expect()
    waiting = executor.submit(double, 1)
    waiting.job.submitted(timeout=10)
    assert running.running()
    assert not running.done()
    assert not running.cancel()
    assert waiting.cancel()
    assert waiting.cancelled()
    assert waiting.done()
    with pytest.raises(concurrent.futures.CancelledError):
        waiting.result()
    assert waiting.cancel()
    done, _ = concurrent.futures.wait([waiting], timeout=30)
    assert done == {waiting}
    gate.let()
    concurrent.futures.wait([running], timeout=30)
    assert not running.running()
    executor.shutdown()
    consumers.cancel()


def test_a_job_that_somebody_else_cancels_is_a_cancelled_future(make):
    pool = make.queues()
    executor = pool.get_executor()
    future = executor.submit(double, 1)
    told = threading.Event()
    future.add_done_callback(lambda _: told.set())
    assert pool.cancel([future.job.submitted()]) == 1
    assert told.wait(30)
    assert future.cancelled()
    executor.shutdown()


def test_callbacks_may_submit_and_wait(make):
    """They run in a thread that may block, not on the event loop."""
    pool = make.queues()
    make.consumers(pool)
    found = concurrent.futures.Future()
    with pool.get_executor() as executor:
        first = executor.submit(double, 1)
        first.add_done_callback(
            lambda future: found.set_result(pool.submit(double, future.result()).result(20))
        )
        assert found.result(timeout=30) == 4


def test_map_gives_results_in_order(make):
    pool = make.queues(2)
    make.consumers(pool, 2)
    with pool.get_executor() as executor:
        assert list(executor.map(double, range(500), chunksize=7)) == [2 * n for n in range(500)]
        assert list(executor.map(max, [1, 5], [4, 2], timeout=30)) == [4, 5]
        failing = executor.map(fail, ["first", "second"], timeout=30)
        with pytest.raises(ValueError, match="first"):
            next(failing)
        assert list(executor.map(double, [])) == []
        with pytest.raises(ValueError, match="chunksize"):
            executor.map(double, [1], chunksize=0)


def test_map_gives_up_in_time_and_cancels_what_waits(make):
    pool = make.queues()
    executor = pool.get_executor()
    results = executor.map(double, range(10), timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    assert pool[0].qsize() == 0
    executor.shutdown()


def test_shutdown_can_drop_what_waits_and_then_waits_for_the_rest(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool, batch_size=1)
    executor = pool.get_executor()
    running = executor.submit(gate.wait, "ran")
    gate.expect()
    waiting = [executor.submit(double, number) for number in range(5)]
    executor.map(double, range(5))
    for future in waiting:
        future.job.submitted(timeout=10)
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    assert pool[0].qsize() == 1
    gate.let()
    executor.shutdown()
    assert running.done()
    assert running.result() == "ran"
    consumers.cancel()


def test_a_call_that_was_not_put_is_an_error_and_hinders_no_shutdown(make):
    pool = make.queues(1, max_messages=2, overflow="raise")
    executor = pool.get_executor()
    waiting = [executor.submit(double, number) for number in range(2)]
    for future in waiting:
        future.job.submitted(timeout=30)
    refused = executor.submit(double, 2)
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    assert isinstance(refused.exception(timeout=0), QueueFullError)


def test_what_cannot_be_pickled_is_an_error_of_its_own_call(make):
    pool = make.queues()
    make.consumers(pool)
    with pool.get_executor() as executor:
        good = executor.submit(double, 1)
        with pytest.raises(BatchError):
            executor.submit(double, threading.Lock()).result(timeout=30)
        assert good.result(timeout=30) == 2


def test_its_thread_is_there_only_while_futures_are_pending(make):
    pool = make.queues()
    make.consumers(pool)
    executor = pool.get_executor()
    for number in range(3):
        assert executor.submit(double, number).result(timeout=30) == 2 * number
    until(lambda: executor._thread is None)
    executor.shutdown()


def test_options_go_with_every_call(make):
    pool = make.queues()
    with pool.get_executor(delay=60) as executor:
        future = executor.submit(double, 1)
        assert future.job.submitted().status == "pending"
        assert future.cancel()


def test_futures_of_a_pool_that_is_closed_say_so(make):
    pool = make.queues()
    executor = pool.get_executor()
    future = executor.submit(double, 1)
    future.job.submitted()
    pool.close()
    with pytest.raises(Exception, match="closed"):
        future.result(timeout=30)


def test_run_in_executor_of_another_loop(make):
    pool = make.queues()
    make.consumers(pool)

    async def main(executor):
        loop = asyncio.get_running_loop()
        calls = (loop.run_in_executor(executor, functools.partial(add, n, right=1)) for n in range(20))
        return await asyncio.gather(*calls)

    with pool.get_executor() as executor:
        assert asyncio.run(main(executor)) == list(range(1, 21))


def test_run_in_executor_with_an_asynchronous_client(cluster, name):
    async def use(client):
        pool = await QueuePool(client, name=name)
        consumers = ConsumerPool(client, pool)
        await consumers.start()
        executor = pool.get_executor()
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(executor, double, number) for number in range(20)]
        assert await asyncio.gather(*calls) == [2 * number for number in range(20)]
        late = pool.get_executor(delay=60)
        future = late.submit(double, 1)
        await future.job.submitted()
        assert not future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wrap_future(future)
        with pytest.raises(RuntimeError, match=r"await pool\.map"):
            executor.map(double, [1])
        pending = late.submit(double, 2)
        await pending.job.submitted()
        with pytest.raises(RuntimeError, match="wait=False"):
            late.shutdown()
        late.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wrap_future(pending)
        executor.shutdown()
        await consumers.cancel()

    run_async(cluster, use)


class QueueBackend(ParallelBackendBase):
    """All that joblib needs to run over an executor."""

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, executor=None, **options):
        super().__init__(**options)
        self._executor = executor

    def effective_n_jobs(self, n_jobs):
        return 2

    def submit(self, func, callback=None):
        future = self._executor.submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out):
        return out.result()


register_parallel_backend("daskqueue-test", QueueBackend)


def test_joblib_runs_over_an_executor(make):
    pool = make.queues(2)
    make.consumers(pool, 2)
    with pool.get_executor() as executor, parallel_config("daskqueue-test", executor=executor):
        numbers = Parallel(n_jobs=2)(delayed(double)(number) for number in range(50))
        assert numbers == [2 * number for number in range(50)]
        lazy = Parallel(n_jobs=2, return_as="generator")(delayed(double)(number) for number in range(9))
        assert list(lazy) == list(range(0, 18, 2))
        with pytest.raises(ValueError, match="in joblib"):
            Parallel(n_jobs=2)([delayed(fail)("in joblib")])
