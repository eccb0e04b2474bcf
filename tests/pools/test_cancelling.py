"""Stopping: consumers that are cancelled, jobs that are cancelled, pools that are emptied."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from clusters import pids, stopped, until, worker_of_consumer, worker_of_queue

from daskqueue.errors import ConsumersNotStartedError, JobCancelledError, WaitTimeoutError

from .conftest import values_of


def double(number):
    return 2 * number


def test_a_cancelled_job_says_so_and_never_runs(make, durable, gate):
    pool = make.queues(1, durable)
    jobs = pool.map(gate.wait, range(3))
    assert jobs[1].cancel() is True
    assert jobs[1].cancel() is False
    assert jobs[1].status == "cancelled"
    assert jobs[1].done()
    with pytest.raises(JobCancelledError):
        jobs[1].result(timeout=10)
    with pytest.raises(JobCancelledError):
        jobs[1].exception(timeout=10)
    consumers = make.consumers(pool)
    gate.let(3)
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == [0, 2]


def test_a_job_that_runs_or_has_run_is_not_cancelled(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool)
    job = pool.submit(gate.wait, 1)
    gate.expect()
    assert job.status == "processing"
    assert job.cancel() is False
    gate.let()
    assert job.result(timeout=10) == 1
    assert job.cancel() is False
    assert job.status == "finished"
    consumers.cancel()


def test_who_waits_for_a_job_hears_that_it_was_cancelled(make):
    pool = make.queues()
    job = pool.submit(double, 1)
    heard = []

    def wait():
        try:
            job.result(timeout=20)
        except JobCancelledError as error:
            heard.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert job.cancel()
    waiter.join(timeout=20)
    assert heard


def test_many_jobs_are_cancelled_at_once(make, durable):
    pool = make.queues(3, durable)
    jobs = pool.map(double, range(90), batch_size=10)
    assert pool.cancel(jobs[10:50]) == 40
    assert pool.cancel(jobs) == 50
    assert pool.cancel(jobs) == 0
    assert sum(pool.get_queue_size().values()) == 0


def test_a_delayed_job_is_cancelled(make):
    pool = make.queues()
    job = pool.options(delay=3600).submit(double, 1)
    assert job.status == "pending"
    assert job.cancel()
    assert sum(pool.get_queue_size().values()) == 0


def test_reset_drops_what_waits_and_lets_finish_what_runs(make, durable, gate):
    pool = make.queues(1, durable)
    consumers = make.consumers(pool, batch_size=1)
    running = pool.submit(gate.wait, "running")
    gate.expect()
    waiting = pool.map(double, range(20))
    later = pool.options(delay=3600).submit(double, 1)
    dropped = pool.reset()
    assert dropped >= 20
    gate.let()
    consumers.join(timeout=30)
    assert running.result(timeout=10) == "running"
    for job in (waiting[19], later):
        with pytest.raises(JobCancelledError):
            job.result(timeout=10)


def test_cancel_finishes_what_runs_and_gives_back_the_rest(make, durable, gate):
    pool = make.queues(1, durable)
    consumers = make.consumers(pool)
    jobs = pool.batch_submit([(gate.wait, 0), *((double, number) for number in range(1, 8))])
    gate.expect()
    stopping = threading.Thread(target=consumers.cancel)
    stopping.start()
    gate.let()
    stopping.join(timeout=20)
    assert jobs[0].result(timeout=10) == 0
    done = len(values_of(consumers.results()))
    assert sum(pool.get_queue_size().values()) == 8 - done
    assert pool[0].status()["leased"] == 0
    others = make.consumers(pool)
    others.join(timeout=30)
    assert len(values_of(others.results())) == 8 - done
    assert [job.result(timeout=10) for job in jobs] == [0, *range(2, 16, 2)]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_cancel_gives_back_what_does_not_finish_in_time(make, gate, threads):
    """Also what stands before finished messages in the same slice: no lease is left to run out."""
    pool = make.queues(lease=600)
    consumers = make.consumers(pool, max_concurrency=threads)
    jobs = pool.batch_submit([(gate.wait, 0), *((double, number) for number in range(1, 6))])
    gate.expect()
    if threads > 1:
        assert jobs[5].result(timeout=10) == 10
    consumers.cancel(timeout=0.1)
    status = pool[0].status()
    assert status["leased"] == 0
    assert status["ready"] == (1 if threads > 1 else 6)
    others = make.consumers(pool)
    gate.expect()
    gate.let(2)  # the abandoned one ends as well, and nobody listens
    others.join(timeout=30)
    assert jobs[0].result(timeout=10) == 0


def warm_up(pool):
    """Let the consumers learn that tasks are quick, so that they fetch whole slices."""
    assert [job.result(timeout=10) for job in pool.map(double, range(200))] == list(range(0, 400, 2))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_task_that_outlives_the_cancel_is_the_last_that_its_thread_runs(make, gate, threads):
    """What was given back is for others; nothing of it is started by a thread that was left behind."""
    pool = make.queues()
    consumers = make.consumers(pool, max_concurrency=threads)
    warm_up(pool)
    pool.map(gate.wait, range(10))
    gate.expect(threads)
    consumers.cancel(timeout=0.1)
    gate.let(threads)
    with pytest.raises(AssertionError, match="did not arrive"):
        gate.expect(1, seconds=0.5)
    assert pool[0].qsize() == 10


def test_cancel_starts_nothing_more(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool)
    warm_up(pool)
    jobs = pool.map(gate.wait, range(10))
    gate.expect()
    stopping = threading.Thread(target=consumers.cancel)
    stopping.start()
    with pytest.raises(TimeoutError):
        jobs[9].result(timeout=0.5)  # time for the cancel to arrive
    gate.let(10)
    stopping.join(timeout=20)
    assert gate.nobody_waits()
    assert pool[0].qsize() == 9


def wait_and_note(gate, path, number):
    gate.wait()
    with open(path, "a") as runs:
        runs.write(f"{number}\n")
    return number


def test_a_cancel_in_the_middle_of_an_exchange_leaves_no_lease_behind(make_fragile, gate, tmp_path):
    make = make_fragile
    pool = make.queues(1, durable=True)
    consumers = make.consumers(pool, 2, batch_size=1)
    home = worker_of_queue(pool)
    assert worker_of_consumer(consumers, 1) != home
    runs = tmp_path / "runs"
    jobs = pool.batch_submit([(wait_and_note, gate, str(runs), number) for number in range(6)], batch_size=1)
    gate.expect(2)
    with stopped(pids(make.client)[home]):
        gate.let(2)
        # The one beside the queue is held with it; the other has finished, and waits for the answer to its ack.
        until(lambda: consumers.client.sync(_status_of, consumers, 1)["pending"] == 0)
        stopping = threading.Thread(target=consumers.cancel, args=(1.0,))
        stopping.start()
        with pytest.raises(TimeoutError):
            jobs[5].result(timeout=0.5)  # time for the cancel to arrive
    stopping.join(timeout=30)
    assert not stopping.is_alive()
    until(lambda: pool[0].status()["leased"] == 0)
    finished = [number for number, job in enumerate(jobs) if job.done()]
    assert finished
    others = make.consumers(pool)
    gate.let(10)  # also for a task that was begun before the cancel came, and outlived it
    others.join(timeout=30)
    assert [job.result(timeout=10) for job in jobs] == list(range(6))
    ran = runs.read_text().split()
    assert [ran.count(str(number)) for number in finished] == [1] * len(finished), (
        "what had finished ran again"
    )


async def _status_of(consumers, index):
    return await consumers._consumers._status(consumers[index])


def test_join_without_a_start_raises_at_once(make):
    pool = make.queues()
    pool.submit(double, 1)
    consumers = make.consumers(pool, start=False)
    with pytest.raises(ConsumersNotStartedError, match="never started"):
        consumers.join()


def test_join_after_a_cancel_raises_at_once(make):
    pool = make.queues()
    consumers = make.consumers(pool)
    consumers.cancel()
    pool.submit(double, 1)
    with pytest.raises(ConsumersNotStartedError, match="cancelled"):
        consumers.join()


def test_join_with_a_timeout_raises_and_the_consumers_go_on(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool)
    pool.submit(gate.wait, 1)
    gate.expect()
    with pytest.raises(WaitTimeoutError, match="1 messages"):
        consumers.join(timeout=0.05)
    assert consumers.started
    gate.let()
    consumers.join(timeout=30)
    assert values_of(consumers.results()) == [1]


def test_an_interrupted_join_ends_and_the_consumers_go_on(make, gate, log_lines):
    """Ctrl-C in a notebook; then join again."""
    pool = make.queues()
    consumers = make.consumers(pool)
    job = pool.submit(gate.wait, 1)
    gate.expect()

    def interrupt():
        until(lambda: any(line.startswith("Waiting for") for line in log_lines()))
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        consumers.join()
    interrupting.join()
    gate.let()
    assert job.result(timeout=10) == 1
    with pytest.raises(TimeoutError):
        make.queues(name=f"{make.name}-other").submit(double, 1).result(timeout=0.5)
    assert consumers.started, "the interrupted join went on behind our back"
    consumers.join(timeout=30)
    assert log_lines().count("Cancelling 1 consumers.") == 1


def test_start_is_idempotent(make, log_lines):
    pool = make.queues()
    consumers = make.consumers(pool, 2)
    consumers.start()
    consumers.start()
    assert log_lines().count("Starting 2 consumers") == 1
    pool.map(double, range(10))
    consumers.join(timeout=30)
    assert len(values_of(consumers.results())) == 10


def test_consumers_can_be_started_again_after_join(make):
    pool = make.queues()
    consumers = make.consumers(pool, 2)
    pool.map(double, range(5))
    consumers.join(timeout=30)
    pool.map(double, range(5, 10))
    consumers.start()
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == [2 * number for number in range(10)]


def test_a_reset_consumer_pool_forgets_its_results(make):
    pool = make.queues()
    consumers = make.consumers(pool)
    pool.map(double, range(5))
    consumers.join(timeout=30)
    consumers.reset()
    assert values_of(consumers.results()) == []
    assert "0 received, 0 pending tasks" in repr(consumers)
    assert consumers.nb_consumed() == 0
    pool.map(double, range(3))
    consumers.start()
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == [0, 2, 4]


def test_cancelling_twice_or_before_the_start_does_nothing(make):
    pool = make.queues()
    consumers = make.consumers(pool, start=False)
    consumers.cancel()
    consumers.start()
    consumers.cancel()
    consumers.cancel()
    assert not consumers.started


def count_task_threads():
    return sum(thread.name == "daskqueue-task" for thread in threading.enumerate())


def test_join_and_cancel_leave_no_thread_behind(make):
    pool = make.queues()
    consumers = make.consumers(pool, 3, max_concurrency=2)
    pool.map(double, range(100))
    consumers.join(timeout=30)
    assert set(make.client.run(count_task_threads).values()) == {0}
