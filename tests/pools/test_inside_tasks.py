"""What tasks know, say and raise, across a real cluster: current(), progress, Snooze, Reject, time-outs, cancels."""

from __future__ import annotations

import asyncio
import time

import pytest
from clusters import kill, pids, until, worker_of_consumer
from distributed import get_client, get_worker

from daskqueue import ConsumerBaseClass, Reject, Snooze, current
from daskqueue.errors import JobCancelledError, TaskTimeoutError

from .conftest import values_of


def double(number):
    return 2 * number


def spin():
    until = time.monotonic() + 60
    while time.monotonic() < until:
        pass


async def sleep_for_long():
    await asyncio.sleep(60)


def runs_of(path):
    """Return how often a task has written down that it ran."""
    return len(path.read_text().splitlines()) if path.exists() else 0


def note_run(path):
    with path.open("a") as lines:
        lines.write("run\n")
    return runs_of(path)


# current()


def who():
    here = current()
    return here.id, here.queue, here.attempt, here.deliveries, here.group, here.key


class Asker(ConsumerBaseClass):
    """A consumer of one's own."""

    def process_item(self, item):
        return item, current().id


@pytest.mark.parametrize("threads", [1, 3])
def test_tasks_know_their_jobs(make, durable, threads):
    pool = make.queues(2, durable)
    make.consumers(pool, 2, max_concurrency=threads)
    jobs = pool.batch_submit([(who,)] * 100, batch_size=30)
    for job in jobs:
        number, queue, *rest = job.result(timeout=30)
        assert number == job.id
        assert queue == f"{make.name}-{job.place.queue}"
        assert rest == [1, 1, "", ""]


def test_a_consumer_of_ones_own_knows_its_items(make):
    pool = make.queues()
    make.consumers(pool, consumer_class=Asker)
    jobs = pool.put_many(["a", 0, ""])
    assert [job.result(timeout=30) for job in jobs] == [("a", jobs[0].id), (0, jobs[1].id), ("", jobs[2].id)]


def test_a_task_knows_its_group_and_its_key(make):
    pool = make.queues()
    make.consumers(pool)
    assert pool.options(group="customer-7").submit(who).result(timeout=30)[4:] == ("customer-7", "")
    assert pool.options(key="a.png").submit(who).result(timeout=30)[4:] == ("", "a.png")


def dask_and_queue():
    return get_worker().address, get_client().scheduler_info()["id"] != "", current().id


def test_dask_can_be_asked_beside_it(make):
    pool = make.queues()
    make.consumers(pool)
    job = pool.submit(dask_and_queue)
    address, connected, number = job.result(timeout=30)
    assert address in make.client.scheduler_info()["workers"]
    assert connected
    assert number == job.id


def fail_until_attempt(last):
    here = current()
    if here.attempt < last:
        raise ValueError(f"attempt {here.attempt} of {here.deliveries}")
    return here.attempt, here.deliveries


@pytest.mark.parametrize("threads", [1, 2])
def test_attempts_are_counted(make, durable, threads):
    pool = make.queues(1, durable, retries=3, backoff=0.01)
    make.consumers(pool, max_concurrency=threads)
    assert pool.submit(fail_until_attempt, 3).result(timeout=30) == (3, 3)


# Progress


def go_on_from_state(stop_at):
    here = current()
    begun_at = here.state or 0
    for step in range(begun_at, stop_at):
        here.progress(step + 1, 10, state=step + 1)
        if step == begun_at + 2 and here.attempt < 3:
            raise ValueError(f"stopped after {step}")
    return begun_at, here.attempt


def test_the_next_attempt_goes_on_where_the_last_one_was(make, durable):
    pool = make.queues(1, durable, retries=5, backoff=0.01)
    make.consumers(pool)
    assert pool.submit(go_on_from_state, 10).result(timeout=30) == (6, 3)


def tell_and_wait(gate):
    current().progress(3, 10, state="page 3")
    gate.wait()


def test_who_waits_sees_the_progress(make, gate):
    pool = make.queues()
    make.consumers(pool)
    job = pool.submit(tell_and_wait, gate)
    gate.expect()
    give_up_at = time.monotonic() + 30
    while (seen := job.progress()) is None:
        assert time.monotonic() < give_up_at
    assert seen == (3, 10, "page 3")
    gate.let()
    job.result(timeout=30)


