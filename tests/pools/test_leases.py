"""Leases across processes: renewed while the task runs, given to another when its holder is silent."""

from __future__ import annotations

import ctypes
import time

import pytest
from clusters import pids, stopped, worker_of_consumer, worker_of_queue

from .conftest import values_of


def double(number):
    return 2 * number


def test_a_task_longer_than_its_lease_runs_once(make, gate):
    pool = make.queues(lease=1.0)
    consumers = make.consumers(pool)
    other_pool = make.queues(lease=1.0, name=f"{make.name}-threads")
    other_consumers = make.consumers(other_pool, max_concurrency=2)
    job, other_job = pool.submit(gate.wait, "long"), other_pool.submit(gate.wait, "long too")
    gate.expect(2)
    with pytest.raises(TimeoutError):
        job.result(timeout=2.5)
    assert gate.nobody_waits()
    gate.let(2)
    consumers.join(timeout=30)
    other_consumers.join(timeout=30)
    assert values_of(consumers.results()) == ["long"]
    assert other_job.result(timeout=10) == "long too"


def hold_the_interpreter(seconds):
    """Keep every other Python thread of this process waiting, as a C extension does."""
    return ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


def test_a_task_that_holds_the_interpreter_for_less_than_its_lease_runs_once(make, tmp_path):
    def note_and_hold(path):
        with path.open("a") as lines:
            lines.write("run\n")
        return hold_the_interpreter(0.5)

    pool = make.queues(lease=2.0)
    consumers = make.consumers(pool, 2)
    jobs = pool.map(note_and_hold, [tmp_path / str(number) for number in range(3)], batch_size=1)
    consumers.join(timeout=30)
    assert [job.result(timeout=10) for job in jobs] == [0, 0, 0]
    assert [(tmp_path / str(number)).read_text() for number in range(3)] == ["run\n"] * 3


def test_a_silent_consumer_loses_its_messages_in_time_and_its_late_ack_hurts_nobody(make_fragile, gate):
    make = make_fragile
    pool = make.queues(1, durable=True, lease=1.0)
    consumers = make.consumers(pool, 2, batch_size=1)
    away = worker_of_consumer(consumers, 1)
    assert away != worker_of_queue(pool)
    pid = pids(make.client)[away]
    jobs = pool.map(gate.wait, range(2), batch_size=1)
    gate.expect(2)  # each consumer has one
    with stopped(pid):
        began = time.monotonic()
        gate.let(1)  # the system may offer it to the one that is stopped, ...
        gate.let(1)  # ... so there is one for the one that is awake
        gate.expect(1, seconds=20)  # the other's message is run again
        waited = time.monotonic() - began
        assert 1.0 - 1.0 / 3 - 0.1 < waited < 1.0 + 2.0
        gate.let(1)
        assert sorted(job.result(timeout=20) for job in jobs) == [0, 1]
    gate.let(1)  # the one that was held wakes up, finishes, and acks what is no longer its own
    more = pool.map(double, range(100))
    consumers.join(timeout=30)
    assert [job.result(timeout=10) for job in more] == [2 * number for number in range(100)]
    assert sorted(values_of(consumers.results())) == sorted([0, 1, *(2 * number for number in range(100))])


def test_a_message_is_not_given_to_two_consumers(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool, 4)
    pool.submit(gate.wait, 1)
    gate.expect()
    with pytest.raises(TimeoutError):
        consumers.join(timeout=0.3)
    assert gate.nobody_waits()
    gate.let()
    consumers.join(timeout=30)


def test_a_delayed_message_is_run_when_it_is_due(make):
    pool = make.queues()
    consumers = make.consumers(pool)
    began = time.monotonic()
    job = pool.options(delay="300ms").submit(double, 1)
    assert job.result(timeout=10) == 2
    waited = time.monotonic() - began
    assert 0.29 < waited < 0.8
    consumers.cancel()


def test_join_waits_for_delayed_messages(make):
    pool = make.queues()
    consumers = make.consumers(pool)
    job = pool.options(delay=0.3).submit(double, 1)
    consumers.join(timeout=10)
    assert job.result(timeout=10) == 2
