"""Messages that are acked before they run: at most once, and nothing of what was taken in hand is forgotten."""

from __future__ import annotations

import pytest
from clusters import kill, pids, worker_of_consumer

from daskqueue.errors import DaskQueueError

from .conftest import values_of


def double(number):
    return 2 * number


def raise_value_error(text):
    raise ValueError(text)


@pytest.mark.parametrize("threads", [1, 4])
def test_join_waits_for_messages_that_were_acked_before_they_ran(make, durable, threads):
    pool = make.queues(2, durable)
    consumers = make.consumers(pool, 2, early_ack=True, max_concurrency=threads)
    pool.map(double, range(2000), batch_size=500)
    consumers.join(timeout=60)
    assert sorted(values_of(consumers.results())) == [2 * number for number in range(2000)]


def test_join_waits_for_a_slow_task_that_was_acked_before_it_ran(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool, early_ack=True)
    jobs = pool.map(gate.wait, range(3))
    gate.expect(1)
    with pytest.raises(TimeoutError):
        consumers.join(timeout=0.05)
    gate.let(3)
    consumers.join(timeout=30)
    assert [job.result(timeout=10) for job in jobs] == [0, 1, 2]


def test_a_job_is_not_done_when_it_is_only_acked(make, gate):
    pool = make.queues()
    make.consumers(pool, early_ack=True)
    job = pool.submit(gate.wait, 1)
    gate.expect(1)
    assert not job.done()
    gate.let(1)
    assert job.result(timeout=10) == 1
    assert job.done()


def test_a_failure_after_an_early_ack_is_visible_and_not_retried(make):
    pool = make.queues(retries=3, backoff=60)
    consumers = make.consumers(pool, early_ack=True)
    job = pool.submit(raise_value_error, "late")
    consumers.join(timeout=30)
    assert str(job.exception(timeout=10)) == "late"


def test_what_was_acked_and_not_started_is_run_before_the_consumers_stop(make, gate):
    """Once it is acked nobody else would ever run it."""
    pool = make.queues()
    consumers = make.consumers(pool, early_ack=True, batch_size=10)
    jobs = pool.map(double, range(5))
    assert [job.result(timeout=10) for job in jobs] == [0, 2, 4, 6, 8]
    first = pool.submit(gate.wait, "first")
    gate.expect(1)
    rest = pool.map(double, range(5))
    gate.let(1)
    consumers.join(timeout=30)
    assert first.result(timeout=10) == "first"
    assert [job.result(timeout=10) for job in rest] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("threads", [1, 2])
def test_consumers_that_are_cancelled_leave_no_acked_message_behind(make, gate, threads):
    pool = make.queues()
    consumers = make.consumers(pool, early_ack=True, max_concurrency=threads)
    jobs = pool.batch_submit([(gate.wait, number) for number in range(8)])
    gate.expect(threads)
    gate.let(8)
    consumers.cancel()
    others = make.consumers(pool)
    others.join(timeout=20)
    assert [job.result(timeout=10) for job in jobs] == list(range(8))


def test_a_job_that_was_lost_with_its_consumer_after_an_early_ack_ends(make_fragile, gate):
    make = make_fragile
    pool = make.queues(durable=True)
    consumers = make.consumers(pool, 2, early_ack=True)
    job = pool.submit(gate.wait, 1)
    gate.expect(1)
    for pid in pids(make.client).values():
        kill(pid)
    with pytest.raises(DaskQueueError):
        job.result(timeout=30)
    assert gate.nobody_waits(), "it ran twice"
    del consumers


def test_a_job_whose_consumer_was_lost_beside_a_living_queue_ends(make_fragile, gate):
    make = make_fragile
    pool = make.queues(durable=True)
    consumers = make.consumers(pool, 2, early_ack=True)
    home, away = (worker_of_consumer(consumers, index) for index in range(2))
    jobs = pool.map(gate.wait, range(2), batch_size=1)
    gate.expect(2)
    kill(pids(make.client)[away])
    gate.let(1)  # for the one that lives
    ended = [_error_of(job) for job in jobs]
    assert sorted(error is None for error in ended) == [False, True]
    assert home != away


def _error_of(job):
    try:
        job.result(timeout=30)
    except DaskQueueError as error:
        return error
    return None
