"""Many trivial tasks at all defaults: join returns, nothing is missing, nobody dies."""

from __future__ import annotations

import pytest


def process_item():
    return sum(i * i for i in range(10**2))


def same(number):
    return number


def test_forty_thousand_durable_tasks_at_all_defaults(make, log_lines):
    pool = make.queues(2, durable=True)
    consumers = make.consumers(pool, 2)
    pool.batch_submit([(process_item,) for _ in range(40_000)])
    consumers.join(timeout=100)
    assert sum(len(found) for found in consumers.results().values()) == 40_000
    assert "All consumers are done ! 40000 items processed. " in log_lines()
    assert sum(pool.get_queue_size().values()) == 0


def test_a_million_distinct_durable_tasks_at_all_defaults(make):
    pool = make.queues(2, durable=True)
    consumers = make.consumers(pool, 2)
    pool.map(same, range(1_000_000))
    consumers.join(timeout=100)
    results = consumers.results().values()
    assert sum(map(len, results)) == 1_000_000
    assert sum(value for found in results for value in found.values()) == sum(range(1_000_000))


@pytest.mark.parametrize("n_consumers", [1, 5])
def test_every_distinct_call_comes_back(make, durable, n_consumers):
    pool = make.queues(2, durable)
    consumers = make.consumers(pool, n_consumers, batch_size=1000)
    jobs = pool.map(same, range(20_000), batch_size=1000)
    consumers.join(timeout=60)
    found = {}
    for results in consumers.results().values():
        found.update(results)
    assert found == {hash(job): number for number, job in enumerate(jobs)}


def test_submits_one_by_one_while_consumers_run(make, durable):
    pool = make.queues(2, durable)
    consumers = make.consumers(pool, 2)
    jobs = [pool.submit(same, number) for number in range(300)]
    consumers.join(timeout=60)
    assert [job.result(timeout=10) for job in jobs] == list(range(300))
