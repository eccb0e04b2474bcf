"""Restarts of the whole cluster: durable pools go on, transient ones say what is lost."""

from __future__ import annotations

import functools
import json
import re

import pytest
from clusters import Cluster

from daskqueue import ConsumerPool, Job, QueuePool
from daskqueue.errors import DaskQueueError, MessagesLostError

from .conftest import values_of


def double(number):
    return 2 * number


class Multiplier:
    """Something to bind a method of."""

    def __init__(self, factor):
        self.factor = factor

    def times(self, number):
        return self.factor * number

    @classmethod
    def made(cls, number):
        return cls(number).factor

    @staticmethod
    def same(number):
        return number

    def __call__(self, number):
        return self.factor + number


def test_the_old_handle_of_a_durable_pool_goes_on_after_a_restart(make_fragile):
    make = make_fragile
    pool = make.queues(2, durable=True)
    jobs = pool.map(double, range(1000), batch_size=100)
    make.client.restart()
    assert list(pool.get_queue_size().values()) == [500, 500]
    new = pool.submit(double, 1000)
    assert new.id > max(job.id for job in jobs if job.place.queue == new.place.queue)
    consumers = make.consumers(pool, 2)
    consumers.join(timeout=60)
    assert sorted(values_of(consumers.results())) == [2 * number for number in range(1001)]
    assert jobs[0].result(timeout=10) == 0


def test_a_new_pool_on_the_same_folder_goes_on_after_a_restart(make_fragile, name):
    make = make_fragile
    pool = make.queues(2, durable=True)
    jobs = pool.map(double, range(1000), batch_size=100)
    make.client.restart()
    again = make.queues(2, durable=True)
    assert re.fullmatch(
        r"QueuePool : 2 queue\(s\)(\n\tDurableQueue-[0-9a-f-]{36}: 500 pending items){2}", repr(again)
    )
    # The old handle meets the same queues, not two of its own.
    assert repr(pool) == repr(again)
    pool.submit(double, 1000)
    consumers = make.consumers(again, 2)
    consumers.join(timeout=60)
    assert sorted(values_of(consumers.results())) == [2 * number for number in range(1001)]
    assert jobs[999].result(timeout=10) == 1998


def test_started_consumers_go_on_after_a_restart(make_fragile, gate):
    make = make_fragile
    pool = make.queues(2, durable=True)
    consumers = make.consumers(pool, 2)
    slow = pool.submit(gate.wait, "slow")
    gate.expect()
    jobs = pool.map(double, range(100))
    make.client.restart()
    gate.let(2)
    consumers.join(timeout=60)
    assert slow.result(timeout=10) == "slow"
    assert [job.result(timeout=10) for job in jobs] == [2 * number for number in range(100)]
    assert len(values_of(consumers.results())) == 101


def test_a_transient_pool_says_after_a_restart_that_its_messages_are_gone(make_fragile, log_lines):
    make = make_fragile
    pool = make.queues(2)
    job = pool.submit(double, 1)
    pool.submit(double, 2)
    make.client.restart()
    assert list(pool.get_queue_size().values()) == [0, 0]
    assert sum("was lost with its worker" in line and "gone" in line for line in log_lines()) == 2
    with pytest.raises(MessagesLostError, match="lost"):
        job.result(timeout=30)
    with pytest.raises(MessagesLostError):
        job.done()
    with pytest.raises(DaskQueueError):
        job.cancel()
    # It is empty, and usable.
    consumers = make.consumers(pool)
    assert pool.submit(double, 3).result(timeout=20) == 6
    consumers.join(timeout=30)


def test_jobs_of_a_lost_transient_queue_are_never_mistaken_for_new_ones(make_fragile):
    make = make_fragile
    pool = make.queues()
    old = pool.submit(double, 1)
    make.client.restart()
    new = pool.submit(double, 2)
    assert old.id != new.id
    assert old.place.sequence == new.place.sequence
    make.consumers(pool)
    assert new.result(timeout=20) == 4
    for ask in (old.result, old.exception, old.done, old.cancel):
        with pytest.raises(MessagesLostError):
            ask()
    with pytest.raises(MessagesLostError):
        old.status  # noqa: B018  a property that asks


def test_functions_of_all_kinds_survive_a_restart_of_every_process(name, tmp_path):
    """A new cluster, from a client that has never heard of them."""
    offset = 100

    def closure(number):
        return number + offset

    with Cluster(n_workers=1) as cluster, cluster.connect() as client:
        pool = QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name=name)
        jobs = pool.batch_submit(
            [
                (closure, 1),
                (lambda number: number * offset, 2),
                (functools.partial(double, 3),),
                (functools.partial(Multiplier(7).times, 4),),
                (Multiplier(10).times, 5),
                (Multiplier.made, 6),
                (Multiplier.same, 7),
                (Multiplier(1), 8),
                (json.dumps, [9]),
                (len, "ten" * 10),
            ]
        )
        ids = [job.id for job in jobs]
        del pool, jobs
    with Cluster(n_workers=1) as cluster, cluster.connect() as client:
        pool = QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name=name)
        consumers = ConsumerPool(client, pool)
        consumers.start()
        consumers.join(timeout=30)
        (found,) = consumers.results().values()
        assert [found[number] for number in ids] == [101, 200, 6, 28, 50, 6, 7, 9, "[9]", 30]
        del pool, consumers


def test_results_and_dead_letters_survive_a_restart_of_every_process(name, tmp_path):
    def fail(text):
        raise ValueError(text)

    with Cluster(n_workers=1) as cluster, cluster.connect() as client:
        pool = QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name=name)
        consumers = ConsumerPool(client, pool)
        consumers.start()
        good, bad, dropped, waiting = (
            pool.submit(double, 1),
            pool.submit(fail, "kept"),
            pool.options(delay=3600).submit(double, 2),
            pool.options(delay=3600).submit(double, 3),
        )
        dropped.cancel()
        assert bad.exception(timeout=20) is not None
        assert good.result(timeout=10) == 2
        consumers.cancel()
        ids = [job.id for job in (good, bad, dropped, waiting)]
        del pool, consumers, good, bad, dropped, waiting
    with Cluster(n_workers=1) as cluster, cluster.connect() as client:
        pool = QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name=name)
        jobs = [Job(pool, number) for number in ids]
        assert [job.status for job in jobs] == ["finished", "error", "cancelled", "pending"]
        assert jobs[0].result(timeout=10) == 2
        assert str(jobs[1].exception(timeout=10)) == "kept"
        assert pool[0].status()["dead"] == 1
        assert sum(pool.get_queue_size().values()) == 1
        del pool, jobs


def test_an_acked_message_never_returns(name, tmp_path):
    for _ in range(3):
        with Cluster(n_workers=1) as cluster, cluster.connect() as client:
            pool = QueuePool(client, durability="durable", dirpath=tmp_path / "queues", name=name)
            assert sum(pool.get_queue_size().values()) == 0
            consumers = ConsumerPool(client, pool)
            consumers.start()
            pool.map(double, range(50))
            consumers.join(timeout=30)
            assert len(values_of(consumers.results())) == 50
            del pool, consumers
