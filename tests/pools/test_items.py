"""What may be submitted: raw items for consumers of one's own, calls of every shape, coroutines."""

from __future__ import annotations

import asyncio
import functools

import pytest
from distributed import get_client, get_worker

import daskqueue
from daskqueue import ConsumerBaseClass, DummyConsumer, GeneralConsumer, Message

from .conftest import values_of

FALSY = [0, "", [], None, False, 0.0, {}, (), b""]


class Wrap(ConsumerBaseClass):
    """Returns what it was given, packed."""

    def process_item(self, item):
        return ("seen", item)


class AsyncWrap(ConsumerBaseClass):
    """The same, with a coroutine function."""

    async def process_item(self, item):
        await asyncio.sleep(0)
        return ("awaited", item)


class Counting(GeneralConsumer):
    """Calls the function and says which message it was."""

    def process_item(self, item):
        assert isinstance(item, Message)
        return (hash(item), item.function.__name__, item.args, dict(item.kwargs), super().process_item(item))


class Opening(ConsumerBaseClass):
    """Opens something in setup."""

    def setup(self):
        self.opened = get_worker().address

    def process_item(self, item):
        return self.opened


def keyword(number, *, factor=1, power=1):
    return (number * factor) ** power


async def double_later(number):
    await asyncio.sleep(0)
    return 2 * number


async def fail_later():
    await asyncio.sleep(0)
    raise ValueError("later")


class AsyncCallable:
    async def __call__(self, number):
        return 3 * number


def sync_wrapper_of_coroutine(number):
    return double_later(number)


@pytest.mark.parametrize("threads", [1, 3])
def test_raw_and_falsy_items_reach_a_custom_consumer(make, durable, threads):
    pool = make.queues(2, durable)
    consumers = make.consumers(pool, 2, consumer_class=Wrap, max_concurrency=threads)
    jobs = pool.put_many(FALSY, batch_size=2)
    single = [pool.put(item) for item in FALSY]
    consumers.join(timeout=30)
    assert len(values_of(consumers.results())) == 2 * len(FALSY)
    for made in (jobs, single):
        seen = [job.result(timeout=10) for job in made]
        assert seen == [("seen", item) for item in FALSY]
        assert [type(item) for _, item in seen] == [type(item) for item in FALSY]


def test_falsy_results_are_results(make):
    pool = make.queues()
    consumers = make.consumers(pool)
    jobs = pool.batch_submit([(lambda item=item: item,) for item in FALSY])
    consumers.join(timeout=30)
    assert [job.result(timeout=10) for job in jobs] == FALSY
    assert len(values_of(consumers.results())) == len(FALSY)


def test_a_custom_consumer_sees_the_whole_message(make):
    pool = make.queues()
    consumers = make.consumers(pool, consumer_class=Counting)
    job = pool.submit(keyword, 3, factor=2)
    assert job.result(timeout=10) == (hash(job), "keyword", (3,), {"factor": 2}, 6)
    batch = pool.map(keyword, [1, 2], factor=10)
    assert [found[4] for found in (job.result(timeout=10) for job in batch)] == [10, 20]
    consumers.join(timeout=30)


def test_setup_runs_on_the_worker_before_the_first_item(make):
    pool = make.queues()
    consumers = make.consumers(pool, consumer_class=Opening)
    assert pool.put(0).result(timeout=10) in make.client.run(lambda: None)
    consumers.join(timeout=30)


def test_a_general_consumer_refuses_raw_items_with_advice(make):
    pool = make.queues()
    make.consumers(pool)
    error = pool.put([1]).exception(timeout=10)
    assert isinstance(error, TypeError)
    assert "process_item" in str(error)


def test_a_dummy_consumer_takes_everything(make):
    pool = make.queues()
    consumers = make.consumers(pool, consumer_class=DummyConsumer)
    pool.put_many(FALSY)
    pool.submit(keyword, 1)
    consumers.join(timeout=30)
    assert values_of(consumers.results()) == [None] * (len(FALSY) + 1)


def test_items_are_alone_with_their_objects(make):
    class Spoil(ConsumerBaseClass):
        def process_item(self, item):
            item.append(len(item))
            return item

    shared = [0]
    pool = make.queues()
    consumers = make.consumers(pool, consumer_class=Spoil)
    pool.put_many([shared, shared, shared])
    consumers.join(timeout=30)
    assert values_of(consumers.results()) == [[0, 1]] * 3


def test_calls_of_every_shape(make):
    pool = make.queues()
    consumers = make.consumers(pool)
    jobs = pool.batch_submit(
        (
            call
            for call in [
                (keyword, 2),
                daskqueue.call(keyword, 2, factor=3),
                functools.partial(keyword, 2, power=3),
                (len, "abc"),
            ]
        ),
    )
    more = pool.batch_submit(
        [(keyword, 2), daskqueue.call(keyword, 2, power=1)], kwargs={"factor": 5, "power": 2}
    )
    mapped = pool.map(keyword, range(3), factor=7)
    zipped = pool.map(pow, [2, 3], [4, 5])
    single = pool.submit(keyword, 2, factor=4)
    consumers.join(timeout=30)
    assert [job.result(timeout=10) for job in jobs] == [2, 6, 8, 3]
    assert [job.result(timeout=10) for job in more] == [100, 10]
    assert [job.result(timeout=10) for job in mapped] == [0, 7, 14]
    assert [job.result(timeout=10) for job in zipped] == [16, 243]
    assert single.result(timeout=10) == 8


