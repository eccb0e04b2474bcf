"""Jobs in the order in which they end."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time

import pytest
from distributed import Client

from daskqueue import ConsumerPool, QueuePool, as_completed
from daskqueue.actors.caller import Caller
from daskqueue.errors import JobCancelledError, WaitTimeoutError


def double(number):
    return 2 * number


def fail(text):
    raise ValueError(text)


@pytest.fixture
def asked(monkeypatch):
    """The verbs that this process has called queues with, in order."""
    verbs = []
    call = Caller.call

    async def counted(self, ref, method, *args, **kwargs):
        verbs.append(method)
        return await call(self, ref, method, *args, **kwargs)

    monkeypatch.setattr(Caller, "call", counted)
    return verbs


def test_jobs_come_when_they_end_and_are_the_ones_that_were_given(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool, 2)
    slow = pool.submit(gate.wait, "slow")
    gate.expect()
    fast = pool.submit(double, 1)
    completed = as_completed([slow, fast])
    assert next(completed) is fast
    assert completed.count() == 1
    assert not completed.has_ready()
    gate.let()
    assert list(completed) == [slow]
    assert completed.is_empty()
    assert [slow.result(), fast.result()] == ["slow", 2]
    consumers.cancel()


def test_results_come_with_their_jobs(make, durable):
    pool = make.queues(2, durable)
    make.consumers(pool, 2)
    jobs = pool.map(double, range(500), batch_size=20)
    found = dict(as_completed(jobs, with_results=True, timeout=30))
    assert found == {job: 2 * number for number, job in enumerate(jobs)}


def test_a_handle_that_came_knows_its_result_without_asking(make, asked):
    pool = make.queues(2)
    make.consumers(pool, 2)
    jobs = pool.map(double, range(300), batch_size=20)
    came = list(as_completed(jobs, timeout=30))
    before = len(asked)
    assert sorted(job.result() for job in came) == [2 * number for number in range(300)]
    assert len([verb for verb in asked[before:] if verb == "wait_settled"]) == 0
    assert repr(came[0]).startswith(f"<Job {came[0].id}: finished, message ")


def test_however_many_jobs_there_are_each_queue_has_one_long_poll(make, gate, asked):
    pool = make.queues(2)
    jobs = pool.map(gate.wait, range(400), batch_size=10)
    completed = as_completed(list(jobs))
    consumers = make.consumers(pool, 2)
    gate.let(400)
    assert sorted(job.result() for job in completed) == list(range(400))
    assert asked.count("wait_settled") < 100
    consumers.cancel()


def test_what_failed_is_raised_in_its_turn_and_the_iteration_goes_on(make):
    pool = make.queues()
    make.consumers(pool)
    jobs = pool.batch_submit([(double, 1), (fail, "middle"), (double, 3)])
    completed = as_completed(jobs, with_results=True, timeout=30)
    values, raised = [], []
    while not completed.is_empty():
        try:
            values.append(next(completed)[1])
        except ValueError as error:
            raised.append(str(error))
    assert sorted(values) == [2, 6]
    assert raised == ["middle"]


def test_errors_are_given_in_the_place_of_results_if_they_shall_not_be_raised(make):
    pool = make.queues()
    good, bad, dropped = pool.batch_submit([(double, 1), (fail, "bad"), (double, 3)])
    assert dropped.cancel()
    make.consumers(pool)
    found = dict(as_completed([good, bad, dropped], with_results=True, raise_errors=False, timeout=30))
    assert found[good] == 2
    assert isinstance(found[bad], ValueError)
    assert isinstance(found[dropped], JobCancelledError)
    assert dropped.status == "cancelled"


def test_without_results_nothing_is_raised(make):
    pool = make.queues()
    make.consumers(pool)
    (job,) = as_completed([pool.submit(fail, "quiet")], timeout=30)
    assert job.status == "error"


def test_more_jobs_can_be_added_on_the_way(make):
    pool = make.queues()
    make.consumers(pool)
    completed = as_completed([pool.submit(double, 1)], with_results=True, timeout=30)
    values = []
    for _, value in completed:
        values.append(value)
        if value < 50:
            completed.add(pool.submit(double, value))
    assert values == [2, 4, 8, 16, 32, 64]
    completed.update(pool.map(double, range(3)))
    assert sorted(value for _, value in completed) == [0, 2, 4]


def test_a_job_that_is_given_twice_comes_once_and_can_be_given_again_later(make):
    pool = make.queues()
    make.consumers(pool)
    job = pool.submit(double, 1)
    completed = as_completed([job, job], timeout=30)
    assert list(completed) == [job]
    completed.add(job)
    assert list(completed) == [job]


def test_batches_have_all_that_has_ended_by_then(make):
    pool = make.queues()
    make.consumers(pool)
    jobs = pool.map(double, range(200), batch_size=50)
    pool.gather(jobs, timeout=30)
    batches = list(as_completed(jobs, timeout=30).batches())
    assert sorted(job.result() for batch in batches for job in batch) == [2 * n for n in range(200)]
    assert len(batches) < 20
    completed = as_completed(jobs, with_results=True)
    assert len(completed.next_batch()) >= 1
    completed.clear()
    assert completed.is_empty()
    assert completed.next_batch(block=False) == []


def test_a_batch_ends_before_a_job_that_raises(make):
    pool = make.queues()
    make.consumers(pool)
    jobs = [*pool.map(double, range(5)), pool.submit(fail, "at the end")]
    pool.gather(jobs, timeout=30, errors="skip")
    completed = as_completed(jobs, with_results=True, timeout=30)
    given = []
    with pytest.raises(ValueError, match="at the end"):
        given.extend(pair for batch in completed.batches() for pair in batch)
    given += [pair for batch in completed.batches() for pair in batch]
    assert sorted(value for _, value in given) == [0, 2, 4, 6, 8]


def test_the_timeout_counts_from_the_beginning(make):
    pool = make.queues()
    job = pool.submit(double, 1)
    completed = as_completed([job], timeout=0.05)
    with pytest.raises(WaitTimeoutError, match=r"1 of 1 jobs were not done after 0\.05 s"):
        next(completed)
    with pytest.raises(TimeoutError):
        next(completed)
    with pytest.raises(ValueError, match="timeout"):
        as_completed([job], timeout="soon")


def test_jobs_of_several_pools_come_together(make):
    first, second = make.queues(), make.queues(name=f"{make.name}-other")
    make.consumers(first)
    make.consumers(second)
    jobs = [first.submit(double, 1), second.submit(double, 2), first.submit(double, 3)]
    assert sorted(value for _, value in as_completed(jobs, with_results=True, timeout=30)) == [2, 4, 6]


def test_what_is_no_job_is_refused(make):
    pool = make.queues()
    with pytest.raises(TypeError, match="no Job"):
        as_completed([pool.submit(double, 1), 5])


def test_an_iteration_that_is_left_leaves_nobody_waiting(make, asked):
    pool = make.queues()
    jobs = pool.map(double, range(10))
    completed = as_completed(jobs)
    watched = _watched(pool)
    assert watched() == 10
    del completed
    gc.collect()
    assert watched() == 0


def test_nobody_is_told_when_a_pool_is_closed_under_an_iteration(make):
    pool = make.queues()
    completed = as_completed(pool.map(double, range(3)))
    pool.close()
    with pytest.raises(Exception, match="closed"):
        next(completed)


def _watched(pool):
    """Return what counts the messages that the process watches."""

    async def count():
        polls = pool.connection.waiting._polls.values()
        return sum(run.count for poll in polls for watch in poll._watches for run in watch.runs)

    return lambda: pool.sync(count)


def test_many_jobs_take_seconds(make):
    """Far more than the work itself takes would be a call, or a look at all others, for each of them."""
    pool = make.queues(2)
    make.consumers(pool, 2)
    jobs = pool.map(double, range(50_000))
    began = time.monotonic()
    assert sum(value for _, value in as_completed(jobs, with_results=True)) == 50_000 * 49_999
    assert time.monotonic() - began < 30


def test_many_jobs_that_lie_apart_take_seconds(make):
    """Their results are in blobs together with those of others: to cut out each would take minutes."""
    pool = make.queues()
    make.consumers(pool, 2)
    jobs = pool.map(double, range(40_000))
    began = time.monotonic()
    assert sum(value for _, value in as_completed(jobs[::2], with_results=True)) == 2 * sum(
        range(0, 40_000, 2)
    )
    assert time.monotonic() - began < 30


# Lazy maps


def test_a_lazy_map_over_an_endless_iterable_has_never_more_than_its_window(make, durable):
    pool = make.queues(2, durable)
    make.consumers(pool, 2)
    taken = []

    def numbers():
        for number in itertools.count():
            taken.append(number)
            yield number

    completed = as_completed(pool.map(double, numbers(), window=40), with_results=True, timeout=60)
    given = []
    for _, value in itertools.islice(completed, 500):
        given.append(value)
        # The one that was just given is counted until the next is asked for.
        assert len(taken) - len(given) < 40
    assert set(given) <= {2 * number for number in range(540)}
    assert len(set(given)) == 500


def test_a_lazy_map_submits_nothing_before_it_is_consumed(make):
    pool = make.queues()
    taken = itertools.count()
    jobs = pool.map(double, taken, window=10)
    assert next(taken) == 0
    assert pool[0].qsize() == 0
    it = iter(jobs)
    first = next(it)
    assert pool[0].qsize() == 10
    make.consumers(pool)
    assert first.result(timeout=10) == 2
    assert "10 jobs at a time" in repr(jobs)


def test_iterating_over_a_lazy_map_waits_while_its_window_is_full(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool)
    jobs = iter(pool.map(gate.wait, range(12), window=4))
    first = list(itertools.islice(jobs, 4))
    gate.expect()
    assert pool[0].qsize() == 4
    gate.let(1)
    assert next(jobs).place.sequence == 4
    assert first[0].done()
    gate.let(11)
    assert [job.result(timeout=20) for job in jobs] == list(range(5, 12))
    consumers.cancel()


def test_a_lazy_map_ends_with_its_calls(make):
    pool = make.queues(3)
    make.consumers(pool, 2)
    assert sorted(pool.gather(pool.map(double, range(25), window=10), timeout=30)) == list(range(0, 50, 2))
    empty = as_completed(pool.map(double, [], window=10))
    assert list(empty) == []
    with pytest.raises(ValueError, match="window"):
        pool.map(double, [], window=0)


# With an asynchronous client


def run_async(cluster, use):
    async def main():
        async with Client(
            cluster.scheduler_address, asynchronous=True, direct_to_workers=True, set_as_default=False
        ) as client:
            return await use(client)

    return asyncio.run(main())


def test_all_of_it_is_asynchronous_with_an_asynchronous_client(cluster, name):
    async def use(client):
        pool = await QueuePool(client, 2, name=name)
        consumers = ConsumerPool(client, pool, n_consumers=2)
        await consumers.start()
        jobs = await pool.map(double, range(100), batch_size=10)
        assert {job.id async for job in as_completed(jobs, timeout=30)} == set(jobs.ids())
        found = [value async for _, value in as_completed(jobs, with_results=True)]
        assert sorted(found) == [2 * number for number in range(100)]
        assert await pool.gather(jobs, errors="skip") == [2 * number for number in range(100)]
        batches = [batch async for batch in as_completed(jobs).batches()]
        assert sum(map(len, batches)) == 100
        lazy = pool.map(double, itertools.count(), window=10)
        values = []
        async for _, value in as_completed(lazy, with_results=True):
            values.append(value)
            if len(values) == 50:
                break
        assert len(set(values)) == 50
        plain = [job async for job in pool.map(double, range(25), window=10)]
        assert await asyncio.gather(*plain) == [2 * number for number in range(25)]
        with pytest.raises(RuntimeError, match="async for"):
            next(iter(as_completed(await pool.options(delay=60).map(double, range(2)))))
        with pytest.raises(RuntimeError, match="async for"):
            next(iter(pool.map(double, range(2), window=2)))
        with pytest.raises(WaitTimeoutError):
            async for _ in as_completed([await pool.options(delay=60).submit(double, 1)], timeout=0.05):
                pass
        await consumers.cancel()

    run_async(cluster, use)