# Snooze and Reject


def snooze_twice(path):
    if note_run(path) < 3:
        raise Snooze(0.05)
    return current().attempt


@pytest.mark.parametrize("threads", [1, 2])
def test_a_snoozed_task_runs_again_and_burns_no_attempt(make, durable, tmp_path, threads):
    pool = make.queues(1, durable)  # no retries at all
    consumers = make.consumers(pool, max_concurrency=threads)
    job = pool.submit(snooze_twice, tmp_path / "runs")
    more = pool.map(double, range(50))
    consumers.join(timeout=30)
    assert job.result(timeout=30) == 1
    assert [job.result(timeout=30) for job in more] == [2 * number for number in range(50)]
    assert runs_of(tmp_path / "runs") == 3


def snooze_once(path):
    if note_run(path) == 1:
        raise Snooze("600ms")
    return time.time()


def test_a_snoozed_task_is_not_run_before_its_time(make, tmp_path):
    pool = make.queues()
    make.consumers(pool)
    began = time.time()
    assert pool.submit(snooze_once, tmp_path / "runs").result(timeout=30) >= began + 0.6


def reject(path):
    note_run(path)
    raise Reject("no such address")


def test_a_rejected_task_is_a_dead_letter_at_once(make, durable, tmp_path):
    pool = make.queues(1, durable, retries=5, backoff=0.01)
    consumers = make.consumers(pool)
    job = pool.submit(reject, tmp_path / "runs")
    consumers.join(timeout=30)
    error = job.exception(timeout=30)
    assert isinstance(error, Reject)
    assert error.reason == "no such address"
    assert runs_of(tmp_path / "runs") == 1
    (letter,) = pool.dead.list()
    assert letter.reason == "rejected"


# retry_on


def note_and_raise(path, error):
    note_run(path)
    raise error


class OwnError(LookupError):
    """An exception type of the user's module."""


@pytest.mark.parametrize(
    ("options", "error", "runs", "reason"),
    [
        ({"retry_on": ValueError}, ValueError("x"), 3, "raised"),
        ({"retry_on": ValueError}, KeyError("x"), 1, "not_retryable"),
        ({"retry_on": (ValueError, LookupError)}, OwnError("x"), 3, "raised"),
        ({"no_retry_on": LookupError}, OwnError("x"), 1, "not_retryable"),
    ],
)
def test_only_some_errors_are_worth_another_attempt(make, tmp_path, options, error, runs, reason):
    pool = make.queues(retries=2, backoff=0.01)
    consumers = make.consumers(pool)
    job = pool.options(**options).submit(note_and_raise, tmp_path / "runs", error)
    consumers.join(timeout=30)
    assert isinstance(job.exception(timeout=30), type(error))
    assert runs_of(tmp_path / "runs") == runs
    assert [letter.reason for letter in pool.dead.list()] == [reason]


# Time-outs


def spin_at_first(path):
    if note_run(path) == 1:
        spin()
    return "in time"


@pytest.mark.parametrize("threads", [1, 2])
def test_an_attempt_that_takes_too_long_fails_and_is_run_again(make, durable, tmp_path, threads):
    pool = make.queues(1, durable, retries=1, backoff=0.01)
    make.consumers(pool, max_concurrency=threads)
    job = pool.options(timeout="1s").submit(spin_at_first, tmp_path / "runs")
    assert job.result(timeout=60) == "in time"
    assert runs_of(tmp_path / "runs") == 2


@pytest.mark.parametrize("task", [spin, sleep_for_long])
def test_an_attempt_that_takes_too_long_tells_so_beside_unharmed_siblings(make, task):
    pool = make.queues()
    make.consumers(pool)
    late = pool.options(timeout=0.3).submit(task)
    siblings = pool.map(double, range(20))
    error = late.exception(timeout=60)
    assert isinstance(error, TaskTimeoutError)
    assert isinstance(error, TimeoutError)
    assert f"in {task.__name__}" in late.traceback()
    assert [job.result(timeout=30) for job in siblings] == [2 * number for number in range(20)]


