"""Those who wait for many jobs while queues are lost with their workers."""

from __future__ import annotations

import threading

import pytest
from clusters import kill, pids, until, worker_of_queue

from daskqueue import as_completed, wait
from daskqueue.errors import MessagesLostError

from .test_as_completed import double


def test_what_waits_goes_on_when_a_durable_queue_is_opened_elsewhere(make_fragile):
    make = make_fragile
    pool = make.queues(2, durable=True)
    jobs = pool.map(double, range(200), batch_size=10)
    completed = as_completed(jobs, with_results=True, timeout=90)
    executor = pool.get_executor()
    future = executor.submit(double, 21)
    future.job.submitted(timeout=30)
    kill(pids(make.client)[worker_of_queue(pool)])
    make.consumers(pool, 2)
    assert sorted(value for _, value in completed) == list(range(0, 400, 2))
    assert future.result(timeout=60) == 42
    executor.shutdown()


def test_jobs_that_are_lost_with_a_transient_queue_end_with_that_error(make_fragile):
    make = make_fragile
    pool = make.queues(2)
    lost, kept = pool.map(double, range(2), batch_size=1)
    if worker_of_queue(pool, lost.place.queue) == worker_of_queue(pool, kept.place.queue):
        pytest.fail("both queues are on one worker")
    completed = as_completed([lost, kept], with_results=True, raise_errors=False, timeout=90)
    gathered = {}
    gathering = threading.Thread(
        target=lambda: gathered.update(values=pool.gather([kept, lost], 90, "return"))
    )
    gathering.start()
    until(lambda: len(_watches(pool)) == 4)
    kill(pids(make.client)[worker_of_queue(pool, lost.place.queue)])
    job, error = next(completed)
    assert job is lost
    assert isinstance(error, MessagesLostError)
    make.consumers(pool, 2)
    assert next(completed) == (kept, 2)
    gathering.join(timeout=60)
    assert gathered["values"][0] == 2
    assert isinstance(gathered["values"][1], MessagesLostError)
    assert wait([lost], timeout=60).done == {lost}


def _watches(pool):
    async def found():
        return [watch for poll in pool.connection.waiting._polls.values() for watch in poll._watches]

    return pool.sync(found)


def test_a_job_is_found_by_its_id_after_a_restart_of_everything(make_fragile):
    make = make_fragile
    pool = make.queues(2, durable=True)
    ids = list(pool.map(double, range(10), batch_size=2).ids())
    pool.close()
    del pool
    make.close()
    make.client.restart()
    again = make.queues(2, durable=True)
    make.consumers(again, 2)
    jobs = [again.job(job_id) for job_id in ids]
    assert again.gather(jobs, timeout=60) == list(range(0, 20, 2))