def test_an_empty_batch_is_no_message(make):
    pool = make.queues()
    assert list(pool.batch_submit([])) == []
    assert list(pool.map(keyword, [])) == []
    assert list(pool.put_many([])) == []
    assert pool[0].qsize() == 0


def test_iterables_are_taken_lazily(make):
    pool = make.queues(max_messages=10)
    taken = []

    def calls():
        for number in range(10_000):
            taken.append(number)
            yield (keyword, number)

    jobs = pool.options(put_timeout=0.1)
    with pytest.raises(daskqueue.errors.QueueFullError):
        jobs.batch_submit(calls(), batch_size=1)
    assert len(taken) < 10_000


@pytest.mark.parametrize("threads", [1, 3])
def test_coroutine_functions_are_awaited(make, durable, threads):
    pool = make.queues(1, durable)
    consumers = make.consumers(pool, max_concurrency=threads)
    jobs = pool.batch_submit(
        [
            (double_later, 1),
            (keyword, 5),
            (functools.partial(double_later, 2),),
            (fail_later,),
            (double_later, 3),
        ]
    )
    consumers.join(timeout=30)
    assert [jobs[index].result(timeout=10) for index in (0, 1, 2, 4)] == [2, 5, 4, 6]
    error = jobs[3].exception(timeout=10)
    assert isinstance(error, ValueError)
    assert "in fail_later" in jobs[3].traceback()


def test_whatever_returns_a_coroutine_is_awaited(make):
    pool = make.queues()
    consumers = make.consumers(pool)
    jobs = pool.batch_submit(
        [(AsyncCallable(), 1), (sync_wrapper_of_coroutine, 2), (lambda: double_later(3),)]
    )
    consumers.join(timeout=30)
    assert [job.result(timeout=10) for job in jobs] == [3, 4, 6]


def test_a_custom_consumer_may_be_asynchronous(make):
    pool = make.queues()
    consumers = make.consumers(pool, consumer_class=AsyncWrap)
    jobs = pool.put_many([1, 2])
    consumers.join(timeout=30)
    assert [job.result(timeout=10) for job in jobs] == [("awaited", 1), ("awaited", 2)]


def test_a_custom_consumer_awaits_coroutine_functions_that_it_runs(make):
    pool = make.queues()
    consumers = make.consumers(pool, consumer_class=Counting)
    job = pool.submit(double_later, 4)
    assert job.result(timeout=10)[-1] == 8
    consumers.join(timeout=30)


def test_slow_coroutines_share_one_consumer(make, gate):
    """As many at once as max_concurrency says, and the worker's own loop stays free."""

    async def wait_for_test(gate, number):
        return await asyncio.get_running_loop().run_in_executor(None, gate.wait, number)

    pool = make.queues()
    consumers = make.consumers(pool, max_concurrency=3)
    jobs = pool.map(functools.partial(wait_for_test, gate), range(3))
    gate.expect(3)
    assert repr(consumers).endswith("3 pending tasks")
    gate.let(3)
    consumers.join(timeout=30)
    assert [job.result(timeout=10) for job in jobs] == [0, 1, 2]


def where_am_i():
    return get_worker().address


def ask_the_cluster():
    return get_client().submit(keyword, 6, factor=7, pure=False).result()


async def where_am_i_async():
    return get_worker().address


@pytest.mark.parametrize("threads", [1, 2])
def test_the_worker_is_known_inside_a_task(make, threads):
    pool = make.queues()
    consumers = make.consumers(pool, max_concurrency=threads)
    workers = set(make.client.run(lambda: None))
    assert pool.submit(where_am_i).result(timeout=10) in workers
    assert pool.submit(where_am_i_async).result(timeout=10) in workers
    consumers.join(timeout=30)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_task_uses_the_cluster_through_get_client(make, threads):
    pool = make.queues()
    consumers = make.consumers(pool, max_concurrency=threads)
    assert pool.submit(ask_the_cluster).result(timeout=20) == 42
    consumers.join(timeout=30)


def test_large_arguments_and_results_travel(make, durable):
    pool = make.queues(1, durable)
    consumers = make.consumers(pool)
    data = bytes(3_000_000)
    jobs = pool.batch_submit([(bytes.__add__, data, data[:number]) for number in range(4)])
    consumers.join(timeout=60)
    assert [len(job.result(timeout=20)) for job in jobs] == [3_000_000 + number for number in range(4)]
    assert sorted(map(len, values_of(consumers.results()))) == [3_000_000 + number for number in range(4)]