def test_a_task_that_cannot_be_interrupted_does_not_hold_up_the_others(make, gate):
    pool = make.queues()
    make.consumers(pool)
    stuck = pool.options(timeout=0.2).submit(gate.wait)  # reads from a pipe: no exception gets through
    gate.expect()
    assert pool.submit(double, 4).result(timeout=60) == 8
    assert isinstance(stuck.exception(timeout=60), TaskTimeoutError)
    gate.let()


# Cancelling what runs


def wait_for_the_cancel(gate):
    gate.arrive()
    here = current()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        here.raise_if_cancelled()
    return "nobody cancelled"


async def sleep_and_tell(gate):
    gate.arrive()
    await asyncio.sleep(60)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("task", [wait_for_the_cancel, sleep_and_tell])
def test_a_running_task_is_cancelled_when_it_asks(make, durable, gate, threads, task):
    pool = make.queues(1, durable, retries=3, backoff=0.01)
    consumers = make.consumers(pool, max_concurrency=threads)
    job = pool.submit(task, gate)
    gate.expect()
    job.cancel()
    with pytest.raises(JobCancelledError):
        job.result(timeout=30)
    assert job.status == "cancelled"
    consumers.join(timeout=30)
    assert gate.nobody_waits(), "it is not run again"


def test_a_task_that_takes_no_notice_of_its_cancel_has_finished(make, gate):
    pool = make.queues()
    make.consumers(pool)
    job = pool.submit(gate.wait, "done")
    gate.expect()
    job.cancel()
    gate.let()
    assert job.result(timeout=30) == "done"


def test_what_waits_behind_a_running_task_is_cancelled_without_running(make, gate, tmp_path):
    pool = make.queues()
    consumers = make.consumers(pool)
    for job in pool.map(double, range(200)):  # quick ones, so that a slice is fetched of the next
        job.result(timeout=30)
    jobs = pool.batch_submit([(gate.wait, 1), (note_run, tmp_path / "runs"), (double, 2)])
    gate.expect()
    jobs[1].cancel()
    with pytest.raises(JobCancelledError):
        jobs[1].result(timeout=30)
    gate.let()
    consumers.join(timeout=30)
    assert [jobs[0].result(timeout=30), jobs[2].result(timeout=30)] == [1, 4]
    assert runs_of(tmp_path / "runs") == 0


# Coroutines at the same time


async def meet(gate):
    gate.arrive()
    while not gate_is_open(gate):
        await asyncio.sleep(0.02)


def gate_is_open(gate):
    return (gate.opened).exists()


class Opened:
    """A gate that coroutines look at instead of waiting in the loop's thread."""

    def __init__(self, gate, opened):
        self._gate = gate
        self.opened = opened

    def arrive(self):
        self._gate.arrive()


@pytest.mark.parametrize("threads", [1, 3])
def test_coroutines_run_as_many_at_a_time_as_there_are_threads(make, gate, tmp_path, threads):
    pool = make.queues()
    consumers = make.consumers(pool, max_concurrency=threads)
    together = Opened(gate, tmp_path / "open")
    pool.batch_submit([(meet, together)] * (threads + 1))
    gate.expect(threads)
    assert gate.nobody_waits()
    together.opened.touch()
    consumers.join(timeout=30)
    assert len(values_of(consumers.results())) == threads + 1


# What outlives a process


def tell_and_hang_once(gate, path):
    here = current()
    found = here.state, here.attempt, here.deliveries
    if note_run(path) == 1:
        here.progress(7, 10, state="page 7")
        gate.wait()
    return found


def test_progress_outlives_the_worker_that_told_it(make_fragile, gate, tmp_path):
    make = make_fragile
    pool = make.queues(1, durable=True)
    consumers = make.consumers(pool, 2)
    job = pool.submit(tell_and_hang_once, gate, tmp_path / "runs")
    gate.expect()
    until(lambda: job.progress() is not None, seconds=30)
    (address,) = [each for each, tasks in _busy(consumers).items() if tasks]
    kill(pids(make.client)[address])
    assert job.result(timeout=60) == ("page 7", 1, 2)


def _busy(consumers):
    statuses = consumers.client.sync(consumers._consumers.statuses)
    return {
        worker_of_consumer(consumers, index): statuses[name]["pending"]
        for index, name in enumerate(consumers)
    }
