"""Bounded queues: the bound holds, submits wait for room, and an error means that nothing was taken."""

from __future__ import annotations

import asyncio
import threading

import pytest
from distributed import Client

from daskqueue import QueuePool
from daskqueue.errors import JobCancelledError, PayloadTooLargeError, QueueFullError

from .conftest import values_of


def double(number):
    return 2 * number


def test_a_full_queue_refuses_after_the_timeout(make, durable):
    pool = make.queues(1, durable, max_messages=3)
    impatient = pool.options(put_timeout=0.05)
    for number in range(3):
        impatient.submit(double, number)
    with pytest.raises(QueueFullError, match="at most 3"):
        impatient.submit(double, 3)
    assert pool[0].qsize() == 3


def test_a_submit_waits_for_room(make, durable, gate):
    pool = make.queues(1, durable, max_messages=2)
    make.consumers(pool)
    first = pool.submit(gate.wait, 0)
    gate.expect()
    pool.submit(double, 1)
    jobs = []
    submitting = threading.Thread(target=lambda: jobs.append(pool.submit(double, 2)))
    submitting.start()
    assert pool[0].qsize() == 2
    gate.let()
    submitting.join(timeout=20)
    assert jobs[0].result(timeout=10) == 4
    assert first.result(timeout=10) == 0


