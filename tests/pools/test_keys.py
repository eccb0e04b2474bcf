"""Keys: one message for each, whoever submits it, until its window is over. Groups: together, and in their order."""

from __future__ import annotations

import asyncio
import threading

import pytest
from distributed import Client

from daskqueue import QueuePool, call
from daskqueue.errors import BatchError, DuplicateKeyError


def double(number):
    return 2 * number


def add(a, b=0):
    return a + b


def sizes(pool):
    return sum(pool.get_queue_size().values())


def test_a_second_submit_gets_the_first_ones_job(make, durable):
    pool = make.queues(3, durable)
    first = pool.options(key="a.png").submit(double, 1)
    assert pool.options(key="a.png").submit(double, 2) == first
    assert pool.options(key="b.png").submit(double, 3) != first
    assert sizes(pool) == 2


def test_a_key_is_free_again_when_its_message_has_ended(make):
    pool = make.queues(2)
    make.consumers(pool)
    keyed = pool.options(key="a")
    assert keyed.submit(double, 1).result(timeout=20) == 2
    assert keyed.submit(double, 2).result(timeout=20) == 4
    held = pool.options(key="b", key_window="1h")
    assert held.submit(double, 1).result(timeout=20) == 2
    assert held.submit(double, 2).result(timeout=20) == 2


def test_keys_are_known_to_other_handles_and_after_a_restart(make, cluster, name):
    first = make.queues(2, durable=True).options(key="a").submit(double, 1)
    with cluster.connect() as elsewhere:
        other = QueuePool(elsewhere, 2, durability="durable", dirpath=make.folder, name=name)
        assert other.options(key="a").submit(double, 2).id == first.id
        other.close()
    first_id = first.id
    first.pool.close()
    assert make.queues(2, durable=True).options(key="a").submit(double, 2).id == first_id


def test_many_threads_with_one_key_put_one_message(make):
    pool = make.queues(2).options(key="a")
    jobs = []
    threads = [threading.Thread(target=lambda: jobs.append(pool.submit(double, 1))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len({job.id for job in jobs}) == 1
    assert len(jobs) == 10
    assert sizes(pool) == 1


def test_a_conflict_may_be_raised_with_the_job(make):
    pool = make.queues(2).options(key="a", on_conflict="raise")
    first = pool.submit(double, 1)
    with pytest.raises(DuplicateKeyError, match="has it") as caught:
        pool.submit(double, 2)
    assert caught.value.job == first
    with pytest.raises(DuplicateKeyError) as caught:
        pool.put(1)
    assert caught.value.job == first


def test_each_call_of_a_map_has_its_key(make):
    pool = make.queues(3)
    make.consumers(pool, start=False)
    numbers = [1, 2, 1, 3, 2]
    jobs = pool.options(key=str).map(double, numbers)
    assert [job == jobs[numbers.index(number)] for job, number in zip(jobs, numbers, strict=True)] == [
        True
    ] * 5
    assert len(set(jobs)) == sizes(pool) == 3
    with pytest.raises(DuplicateKeyError, match="2 of 3 keys are taken"):
        pool.options(key=str, on_conflict="raise").map(double, [3, 4, 1])
    assert sizes(pool) == 4, "the others are put"
    consumers = make.consumers(pool)
    assert pool.gather(jobs, timeout=20) == [2 * number for number in numbers]
    consumers.cancel()


def test_a_key_may_be_made_of_all_arguments(make):
    pool = make.queues(2).options(key=lambda a, b=0: f"{a}-{b}")
    calls = [(add, 1), call(add, 1, b=2), call(add, 1, b=0), (add, 1, 2)]
    one, two, three, four = pool.batch_submit(calls)
    assert (one, two) == (three, four)
    assert pool.submit(add, 1, b=2) == two
    items = make.queues(2, name=f"{make.name}-items").options(key=lambda item: item["id"])
    assert len(set(items.put_many([{"id": "x"}, {"id": "y"}, {"id": "x"}]))) == 2


def test_one_key_for_many_messages_is_a_mistake(make):
    pool = make.queues()
    keyed = pool.options(key="a")
    for use in (
        lambda: keyed.map(double, [1, 2]),
        lambda: keyed.put_many([1]),
        lambda: keyed.batch_submit([double]),
    ):
        with pytest.raises(ValueError, match="key='a' would be the key of every one"):
            use()
    assert sizes(pool) == 0


def test_a_function_that_fails_for_a_key_is_heard_and_nothing_is_put(make):
    pool = make.queues(2)
    with pytest.raises(TypeError, match="what the function for key returned is 1"):
        pool.options(key=lambda number: number).map(double, [1, 2])
    with pytest.raises(ZeroDivisionError):
        pool.options(group=lambda number: str(1 / number)).map(double, [1, 0])
    with pytest.raises(BatchError, match="call 2 cannot be pickled"):
        pool.options(group="a").batch_submit([(double, 1), (double, 2), (double, (x for x in ()))])
    assert sizes(pool) == 0


def test_jobs_of_a_grouped_map_are_in_the_order_of_the_calls(make, durable):
    pool = make.queues(3, durable)
    make.consumers(pool, 3)
    jobs = pool.options(group=lambda number: f"group-{number % 7}").map(double, range(300), batch_size=50)
    assert pool.gather(jobs, timeout=30) == [2 * number for number in range(300)]
    homes = {}
    for number, job in enumerate(jobs):
        homes.setdefault(number % 7, set()).add(job.place.queue)
    assert all(len(queues) == 1 for queues in homes.values()), "a group has one queue"
    assert len(set.union(*homes.values())) > 1, "groups are spread"


def test_a_group_runs_in_order_however_it_was_submitted(make, tmp_path):
    pool = make.queues(2, durable=True)
    path = tmp_path / "ran"

    def note(number):
        with open(path, "a") as file:
            file.write(f"{number}\n")

    grouped = pool.options(group="a")
    grouped.map(note, range(50), batch_size=5)
    with pool.batching():
        for number in range(50, 100):
            grouped.submit(note, number)
        grouped.options(priority=5, retries=1).submit(note, 100)
    grouped.submit(note, 101)
    make.consumers(pool, 4).join(timeout=60)
    assert [int(line) for line in path.read_text().split()] == list(range(102))


def test_a_group_decides_where_a_key_counts(make):
    pool = make.queues(4)
    one, other = (pool.options(group=group, key="a") for group in ("one", "other"))
    assert one.submit(double, 1) == one.submit(double, 2)
    assert one.submit(double, 1).place.queue == pool.options(group="one").submit(double, 1).place.queue
    assert other.submit(double, 1).place.queue == pool.options(group="other").submit(double, 1).place.queue


def test_keys_with_an_asynchronous_client(cluster, name):
    async def main():
        async with Client(
            cluster.scheduler_address, asynchronous=True, direct_to_workers=True, set_as_default=False
        ) as client:
            pool = await QueuePool(client, 2, name=name)
            first = await pool.options(key="a").submit(double, 1)
            assert await pool.options(key="a").submit(double, 2) == first
            with pytest.raises(DuplicateKeyError) as caught:
                await pool.options(key="a", on_conflict="raise").submit(double, 2)
            assert caught.value.job == first
            jobs = await pool.options(key=str).map(double, [1, 1, 2])
            assert len(set(jobs)) == 2
            await pool.close()

    asyncio.run(main())
