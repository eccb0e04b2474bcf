"""Workers that are killed with -9: nothing durable is lost, and what is lost is said."""

from __future__ import annotations

import asyncio
import functools
import os
from collections import Counter

import pytest
from clusters import kill, pids, stopped, worker_of_consumer, worker_of_queue

from daskqueue.actors.caller import Caller
from daskqueue.errors import DaskQueueError, MessagesLostError

from .conftest import values_of


def note(path, number):
    """Write down that this number was run; one line is one atomic append."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, b"%d\n" % number)
    os.close(handle)
    return number


def note_and_wait_once(path, gate, number):
    """Write it down; number 299 and its like wait for the test the first time they run."""
    note(path, number)
    marker = f"{path}.{number}"
    if number % 300 == 299 and not os.path.exists(marker):
        with open(marker, "w"):
            pass
        gate.wait()
    return number


def submit_a_thousand(pool, folder, gate):
    """Submit tasks that write themselves down; some of them stop for the test."""
    task = functools.partial(note_and_wait_once, str(folder / "runs"), gate)
    return pool.map(task, range(1000), batch_size=100)


def runs_in(path):
    return Counter(map(int, path.read_text().split()))


def test_a_killed_consumer_loses_nothing_and_repeats_only_what_was_in_flight(make_fragile, tmp_path, gate):
    make = make_fragile
    pool = make.queues(1, durable=True)
    consumers = make.consumers(pool, 2, batch_size=50)
    away = worker_of_consumer(consumers, 1)
    assert away != worker_of_queue(pool)
    jobs = submit_a_thousand(pool, tmp_path, gate)
    gate.expect(2)  # both consumers are in the middle of something
    kill(pids(make.client)[away])
    gate.let(10)
    consumers.join(timeout=60)
    results = consumers.results()
    assert sorted(values_of(results)) == list(range(1000))
    runs = runs_in(tmp_path / "runs")
    assert set(runs) == set(range(1000))
    repeated = [number for number, count in runs.items() if count > 1]
    assert len(repeated) <= 2 * 50 + 50
    assert max(runs.values()) == 2
    assert {job.result(timeout=10) for job in jobs[::100]} == set(range(0, 1000, 100))


def test_a_killed_queue_is_opened_on_another_worker_and_loses_nothing(make_fragile, tmp_path, gate):
    make = make_fragile
    pool = make.queues(1, durable=True)
    consumers = make.consumers(pool, 2, batch_size=50)
    jobs = submit_a_thousand(pool, tmp_path, gate)
    gate.expect(2)
    home = worker_of_queue(pool)
    kill(pids(make.client)[home])
    gate.let(10)
    consumers.join(timeout=60)
    assert sorted(values_of(consumers.results())) == list(range(1000))
    assert set(runs_in(tmp_path / "runs")) == set(range(1000))
    assert jobs[999].result(timeout=10) == 999
    assert pool.submit(note, str(tmp_path / "after"), 1).id > jobs[999].id


def test_all_workers_killed_at_once_lose_nothing(make_fragile, tmp_path, gate):
    make = make_fragile
    pool = make.queues(2, durable=True)
    consumers = make.consumers(pool, 3, batch_size=50)
    submit_a_thousand(pool, tmp_path, gate)
    gate.expect(2)
    for pid in pids(make.client).values():
        kill(pid)
    gate.let(10)
    consumers.join(timeout=60)
    assert sorted(values_of(consumers.results())) == list(range(1000))
    assert set(runs_in(tmp_path / "runs")) == set(range(1000))


def test_a_lost_consumer_is_replaced_and_nothing_that_looks_at_the_pool_raises(make_fragile, gate):
    make = make_fragile
    pool = make.queues(1, durable=True)
    consumers = make.consumers(pool, 2, batch_size=1)
    away = worker_of_consumer(consumers, 1)
    first = pool.map(gate.wait, range(2), batch_size=1)
    gate.expect()
    kill(pids(make.client)[away])
    assert repr(consumers).startswith("Consumers : 2 Consumers(s)")
    assert repr(pool).startswith("QueuePool : 1 queue(s)")
    gate.let(5)
    consumers.join(timeout=60)
    assert [job.result(timeout=10) for job in first] == [0, 1]
    assert sorted(values_of(consumers.results())) == [0, 1]
    assert set(consumers.results()) == {"GeneralConsumer-0", "GeneralConsumer-1"}


def test_submits_while_a_durable_queue_is_lost_arrive(make_fragile, tmp_path):
    make = make_fragile
    pool = make.queues(1, durable=True)
    pool.submit(note, str(tmp_path / "runs"), 0)
    kill(pids(make.client)[worker_of_queue(pool)])
    jobs = [pool.submit(note, str(tmp_path / "runs"), number) for number in range(1, 20)]
    assert pool.get_queue_size() == {repr(pool[0]).split(":")[0]: 20}
    consumers = make.consumers(pool)
    consumers.join(timeout=60)
    assert runs_in(tmp_path / "runs") == Counter(range(20))
    assert jobs[-1].result(timeout=10) == 19


def test_who_waits_for_a_job_of_a_durable_queue_does_not_notice_its_loss(make_fragile, gate):
    make = make_fragile
    pool = make.queues(1, durable=True)
    job = pool.submit(gate.wait, "done")
    future = _in_background(make.client.loop.asyncio_loop, job._result(60))
    kill(pids(make.client)[worker_of_queue(pool)])
    gate.let()
    consumers = make.consumers(pool)
    assert future.result(timeout=60) == "done"
    consumers.cancel()


def test_a_lost_transient_queue_says_that_its_messages_are_gone(make_fragile, gate):
    make = make_fragile
    pool = make.queues(1)
    consumers = make.consumers(pool, 1)
    job = pool.submit(gate.wait, 1)
    gate.expect()
    future = _in_background(make.client.loop.asyncio_loop, job._result(60))
    kill(pids(make.client)[worker_of_queue(pool)])
    with pytest.raises(MessagesLostError):
        future.result(timeout=60)
    with pytest.raises(MessagesLostError, match="lost"):
        consumers.join(timeout=60)
    with pytest.raises(MessagesLostError):
        job.result(timeout=10)
    with pytest.raises(DaskQueueError):
        job.done()
    # The pool itself goes on.
    gate.let()
    again = make.consumers(pool)
    assert pool.submit(gate.arrive, 2).result(timeout=30) == 2
    again.join(timeout=30)


@pytest.mark.parametrize("durable", [False, True], ids=["transient", "durable"])
def test_a_queue_that_is_only_slow_is_not_given_up(make_fragile, monkeypatch, durable):
    """Its process is held (a debugger, a swapping machine, a C extension); its worker is still there."""
    monkeypatch.setitem(Caller.call.__kwdefaults__, "deadline", 0.3)
    monkeypatch.setattr("daskqueue.actors.waiting.DEADLINE_SECONDS", 0.3)
    monkeypatch.setattr("daskqueue.actors.waiting.LOST_SECONDS", 1.5)
    monkeypatch.setattr("daskqueue.actors.queues.OPEN_SECONDS", 0.1)
    make = make_fragile
    pool = make.queues(1, durable)
    jobs = pool.map(abs, range(10))
    home = worker_of_queue(pool)
    with stopped(pids(make.client)[home]), pytest.raises(DaskQueueError):
        jobs[0].done()
    monkeypatch.undo()
    assert pool[0].qsize() == 10
    consumers = make.consumers(pool)
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == list(range(10))
    assert worker_of_queue(pool) == home


def test_results_survive_the_consumer_that_made_them(make_fragile, gate):
    make = make_fragile
    pool = make.queues(1, durable=True)
    consumers = make.consumers(pool, 2)
    assert pool.submit(gate.arrive, "early").result(timeout=30) == "early"
    for pid in pids(make.client).values():
        kill(pid)
    pool.submit(gate.arrive, "late")
    consumers.join(timeout=60)
    assert sorted(values_of(consumers.results())) == ["early", "late"]


def kill_its_process(gate):
    """Poison, as often as it is run."""
    gate.arrive()
    os.kill(os.getpid(), 9)


def test_a_message_that_kills_its_process_becomes_a_dead_letter_and_the_others_finish(
    make_fragile, tmp_path, gate
):
    make = make_fragile
    pool = make.queues(1, durable=True)
    jobs = pool.batch_submit([(note, str(tmp_path / "runs"), number) for number in range(50)])
    poison = pool.submit(kill_its_process, gate)
    consumers = make.consumers(pool, 2)
    consumers.join(timeout=100)
    assert set(runs_in(tmp_path / "runs")) == set(range(50))
    assert jobs[49].result(timeout=10) == 49
    with pytest.raises(DaskQueueError, match="crash_loop"):
        poison.result(timeout=10)


def _in_background(loop, coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, loop)
