"""What can be asked and told of one message: cancel, retry, progress, callbacks, from wherever it is known."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import pickle
import threading

import pytest
from clusters import until

import daskqueue
from daskqueue import ConsumerPool, Job, QueuePool, as_completed, wait
from daskqueue.actors.producer import Placed
from daskqueue.errors import (
    JobCancelledError,
    JobExpiredError,
    MessagesLostError,
    NotDeadError,
    QueueLostError,
    WaitTimeoutError,
)
from daskqueue.message import pack_id

from .test_as_completed import double, fail, run_async


class Later:
    """A call in a thread of its own, whose end can be waited for."""

    def __new__(cls, function, *args, **kwargs):
        future = concurrent.futures.Future()

        def run():
            try:
                future.set_result(function(*args, **kwargs))
            except Exception as error:  # noqa: BLE001
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future


def later(pool, count=3):
    """Return jobs of a batch that is not put yet, and what puts it."""
    future = concurrent.futures.Future()
    jobs = [Job.later(pool, future, offset) for offset in range(count)]

    def put():
        future.set_result(pool.map(double, range(count)).parts[0][0])

    return jobs, put, future


# Cancelling


def test_a_job_that_waits_is_dropped_and_one_that_has_ended_is_not(make, durable):
    pool = make.queues(1, durable)
    job = pool.submit(double, 1)
    assert job.cancel()
    assert not job.cancel()
    assert job.status == "cancelled"
    with pytest.raises(JobCancelledError, match="was cancelled"):
        job.result(timeout=10)
    with pytest.raises(JobCancelledError):
        job.exception(timeout=10)
    make.consumers(pool)
    done = pool.submit(double, 2)
    assert done.result(timeout=10) == 4
    assert not done.cancel()
    assert done.status == "finished"


def stop_when_asked(gate):
    gate.arrive()
    while not daskqueue.current().cancelled:
        threading.Event().wait(0.01)
    daskqueue.current().raise_if_cancelled()


def test_a_running_job_is_asked_to_stop_and_ends_as_cancelled(make, gate):
    pool = make.queues(1, retries=3)
    consumers = make.consumers(pool)
    job = pool.submit(stop_when_asked, gate)
    gate.expect()
    assert job.status == "processing"
    assert not job.cancel()
    with pytest.raises(JobCancelledError):
        job.result(timeout=60)
    assert job.status == "cancelled"
    consumers.cancel()


def test_what_has_expired_is_cancelled_with_a_reason(make):
    pool = make.queues()
    job = pool.options(expires="10ms").submit(double, 1)
    with pytest.raises(JobExpiredError, match="expires="):
        job.result(timeout=30)
    assert job.status == "cancelled"


def test_what_had_to_make_room_says_so(make):
    pool = make.queues(1, max_messages=2, overflow="drop_oldest")
    jobs = [pool.submit(double, number) for number in range(3)]
    with pytest.raises(JobCancelledError, match="make room"):
        jobs[0].result(timeout=10)
    assert jobs[0].status == "cancelled"
    assert jobs[2].status == "pending"


# Retrying


def read(path):
    """Fail until there is such a file."""
    return path.read_text()


def test_a_dead_letter_runs_again(make, tmp_path, durable):
    pool = make.queues(1, durable)
    make.consumers(pool)
    job = pool.submit(read, tmp_path / "later")
    with pytest.raises(FileNotFoundError):
        job.result(timeout=20)
    (tmp_path / "later").write_text("at last")
    job.retry()
    assert job.result(timeout=20) == "at last"
    assert job.status == "finished"


def test_what_is_no_dead_letter_says_why_it_does_not_run_again(make, gate):
    pool = make.queues()
    waiting, dropped = pool.submit(double, 1), pool.submit(double, 2)
    assert dropped.cancel()
    with pytest.raises(NotDeadError, match="has not run yet"):
        waiting.retry()
    with pytest.raises(NotDeadError, match="was cancelled"):
        dropped.retry()
    consumers = make.consumers(pool, batch_size=1)
    assert waiting.result(timeout=20) == 2
    with pytest.raises(NotDeadError, match="has returned"):
        waiting.retry()
    running = pool.submit(gate.wait)
    gate.expect()
    with pytest.raises(NotDeadError, match="runs right now"):
        running.retry()
    gate.let()
    consumers.cancel()


# Progress


def report(gate, steps):
    for step in range(1, steps + 1):
        daskqueue.current().progress(step, steps, state={"step": step})
        gate.wait()
    return steps


def test_progress_is_seen_from_outside(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool)
    job = pool.submit(report, gate, 2)
    assert pool.submit(double, 1).progress() is None
    gate.expect()
    until(lambda: job.progress() == (1, 2, {"step": 1}))
    gate.let()
    gate.expect()
    until(lambda: job.progress() == (2, 2, {"step": 2}))
    gate.let()
    assert job.result(timeout=20) == 2
    consumers.cancel()


# Callbacks


def test_a_callback_is_called_with_the_job_in_a_thread_that_may_block(make):
    pool = make.queues()
    found = concurrent.futures.Future()
    job = pool.submit(double, 1)
    job.add_done_callback(
        lambda done: found.set_result((done, pool.submit(double, done.result()).result(20)))
    )
    make.consumers(pool)
    assert found.result(timeout=30) == (job, 4)


def test_a_callback_of_a_job_that_is_done_is_called_at_once(make):
    pool = make.queues()
    make.consumers(pool)
    job = pool.submit(fail, "bad")
    assert isinstance(job.exception(timeout=20), ValueError)
    called = threading.Event()
    job.add_done_callback(lambda _: called.set())
    assert called.wait(20)


def test_a_callback_that_raises_is_logged_and_the_next_is_called(make, caplog):
    pool = make.queues()
    job = pool.submit(double, 1)
    called = threading.Event()

    def wrong(job):
        raise RuntimeError("the callback's own")

    job.add_done_callback(wrong)
    job.add_done_callback(lambda _: called.set())
    with caplog.at_level(logging.ERROR, logger="daskqueue"):
        assert job.cancel()
        assert called.wait(20)
    assert "the callback's own" in caplog.text
    with pytest.raises(TypeError, match="function to call"):
        job.add_done_callback(5)


def test_a_callback_is_called_when_the_pool_is_closed_and_the_job_says_why(make):
    pool = make.queues()
    found = concurrent.futures.Future()
    job = pool.submit(double, 1)
    job.add_done_callback(found.set_result)
    pool.close()
    assert found.result(timeout=30) is job
    with pytest.raises(QueueLostError, match="closed"):
        job.result(timeout=10)


# By its id


def test_a_job_is_found_again_by_its_id_from_another_client(make, cluster, durable):
    pool = make.queues(2, durable)
    jobs = [pool.submit(double, number) for number in range(4)]
    make.consumers(pool)
    ids, pickled = [job.id for job in jobs], pickle.dumps(pool)
    with cluster.connect(set_as_default=True):
        there = pickle.loads(pickled)
        assert [there.job(job_id).result(timeout=20) for job_id in ids] == [0, 2, 4, 6]
        assert there.job(ids[0]) == jobs[0]
        del there


def test_an_id_that_names_no_message_of_the_pool_is_refused(make):
    pool = make.queues(2)
    job = pool.submit(double, 1)
    with pytest.raises(ValueError, match="never put"):
        pool.job(job.id + 1)
    with pytest.raises(ValueError, match=r"queue 7.*has 2"):
        pool.job(pack_id(7, 1, 0))
    with pytest.raises(ValueError, match="job_id"):
        pool.job(-1)
    with pytest.raises(TypeError, match="job_id"):
        pool.job("5")
    place = job.place
    with pytest.raises(MessagesLostError):
        pool.job(pack_id(place.queue, (place.incarnation + 1) % 512, 0))


# Jobs whose messages are still on their way


def test_a_job_on_its_way_waits_for_its_id(make):
    pool = make.queues()
    (job, *_), put, _ = later(pool)
    assert repr(job) == f"<Job on its way to {pool.name!r}>"
    assert not job.done()
    with pytest.raises(WaitTimeoutError, match=r"not put after 0\.05 s"):
        job.submitted(timeout=0.05)
    with pytest.raises(WaitTimeoutError, match=r"not done after 0\.05 s"):
        job.result(timeout=0.05)
    found = Later(hash, job)
    put()
    assert found.result(timeout=10) == job.id
    assert job.submitted() is job
    assert job.status == "pending"
    assert pool.job(job.id) == job


def test_results_of_jobs_on_their_way_are_waited_for_in_every_way(make):
    pool = make.queues()
    make.consumers(pool)
    jobs, put, _ = later(pool, 5)
    waits = [
        Later(jobs[0].result, timeout=30),
        Later(pool.gather, jobs, timeout=30),
        Later(lambda: dict(as_completed(jobs, with_results=True, timeout=30))),
        Later(wait, jobs, timeout=30),
    ]
    called = threading.Event()
    jobs[4].add_done_callback(lambda _: called.set())
    put()
    first, gathered, completed, waited = (one.result(timeout=40) for one in waits)
    assert first == 0
    assert gathered == [0, 2, 4, 6, 8]
    assert completed == {job: 2 * number for number, job in enumerate(jobs)}
    assert all(mine is given for mine, given in zip(jobs, sorted(completed, key=hash), strict=True))
    assert waited.done == set(jobs)
    assert called.wait(20)


def test_who_gives_up_waiting_for_a_put_does_not_end_it_for_the_others(make):
    pool = make.queues()
    make.consumers(pool)
    jobs, put, future = later(pool)
    with pytest.raises(WaitTimeoutError):
        jobs[0].result(timeout=0.05)
    with pytest.raises(WaitTimeoutError, match="3 of 3"):
        pool.gather(jobs, timeout=0.05)
    assert not future.cancelled()
    put()
    assert jobs[1].result(timeout=20) == 2


def test_a_put_that_failed_is_what_every_method_raises(make):
    pool = make.queues()
    jobs, _, future = later(pool)
    future.set_exception(OSError("no space left"))
    for ask in (
        jobs[0].result,
        jobs[0].submitted,
        jobs[0].exception,
        jobs[0].done,
        jobs[0].cancel,
        lambda: jobs[0].id,
    ):
        with pytest.raises(OSError, match="no space left"):
            ask()
    assert "no space left" in repr(jobs[0])
    with pytest.raises(OSError, match="no space left"):
        pool.gather(jobs, timeout=10)
    assert [type(error) for error in pool.gather(jobs, timeout=10, errors="return")] == [OSError] * 3
    assert pool.gather(jobs, timeout=10, errors="skip") == []
    found = list(as_completed(jobs, with_results=True, raise_errors=False, timeout=10))
    assert [(job, type(error)) for job, error in found] == [(job, OSError) for job in jobs]


def test_the_event_loop_is_never_blocked_by_a_job_on_its_way(cluster, name):
    async def use(client):
        pool = await QueuePool(client, name=name)
        consumers = ConsumerPool(client, pool)
        await consumers.start()
        future = concurrent.futures.Future()
        job = Job.later(pool, future, 1)
        with pytest.raises(RuntimeError, match=r"await job\.submitted\(\)"):
            hash(job)
        waiting = asyncio.ensure_future(job.result(timeout=30))
        gathering = asyncio.ensure_future(pool.gather([job], timeout=30))
        assert not await job.done()
        jobs = await pool.map(double, range(2))
        future.set_result(jobs.parts[0][0])
        assert await job.submitted() is job
        assert job == jobs[1]
        assert await waiting == 2
        assert await gathering == [2]
        assert await job == 2
        await consumers.cancel()

    run_async(cluster, use)


# With an asynchronous client


def test_callbacks_and_lookups_of_an_asynchronous_client(cluster, name):
    async def use(client):
        pool = await QueuePool(client, name=name)
        consumers = ConsumerPool(client, pool)
        await consumers.start()
        loop, called = asyncio.get_running_loop(), asyncio.Event()
        job = await pool.submit(double, 1)

        def callback(done):
            assert done is job
            assert asyncio.get_running_loop() is loop
            called.set()

        job.add_done_callback(callback)
        async with asyncio.timeout(20):
            await called.wait()
        assert await (await pool.job(job.id)) == 2
        with pytest.raises(ValueError, match="never put"):
            await pool.job(job.id + 1)
        with pytest.raises(NotDeadError):
            await job.retry()
        assert await job.progress() is None
        await consumers.cancel()

    run_async(cluster, use)


# Many


def test_slices_of_jobs_are_jobs_and_make_no_handles(make):
    pool = make.queues(3)
    jobs = pool.map(double, range(100), batch_size=7)
    middle = jobs[10:40]
    assert type(middle) is type(jobs)
    assert len(middle) == 30
    assert list(middle) == list(jobs)[10:40]
    assert list(middle[-5:]) == list(jobs)[35:40]
    assert len(jobs[50:40]) == 0
    assert [job.id for job in jobs[::30]] == list(jobs.ids())[::30]
    assert pickle.loads(pickle.dumps(middle.parts)) == middle.parts
    make.consumers(pool)
    assert pool.gather(middle, timeout=20) == [2 * number for number in range(10, 40)]


def test_a_hundred_thousand_handles_are_a_few_numbers(make):
    pool = make.queues(2)
    placed = Placed(0, 1, 0)
    jobs = daskqueue.jobs.handles.Jobs(pool, [(placed, 100_000)])
    assert len(pickle.dumps(jobs.parts)) < 200
    assert jobs[99_999].place.sequence == 99_999
    assert len(jobs[1:]) == 99_999
