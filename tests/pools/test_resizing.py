"""A folder that is opened with more or fewer queues than it has: nothing is stranded."""

from __future__ import annotations

import json

import pytest

from daskqueue import QueuePool
from daskqueue.actors import pool_folder

from .conftest import values_of


def double(number):
    return 2 * number


def fail():
    raise ValueError("no")


@pytest.fixture
def reopen(client, name, tmp_path):
    """Opens the test's folder with another number of queues, after everybody has let go of it."""
    held = []

    def opened(n_queues):
        for pool in held:
            pool.close()
        held[:] = [QueuePool(client, n_queues, durability="durable", dirpath=tmp_path / "queues", name=name)]
        return held[0]

    yield opened
    for pool in held:
        pool.close()


def recorded(pool):
    with open(f"{pool.dirpath}/pool.json") as file:
        return json.load(file)["queues"]


def waiting(pool):
    return list(pool.get_queue_size().values())


def queues_of(jobs):
    return {job.place.queue for job in jobs}


def consume(make, pool):
    consumers = make.consumers(pool)
    consumers.join(timeout=30)
    return sorted(values_of(consumers.results()))


def test_a_pool_grows(reopen, make):
    reopen(1).map(double, range(5))
    pool = reopen(3)
    assert (pool.n_queues, pool.n_fed, recorded(pool)) == (3, 3, 3)
    assert queues_of(pool.map(double, range(5, 11), batch_size=2)) == {0, 1, 2}
    assert waiting(pool) == [7, 2, 2]
    assert consume(make, pool) == [2 * number for number in range(11)]


def test_a_surplus_queue_is_emptied_and_gets_nothing_new(reopen, make, log_lines):
    reopen(3).map(double, range(6), batch_size=2)
    pool = reopen(1)
    assert (pool.n_queues, pool.n_fed, recorded(pool)) == (3, 1, 3)
    assert queues_of(pool.map(double, range(6, 9), batch_size=1)) == {0}
    assert waiting(pool) == [5, 2, 2]
    assert any("queue 1: 2 messages, queue 2: 2 messages" in line for line in log_lines())
    assert consume(make, pool) == [2 * number for number in range(9)]
    assert waiting(pool) == [0, 0, 0]


def test_an_empty_surplus_queue_is_let_go_of_by_the_next_opening(reopen, make):
    jobs = reopen(3).map(double, range(6), batch_size=2)
    ids = list(jobs.ids())
    pool = reopen(1)
    consume(make, pool)
    pool = reopen(1)
    assert (pool.n_queues, pool.n_fed, recorded(pool)) == (1, 1, 1)
    assert len(pool.queues.refs) == 1
    assert [pool.job(job_id).result(timeout=20) for job_id in ids] == [2 * number for number in range(6)]


def test_only_what_has_something_stays(reopen, make):
    pool = reopen(3)
    make.consumers(pool)
    jobs = pool.map(double, range(3), batch_size=1)
    assert pool.gather(jobs, timeout=20) == [0, 2, 4]
    make.close()
    pool.options(delay="1h").map(double, range(2), batch_size=1)  # goes to the first two
    pool = reopen(1)
    assert (pool.n_queues, pool.n_fed, recorded(pool)) == (2, 1, 2)


def test_dead_letters_are_something(reopen, make, log_lines):
    pool = reopen(2)
    make.consumers(pool)
    jobs = pool.batch_submit([fail, fail], batch_size=1)
    assert all(job.exception(timeout=20) for job in jobs)
    make.close()
    pool = reopen(1)
    assert pool.n_queues == 2
    assert any("queue 1: 1 dead letters" in line for line in log_lines())
    assert len(pool.dead.list()) == 2
    pool.dead.purge()
    assert reopen(1).n_queues == 1


def test_a_pool_that_grows_again_has_no_id_twice(reopen, make):
    first = list(reopen(2).map(double, range(4), batch_size=1).ids())
    consume(make, reopen(1))
    assert reopen(1).n_queues == 1
    pool = reopen(2)
    again = list(pool.map(double, range(4, 8), batch_size=1).ids())
    assert not set(first) & set(again)
    assert [pool.job(job_id).result(timeout=20) for job_id in first] == [0, 2, 4, 6]


def test_messages_that_nobody_wrote_down_are_found(reopen, make):
    """Two clients that do not agree on the number: the record may say less than there is."""
    pool = reopen(2)
    pool.map(double, range(2), batch_size=1)
    pool_folder.resize(pool.dirpath, 1)
    pool = reopen(1)
    assert (pool.n_queues, recorded(pool)) == (2, 2)
    assert consume(make, pool) == [0, 2]


def test_a_surplus_queue_that_others_use_stays(client, cluster, name, tmp_path, make):
    folder = {"durability": "durable", "dirpath": tmp_path / "queues", "name": name}
    with cluster.connect() as elsewhere:
        others = QueuePool(elsewhere, 2, **folder)
        pool = make.queues(1, durable=True)
        assert (pool.n_queues, pool.n_fed) == (2, 1)
        others.map(double, range(4), batch_size=1)
        assert consume(make, pool) == [0, 2, 4, 6]
        others.close()


def test_keys_and_groups_have_their_homes_among_those_that_are_fed(reopen, make):
    reopen(4).map(double, range(8), batch_size=1)
    pool = reopen(2)
    assert pool.n_queues == 4
    jobs = pool.options(key=str).map(double, range(20))
    assert queues_of(jobs) == {0, 1}


def test_a_handle_that_travels_feeds_the_same_queues(reopen, make):
    reopen(3).map(double, range(3), batch_size=1)
    pool = reopen(1)
    make.consumers(pool)

    def submit(pool):
        return [job.place.queue for job in pool.map(double, range(3), batch_size=1)], pool.n_queues

    assert pool.submit(submit, pool).result(timeout=30) == ([0, 0, 0], 3)


def test_a_lost_surplus_queue_comes_back(make_fragile, fragile_client, name, tmp_path):
    make = make_fragile
    make.queues(2, durable=True).map(double, range(4), batch_size=1)
    make.close()
    pool = make.queues(1, durable=True)
    assert pool.n_queues == 2
    fragile_client.restart()
    assert waiting(pool) == [2, 2]
    assert consume(make, pool) == [0, 2, 4, 6]
