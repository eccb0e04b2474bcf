"""A consumer of several queues lets none of them wait for the others."""

from __future__ import annotations

import time


def double(x):
    return 2 * x


def slowly(gate, value):
    time.sleep(0.15)  # a task that is known to be slow is fetched alone
    return gate.wait(value)


def test_a_queue_is_served_while_another_has_a_backlog(make, gate):
    pool = make.queues(n_queues=2)
    backlog = pool.batch_submit([(gate.wait, i) for i in range(3)], batch_size=3)
    other = pool.submit(double, 1)
    assert {job.place.queue for job in backlog} != {other.place.queue}
    consumers = make.consumers(pool, n_consumers=1)
    consumers.start()
    gate.expect(1)
    gate.let(1)
    assert other.result(timeout=20) == 2
    assert [job.status for job in backlog].count("finished") == 1
    gate.let(2)
    consumers.join(timeout=20)


def test_a_queue_that_was_empty_is_served_as_soon_as_it_is_its_turn(make, gate):
    pool = make.queues(n_queues=2)
    backlog = pool.batch_submit([(slowly, gate, i) for i in range(4)], batch_size=4)
    consumers = make.consumers(pool, n_consumers=1)
    consumers.start()
    gate.expect(1)
    gate.let(1)
    gate.expect(1)  # the other queue was asked meanwhile, and had nothing
    other = pool.submit(double, 1)
    assert {job.place.queue for job in backlog} != {other.place.queue}
    gate.let(2)  # the news of it may come a moment after the next of the backlog was fetched
    assert other.result(timeout=20) == 2
    assert backlog[-1].status != "finished"
    gate.let(1)
    consumers.join(timeout=20)
