"""A pool of the test kit does what a pool on a cluster does, when it is told to."""

from __future__ import annotations

import asyncio
import pickle
import threading
from operator import add, truediv

import pytest
from clusters import until

from daskqueue import (
    ConsumerBaseClass,
    ConsumerPool,
    Middleware,
    QueuePool,
    as_completed,
    current,
    testing,
)
from daskqueue.errors import BatchError, QueueFullError, QueueLostError, WaitTimeoutError
from daskqueue.testing import loop_thread

START = 1_800_000_000.0


@pytest.fixture
def pool():
    """A pool of two queues in this process."""
    with testing.pool(2, now=START) as made:
        yield made


def test_it_is_a_queue_pool(pool):
    assert isinstance(pool, QueuePool)
    assert len(pool) == 2


def test_nothing_runs_before_it_is_told_to(pool):
    ran = []
    job = pool.submit(ran.append, 1)
    assert (job.status, job.done()) == ("pending", False)
    assert pool.run_all() == 1
    assert (job.status, job.done()) == ("finished", True)


def test_run_one_runs_one_and_says_whether_there_was_one(pool):
    jobs = pool.map(add, range(2), range(2), batch_size=1)
    assert pool.run_one() is True
    assert [job.done() for job in jobs] == [True, False]
    assert [pool.run_one(), pool.run_one()] == [True, False]
    assert pool.gather(jobs) == [0, 2]


def test_one_queue_runs_in_the_order_of_the_submits():
    seen = []

    class Notes(ConsumerBaseClass):
        def process_item(self, item):
            seen.append(item)

    with testing.pool(consumer_class=Notes) as pool:
        pool.put_many(range(50), batch_size=7)
        assert pool.run_all() == 50
    assert seen == list(range(50))


def test_tasks_run_in_the_thread_that_asks(pool):
    job = pool.submit(threading.get_ident)
    pool.run_all()
    assert job.result() == threading.get_ident()


def count_down(pool, number):
    """Submit a call of itself, as long as there is something to count."""
    if number:
        pool.submit(count_down, pool, number - 1)


def test_a_task_may_be_handed_the_pool_and_what_it_submits_runs_too(pool):
    pool.options(retries=3).submit(count_down, pool, 3)
    assert pool.run_all() == 4


def test_a_view_with_other_options_runs_the_same_messages(pool):
    view = pool.options(retries=3)
    job = view.submit(add, 1, 2)
    assert (pool.run_all(), view.run_all(), job.result()) == (1, 0, 3)


def test_a_job_that_went_through_pickle_is_the_same_job(pool):
    job = pool.options(delay=0).submit(add, 1, 2)
    again = pickle.loads(pickle.dumps(job))
    pool.run_all()
    assert (again == job, again.result()) == (True, 3)


def test_arguments_cross_the_codec_as_on_a_cluster(pool):
    given = [1]
    job = pool.submit(list.append, given, 2)
    pool.run_all()
    assert (job.result(), given) == (None, [1])
    with pytest.raises(BatchError):
        pool.submit(add, threading.Lock(), 1)