def test_the_bound_holds_while_many_threads_submit(make, gate):
    pool = make.queues(max_messages=5)
    refused = []

    def submit():
        try:
            pool.options(put_timeout=0.1).submit(gate.arrive)
        except QueueFullError as error:
            refused.append(error)

    threads = [threading.Thread(target=submit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert pool[0].qsize() + len(refused) == 20, "an error was raised for a message that was taken"
    assert pool[0].qsize() == 5
    consumers = make.consumers(pool)
    consumers.join(timeout=30)
    assert len(values_of(consumers.results())) == 5


def test_an_error_of_an_asynchronous_submit_means_that_it_was_not_taken(cluster, name):
    async def main():
        async with Client(
            cluster.scheduler_address, asynchronous=True, direct_to_workers=True, set_as_default=False
        ) as client:
            pool = await QueuePool(client, name=name, max_messages=2)
            impatient = pool.options(put_timeout=0.1)
            answers = await asyncio.gather(
                *(impatient.submit(double, number) for number in range(6)), return_exceptions=True
            )
            taken = [answer for answer in answers if not isinstance(answer, Exception)]
            status = await pool.statuses()
            return len(taken), sum(status[0][state] for state in ("ready", "delayed", "leased"))

    taken, held = asyncio.run(main())
    assert held == 2
    assert taken == 2


def test_a_batch_larger_than_the_bound_goes_in_as_there_is_room(make, durable):
    pool = make.queues(1, durable, max_messages=10)
    consumers = make.consumers(pool)
    jobs = pool.options(put_timeout=20).map(double, range(100), batch_size=1000)
    consumers.join(timeout=30)
    assert [job.result(timeout=10) for job in jobs] == [2 * number for number in range(100)]


def test_a_lot_goes_through_a_small_queue(make, durable):
    pool = make.queues(2, durable, max_messages=50)
    consumers = make.consumers(pool, 2)
    pool.options(put_timeout=30).map(double, range(2000), batch_size=20)
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == [2 * number for number in range(2000)]


def test_puts_that_share_a_call_do_not_wait_for_each_others_room(make, gate):
    """What fits is taken and handed out, or a full queue would wait for itself."""
    pool = make.queues(max_messages=4)
    consumers = make.consumers(pool)
    jobs = pool.options(put_timeout=20).map(gate.arrive, range(40), batch_size=2)
    gate.expect(40)
    consumers.join(timeout=30)
    assert len(jobs) == 40


def test_a_dead_letter_takes_no_room(make):
    def fail():
        raise ValueError("no")

    pool = make.queues(max_messages=1)
    make.consumers(pool)
    for _ in range(3):
        assert pool.options(put_timeout=10).submit(fail).exception(timeout=10) is not None


def test_cancelling_makes_room(make):
    pool = make.queues(max_messages=1)
    job = pool.submit(double, 1)
    submitting = threading.Thread(target=lambda: pool.submit(double, 2))
    submitting.start()
    job.cancel()
    submitting.join(timeout=20)
    assert not submitting.is_alive()
    assert pool[0].qsize() == 1


def test_delayed_messages_count(make):
    pool = make.queues(max_messages=1)
    pool.options(delay=60).submit(double, 1)
    with pytest.raises(QueueFullError):
        pool.options(put_timeout=0).submit(double, 2)


def test_a_full_queue_may_raise_at_once(make, durable):
    pool = make.queues(1, durable, max_messages=2, overflow="raise")
    pool.map(double, range(2))
    with pytest.raises(QueueFullError):
        pool.submit(double, 2)
    with pytest.raises(QueueFullError):
        pool.map(double, range(3))
    assert pool[0].qsize() == 2


def test_a_full_queue_may_drop_what_waits_longest(make, durable):
    pool = make.queues(1, durable, max_messages=3, overflow="drop_oldest")
    jobs = [pool.submit(double, number) for number in range(5)]
    assert pool[0].qsize() == 3
    assert [job.status for job in jobs] == ["cancelled"] * 2 + ["pending"] * 3
    with pytest.raises(JobCancelledError):
        jobs[0].result(timeout=10)
    make.consumers(pool)
    assert [job.result(timeout=20) for job in jobs[2:]] == [4, 6, 8]


def test_what_runs_is_not_dropped(make, gate):
    pool = make.queues(max_messages=2, overflow="drop_oldest")
    make.consumers(pool)
    running = pool.submit(gate.wait, 7)
    gate.expect()
    dropped, kept = pool.submit(double, 1), pool.submit(double, 2)
    assert dropped.status == "cancelled"
    gate.let()
    assert (running.result(timeout=20), kept.result(timeout=20)) == (7, 4)


def test_bytes_are_bounded(make, durable):
    pool = make.queues(1, durable, max_bytes=100_000, put_timeout="50ms")
    for _ in range(4):
        pool.submit(len, b"x" * 20_000)
    with pytest.raises(QueueFullError, match="of at most 100000"):
        pool.submit(len, b"x" * 20_000)
    make.consumers(pool)
    assert pool.options(put_timeout="20s").submit(len, b"x" * 20_000).result(timeout=20) == 20_000


def test_a_batch_with_more_bytes_than_the_bound_is_cut(make):
    pool = make.queues(1, max_bytes=200_000)
    with pytest.raises(QueueFullError):
        pool.options(overflow="raise").map(len, [b"x" * 20_000] * 50)
    assert 1 <= pool.purge() < 10
    make.consumers(pool)
    jobs = pool.options(put_timeout="30s").map(len, [b"x" * 20_000] * 50)
    assert pool.gather(jobs, timeout=30) == [20_000] * 50


def test_a_message_larger_than_the_bound_goes_in_alone(make, gate):
    pool = make.queues(1, max_bytes=100_000)
    make.consumers(pool)
    first = pool.submit(gate.wait, 1)
    gate.expect()
    with pytest.raises(QueueFullError):
        pool.options(overflow="raise").submit(len, b"x" * 200_000)
    gate.let()
    assert first.result(timeout=20) == 1
    assert pool.options(put_timeout="20s").submit(len, b"x" * 200_000).result(timeout=20) == 200_000


def test_the_bound_of_a_view_may_be_handled_otherwise(make):
    pool = make.queues(max_messages=1)
    pool.submit(double, 1)
    with pytest.raises(QueueFullError):
        pool.options(overflow="raise").submit(double, 2)
    last = pool.options(overflow="drop_oldest").submit(double, 3)
    assert pool[0].qsize() == 1
    assert last.status == "pending"


def test_a_message_may_be_too_large_for_any_queue(make):
    pool = make.queues(max_payload_bytes=100_000)
    make.consumers(pool)
    for use in (
        lambda: pool.submit(len, b"x" * 200_000),
        lambda: pool.map(len, [b"x", b"x" * 200_000]),
        lambda: pool.put(b"x" * 200_000),
        lambda: pool.put_many([b"x" * 200_000]),
        lambda: pool.options(linger="1h").submit(len, b"x" * 200_000),
    ):
        with pytest.raises(PayloadTooLargeError, match=r"100,000 \(max_payload_bytes\)"):
            use()
    assert pool.submit(len, b"x" * 90_000).result(timeout=20) == 90_000
