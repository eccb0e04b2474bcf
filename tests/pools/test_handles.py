"""Handles of several pools, lives and processes beside each other: nothing is taken for something else."""

from __future__ import annotations

import asyncio
import gc
import pickle
import sys
import threading

import pytest
from clusters import kill, pids, until
from distributed import WorkerPlugin

from daskqueue import ConsumerBaseClass
from daskqueue.errors import DaskQueueError

from .conftest import values_of


def double(number):
    return 2 * number


def test_jobs_of_two_pools_are_two_jobs(make):
    first, second = make.queues(), make.queues(name=f"{make.name}-other")
    jobs = {first.submit(double, 1): "first", second.submit(double, 2): "second"}
    assert sorted(jobs.values()) == ["first", "second"]


def test_a_handle_of_a_job_equals_its_copies(make, cluster):
    pool = make.queues()
    job = pool.submit(double, 1)
    assert pickle.loads(pickle.dumps(job.id)) == job.id
    with cluster.connect(set_as_default=True):
        copy = pickle.loads(pickle.dumps(job))
        assert copy == job
        assert hash(copy) == hash(job)
        assert len({job, copy}) == 1
        del copy
    assert pool.options(retries=1).submit(double, 2) != job


def test_a_pool_does_not_cancel_the_jobs_of_another(make):
    first, second = make.queues(), make.queues(name=f"{make.name}-other")
    mine, others = first.submit(double, 1), second.map(double, range(3))
    for wrong in (others, list(others)):
        with pytest.raises(ValueError, match="pool"):
            first.cancel(wrong)
    assert first[0].qsize() == 1
    assert second[0].qsize() == 3
    assert mine.cancel()


def test_a_pool_is_shared_by_many_tasks_and_leaves_nothing_behind(make):
    pool = make.queues(2)
    consumers = make.consumers(pool, 2)
    use_up = pool.map(_submit_one, [pool] * 50, range(50), batch_size=10)
    consumers.join(timeout=60)
    assert sorted(values_of(consumers.results())) == sorted(
        [*range(50), *(2 * number for number in range(50))]
    )
    del use_up
    gc.collect()
    # Handles that were dropped are let go by the event loop, in its own time.
    until(lambda: max(make.client.run(_tasks_on_the_loop).values()) < 60)


def _submit_one(pool, number):
    pool.submit(double, number)
    return number


async def _tasks_on_the_loop():
    gc.collect()
    await asyncio.sleep(0)
    return len(asyncio.all_tasks())


def test_an_old_job_is_never_mistaken_for_a_new_one_by_a_handle_that_comes_later(
    make_fragile, fragile_cluster
):
    """The handle that knew the old life is gone; nobody is left who remembers how many there were."""
    make = make_fragile
    pool = make.queues()
    old = pool.submit(double, 1)
    pickled = pickle.dumps((pool, old))
    del pool, old
    make.close()
    gc.collect()
    make.client.restart()
    with fragile_cluster.connect(set_as_default=True) as other:
        pool, old = pickle.loads(pickled)
        new = pool.submit(double, 21)
        assert new.id != old.id
        with pytest.raises(DaskQueueError):
            old.result(timeout=5)
        assert pool.client is other
        del pool, old, new


class ReadyAtTheSecondTry(ConsumerBaseClass):
    """Its setup fails the first time that it runs in a process whose marker is there."""

    def setup(self):
        try:
            with open(MARKER) as marker:
                fail = marker.read() == "fail once"
        except FileNotFoundError:
            fail = False
        if fail:
            with open(MARKER, "w") as marker:
                marker.write("failed")
            raise RuntimeError("no database yet")

    def process_item(self, item):
        return item


MARKER = "/nonexistent"


def _set_marker(path):
    sys.modules[ReadyAtTheSecondTry.__module__].MARKER = path


def test_a_replacement_whose_setup_fails_is_tried_again(make_fragile, tmp_path):
    marker = str(tmp_path / "marker")

    class Marks(WorkerPlugin):
        def setup(self, worker):
            _set_marker(marker)

    make = make_fragile
    make.client.register_plugin(Marks(), name="marks")
    try:
        pool = make.queues(1, durable=True)
        consumers = make.consumers(pool, 1, consumer_class=ReadyAtTheSecondTry)
        assert pool.put(1).result(timeout=20) == 1
        (tmp_path / "marker").write_text("fail once")
        for pid in pids(make.client).values():
            kill(pid)
        pool.put(2)
        consumers.join(timeout=60)
        assert sorted(values_of(consumers.results())) == [1, 2]
        assert (tmp_path / "marker").read_text() == "failed"
    finally:
        make.client.unregister_worker_plugin("marks")


def test_two_joins_at_once_both_return(make):
    pool = make.queues()
    consumers = make.consumers(pool)
    others = make.consumers(pool)
    pool.map(double, range(1000))
    threads = [threading.Thread(target=crew.join, args=(30,)) for crew in (consumers, others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=40)
    assert not any(thread.is_alive() for thread in threads)
    assert len(values_of(consumers.results())) + len(values_of(others.results())) == 1000