def test_a_failing_task_waits_out_its_back_off_and_ends_as_a_dead_letter(pool):
    job = pool.options(retries=1).submit(truediv, 1, 0)
    assert (pool.run_all(), pool.run_all(), job.status) == (1, 0, "pending")
    pool.clock.advance("1s")
    assert (pool.run_all(), job.status) == (1, "error")
    assert isinstance(job.exception(), ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        job.result()


def test_a_delayed_message_is_due_when_the_clock_says_so(pool):
    job = pool.options(delay="1h").submit(add, 1, 2)
    pool.clock.advance("59m")
    assert pool.run_all() == 0
    pool.clock.advance("1m")
    assert (pool.run_all(), job.result()) == (1, 3)
    assert pool.clock.now() == START + 3600


def test_run_all_can_let_time_pass_by_itself(pool):
    late, failing = (
        pool.options(delay="1 day").submit(add, 1, 2),
        pool.options(retries=9).submit(truediv, 1, 0),
    )
    assert pool.run_all(delayed=True) == 11
    assert (late.result(), failing.status) == (3, "error")
    assert pool.clock.now() >= START + 86400


def test_a_wait_that_would_never_end_says_what_to_do(pool, monkeypatch):
    monkeypatch.setattr(loop_thread, "STUCK_SECONDS", 0.1)
    job = pool.submit(add, 1, 2)
    for wait in (job.result, lambda: pool.gather([job])):
        with pytest.raises(WaitTimeoutError, match="run_all"):
            wait()
    pool.run_all()
    assert job.result() == 3


def test_a_time_out_of_the_caller_ends_a_wait_as_it_would_elsewhere(pool):
    with pytest.raises(WaitTimeoutError, match="not done after"):
        pool.submit(add, 1, 2).result(timeout=0.01)


def test_another_thread_may_wait_for_what_this_one_runs(pool):
    job, results = pool.submit(add, 1, 2), []
    waiter = threading.Thread(target=lambda: results.append(job.result(timeout=30)))
    waiter.start()
    pool.run_all()
    waiter.join()
    assert results == [3]


def test_a_cancelled_message_does_not_run(pool):
    job, other = pool.submit(add, 1, 2), pool.submit(add, 3, 4)
    assert job.cancel() is True
    assert (pool.run_all(), job.status, other.result()) == (1, "cancelled", 7)


def test_a_full_queue_refuses_when_its_time_is_over():
    with testing.pool(max_messages=1) as pool:
        pool.submit(add, 1, 2)
        with pytest.raises(QueueFullError):
            pool.options(put_timeout=0).submit(add, 1, 2)
        pool.run_all()
        pool.submit(add, 1, 2)


def test_coroutine_functions_are_awaited(pool):
    async def later(value):
        await asyncio.sleep(0)
        return value

    job = pool.submit(later, 3)
    pool.run_all()
    assert job.result() == 3


def test_what_lies_in_a_folder_is_there_again(tmp_path):
    with testing.pool(dirpath=tmp_path, fsync="never") as pool:
        done, waiting = pool.submit(add, 1, 2), pool.submit(add, 3, 4)
        pool.run_one()
    with testing.pool(dirpath=tmp_path, fsync="never") as again:
        assert again.run_all() == 1
        assert again.pool_id == pool.pool_id
        assert [type(job)(again, job.id).result() for job in (done, waiting)] == [3, 7]


def test_consumers_may_run_beside_it(pool):
    consumers = ConsumerPool(pool.client, pool, n_consumers=2)
    consumers.start()
    assert pool.gather(pool.map(add, range(9), range(9), batch_size=2)) == list(range(0, 18, 2))
    consumers.join()
    assert sum(map(len, consumers.results().values())) == 9


def test_a_closed_pool_says_so_and_leaves_no_thread(pool):
    before = set(threading.enumerate())
    with testing.pool() as other:
        other.submit(add, 1, 2)
        other.run_all()
    other.close()
    with pytest.raises(QueueLostError, match="closed"):
        other.submit(add, 1, 2)
    until(lambda: set(threading.enumerate()) <= before, seconds=30)


def test_options_are_checked_as_on_a_cluster():
    before = set(threading.enumerate())
    with pytest.raises(ValueError, match="retries"):
        testing.pool(retries=-1)
    with pytest.raises(TypeError, match="colour"):
        testing.pool(colour="red")
    assert set(threading.enumerate()) == before


def test_the_same_pool_for_asynchronous_code():
    async def story():
        async with testing.pool(asynchronous=True, now=START) as pool:
            job, late = await pool.submit(add, 1, 2), await pool.options(delay=5).submit(add, 3, 4)
            assert (await pool.run_one(), await job) == (True, 3)
            await pool.clock.advance("5s")
            assert (await pool.run_all(), await late) == (1, 7)
            jobs = await pool.map(add, range(3), range(3))
            assert await pool.run_all(delayed=True) == 3
            return await pool.gather(jobs)

    assert asyncio.run(story()) == [0, 2, 4]


def test_a_duration_that_cannot_be_moves_no_clock(pool):
    with pytest.raises(ValueError, match="duration"):
        pool.clock.advance("soon")
    with pytest.raises(ValueError, match="duration"):
        pool.clock.advance(-1)
    assert pool.clock.now() == START


def test_single_submits_may_linger(pool):
    with pool.batching():
        jobs = [pool.submit(abs, -number) for number in range(100)]
    lingering = pool.options(linger="1ms")
    jobs += [lingering.submit(abs, -number) for number in range(100)]
    lingering.flush()
    assert pool.run_all() == 200
    assert sum(pool.gather(jobs)) == 9900


def test_looking_pausing_and_draining(pool):
    jobs = pool.map(abs, [-1, -2, -3])
    pool.pause()
    assert pool.run_all() == 0
    assert sorted(waiting.args[0] for waiting in pool.peek(10)) == [-3, -2, -1]
    assert pool.stats().total["messages"]["ready"] == 3
    assert jobs[0].cancel()
    assert pool.purge() == 2
    pool.resume()
    pool.drain()


def test_an_executor_and_a_lazy_map(pool):
    runs = threading.Event()

    def run():
        while not runs.wait(0.001):
            pool.run_all()

    runner = threading.Thread(target=run)
    runner.start()
    try:
        with pool.get_executor() as executor:
            assert list(executor.map(abs, [-1, -2])) == [1, 2]
        mapped = pool.map(abs, range(50), window=5)
        assert sorted(value for _, value in as_completed(mapped, with_results=True)) == list(range(50))
    finally:
        runs.set()
        runner.join()


def test_a_task_function_is_the_pools_own(pool):
    @pool.task(retries=2)
    def half(number: int) -> float:
        return number / 2

    job = half.submit(3)
    assert (pool.run_all(), job.result(), half(5)) == (1, 1.5, 2.5)


def test_resources_and_middleware_are_those_of_consumers():
    seen, closed = [], []

    class Told(Middleware):
        def before_run(self, message):
            seen.append(message.args)

        def on_stop(self, consumer):
            closed.append(consumer.resources["db"])

    with testing.pool(middleware=[Told()], resources={"db": lambda: "opened"}) as pool:
        job = pool.submit(resource, "db")
        pool.run_all()
        assert job.result() == "opened"
    assert (seen, closed) == ([("db",)], ["opened"])


def resource(name):
    """Return a resource of the consumer."""
    return current().resources[name]


def test_a_running_task_hears_that_it_is_cancelled(pool):
    job = pool.submit(until_cancelled, pool)
    assert pool.run_all() == 1
    assert job.status == "cancelled"


def until_cancelled(pool):
    """Ask for its own end, and wait for it."""
    pool.job(current().id).cancel()
    while True:
        current().raise_if_cancelled()
