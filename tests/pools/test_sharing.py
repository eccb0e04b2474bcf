"""Who runs what: slow tasks are shared out, threads are bounded, every queue is drained."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from clusters import Cluster

from .conftest import Maker, values_of


def double(number):
    return 2 * number


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_as_many_slow_tasks_run_at_once_as_there_are_consumers(make, gate, batch_size):
    pool = make.queues()
    consumers = make.consumers(pool, 4, batch_size=batch_size)
    pool.map(gate.wait, range(4))
    gate.expect(4, seconds=10)
    gate.let(4)
    consumers.join(timeout=30)


def test_slow_tasks_that_were_there_before_the_start_are_shared_out(make, gate):
    pool = make.queues(2)
    pool.map(gate.wait, range(4), batch_size=2)
    consumers = make.consumers(pool, 4)
    gate.expect(4, seconds=10)
    gate.let(4)
    consumers.join(timeout=30)


def test_slow_tasks_behind_quick_ones_are_shared_out(make, gate):
    """What a consumer fetched ahead when tasks were quick must not wait behind its first slow one."""
    pool = make.queues()
    consumers = make.consumers(pool, 2)
    pool.map(double, range(5000))
    jobs = pool.map(gate.wait, range(2))
    gate.expect(2, seconds=10)
    gate.let(2)
    consumers.join(timeout=30)
    assert [job.result(timeout=10) for job in jobs] == [0, 1]


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_a_consumer_runs_as_many_slow_tasks_at_once_as_it_may(make, gate, batch_size):
    pool = make.queues()
    consumers = make.consumers(pool, max_concurrency=4, batch_size=batch_size)
    pool.map(gate.wait, range(6))
    gate.expect(4, seconds=10)
    assert gate.nobody_waits()
    gate.let(1)
    gate.expect(1, seconds=10)
    gate.let(5)
    consumers.join(timeout=30)


class Crowd:
    """Counts how many are inside at the same time; one for each process."""

    lock = threading.Lock()
    inside = 0
    most = 0


def count_inside(_number):
    with Crowd.lock:
        Crowd.inside += 1
        Crowd.most = max(Crowd.most, Crowd.inside)
    threading.Event().wait(0.002)  # long enough for others to come in as well
    with Crowd.lock:
        Crowd.inside -= 1
        return Crowd.most


def forget_the_crowd():
    Crowd.most = 0


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_max_concurrency_is_never_exceeded(make, batch_size, threads):
    make.client.run(forget_the_crowd)
    pool = make.queues()
    consumers = make.consumers(pool, max_concurrency=threads, batch_size=batch_size)
    pool.map(count_inside, range(50), batch_size=50)
    consumers.join(timeout=30)
    most = values_of(consumers.results())
    assert len(most) == 50
    assert max(most) <= threads


@pytest.mark.parametrize(("n_queues", "n_consumers"), [(3, 1), (5, 2), (1, 4), (4, 4)])
def test_every_queue_is_drained_whatever_the_number_of_consumers(make, n_queues, n_consumers):
    pool = make.queues(n_queues)
    jobs = pool.map(double, range(100), batch_size=5)
    consumers = make.consumers(pool, n_consumers)
    consumers.join(timeout=30)
    assert sorted(values_of(consumers.results())) == [2 * number for number in range(100)]
    assert pool.get_queue_size() == dict.fromkeys(pool.get_queue_size(), 0)
    assert len(pool.get_queue_size()) == n_queues
    assert jobs[99].result(timeout=10) == 198


def test_consumers_help_out_other_queues_than_their_own(make, gate):
    pool = make.queues(2)
    consumers = make.consumers(pool, 2)
    pool.map(gate.wait, range(2), batch_size=2)  # both in the first queue
    gate.expect(2, seconds=10)
    gate.let(2)
    consumers.join(timeout=30)


def test_every_message_is_run_once(make, durable, tmp_path):
    def note(number):
        with (tmp_path / "runs").open("a") as lines:
            lines.write(f"{number}\n")

    pool = make.queues(2, durable)
    consumers = make.consumers(pool, 3, batch_size=20)
    pool.map(note, range(1000), batch_size=50)
    consumers.join(timeout=30)
    runs = Counter((tmp_path / "runs").read_text().split())
    assert len(runs) == 1000
    assert set(runs.values()) == {1}


def test_a_slow_task_does_not_hide_the_results_of_those_before_it(make, gate):
    pool = make.queues()
    consumers = make.consumers(pool)
    jobs = pool.batch_submit([(double, 1), (gate.wait, 2), (double, 3)])
    assert jobs[0].result(timeout=10) == 2
    gate.let()
    consumers.join(timeout=30)
    assert jobs[2].result(timeout=10) == 6


@pytest.mark.parametrize(("workers", "threads"), [(1, 1), (1, 3), (4, 3)])
def test_clusters_of_all_shapes_work(name, tmp_path, workers, threads):
    with Cluster(workers, threads) as cluster, cluster.connect() as client:
        make = Maker(client, name, tmp_path / "queues")
        for durable in (False, True):
            pool = make.queues(2, durable, name=f"{name}-{durable}")
            consumers = make.consumers(pool, 5, batch_size=100)
            pool.map(double, range(1000), batch_size=100)
            consumers.join(timeout=40)
            assert sorted(values_of(consumers.results())) == [2 * number for number in range(1000)]
            del pool, consumers
        make.close()


def test_pick_up_from_an_idle_pool_takes_no_poll(make):
    """With polling the median would be half the interval; here each message wakes its consumer."""
    pool = make.queues()
    consumers = make.consumers(pool)
    pool.submit(double, 0).result(timeout=10)
    latencies = []
    for _ in range(20):
        began = time.perf_counter()
        pool.submit(double, 1).result(timeout=10)
        latencies.append(time.perf_counter() - began)
    assert sorted(latencies)[10] < 0.05
    consumers.cancel()
