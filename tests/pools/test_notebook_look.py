"""What the users of the notebook see: reprs, log lines, names, results; to the letter."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from daskqueue import ConsumerPool, DummyConsumer, QueuePool

from .conftest import values_of

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def process_item():
    return sum(i * i for i in range(10**2))


def test_the_notebooks_first_half(client, name, log_lines):
    queue_pool = QueuePool(client, n_queues=2, name=name)
    assert log_lines() == ["Created 2 queues in Cluster and one QueueManager."]
    line = rf"\n\tTransientQueue-{UUID}: 0 pending items"
    empty = rf"QueuePool : 2 queue\(s\){line}{line}"
    assert re.fullmatch(empty, repr(queue_pool))
    consumer_pool = ConsumerPool(client, queue_pool, n_consumers=2)
    assert repr(consumer_pool) == (
        "Consumers : 2 Consumers(s)\n"
        "\tGeneralConsumer-0: 0 received, 0 pending tasks\n"
        "\tGeneralConsumer-1: 0 received, 0 pending tasks"
    )
    for _ in range(10):
        queue_pool.submit(process_item)
    assert re.fullmatch(empty.replace(": 0", ": 5"), repr(queue_pool))
    consumer_pool.start()
    consumer_pool.join()
    assert log_lines()[1:] == [
        "Starting 2 consumers",
        "Waiting for the 2 consumers to process all items in queue_pool...",
        "All consumers are done ! 10 items processed. ",
        "Cancelling 2 consumers.",
        "Consumer state : None",
    ]
    result = consumer_pool.results()
    assert list(result) == ["GeneralConsumer-0", "GeneralConsumer-1"]
    assert all(isinstance(found, defaultdict) for found in result.values())
    assert values_of(result) == [328350] * 10
    assert all(isinstance(key, int) and 0 <= key < 2**61 for found in result.values() for key in found)
    assert re.fullmatch(empty, repr(queue_pool))
    received = re.findall(r"GeneralConsumer-\d: (\d+) received, 0 pending tasks", repr(consumer_pool))
    assert sum(map(int, received)) == 10


def test_five_and_more_are_summed_up(make):
    queue_pool = make.queues(5)
    queue_pool.map(abs, range(100), batch_size=10)
    assert repr(queue_pool) == "QueuePool : \n\t5 queue(s) \n\t100 received \n\t100 pending"
    consumer_pool = make.consumers(queue_pool, 5, batch_size=1000, start=False)
    assert repr(consumer_pool) == "Consumers : \n\t5 Consumers(s), \n\t0 received \n\t0 pending "
    consumer_pool.start()
    consumer_pool.join(timeout=30)
    assert repr(consumer_pool) == "Consumers : \n\t5 Consumers(s), \n\t100 received \n\t0 pending "
    assert repr(queue_pool) == "QueuePool : \n\t5 queue(s) \n\t100 received \n\t0 pending"


def test_four_are_listed(make):
    queue_pool = make.queues(4, durable=True)
    assert re.fullmatch(
        rf"QueuePool : 4 queue\(s\)(\n\tDurableQueue-{UUID}: 0 pending items){{4}}", repr(queue_pool)
    )
    assert repr(make.consumers(queue_pool, 4, start=False)).startswith(
        "Consumers : 4 Consumers(s)\n\tGeneralConsumer-0:"
    )


def test_progress_shows_queues_and_consumers(make, log_lines, monkeypatch, gate):
    monkeypatch.setattr("daskqueue.consumer_pool.PROGRESS_SECONDS", 0.05)
    queue_pool = make.queues()
    consumer_pool = make.consumers(queue_pool)
    queue_pool.submit(gate.wait)
    gate.expect()
    with pytest.raises(TimeoutError):
        consumer_pool.join(timeout=0.12, progress=True)
    gate.let()
    consumer_pool.join(timeout=30, progress=True)
    lines = log_lines()
    assert any(
        re.fullmatch(rf"QueuePool : 1 queue\(s\)\n\tTransientQueue-{UUID}: 1 pending items", line)
        for line in lines
    )
    assert "Consumers : 1 Consumers(s)\n\tGeneralConsumer-0: 1 received, 1 pending tasks" in lines


def test_ten_submits_on_two_queues_show_five_and_five(make, durable):
    queue_pool = make.queues(2, durable)
    for _ in range(10):
        queue_pool.submit(process_item)
    assert list(queue_pool.get_queue_size().values()) == [5, 5]
    assert [queue.qsize() for queue in queue_pool] == [5, 5]
    assert len(queue_pool) == 2


def test_batches_go_round_robin_too(make):
    queue_pool = make.queues(2)
    queue_pool.batch_submit([(process_item,) for _ in range(100_000)], batch_size=10_000)
    assert list(queue_pool.get_queue_size().values()) == [50_000, 50_000]


def test_a_pool_and_its_options_share_the_round(make):
    queue_pool = make.queues(2)
    for _ in range(5):
        queue_pool.submit(process_item)
        queue_pool.options(retries=1).submit(process_item)
    assert list(queue_pool.get_queue_size().values()) == [5, 5]


def test_consumers_are_named_after_their_class(make):
    queue_pool = make.queues()
    consumer_pool = make.consumers(queue_pool, 3, consumer_class=DummyConsumer)
    assert list(consumer_pool) == ["DummyConsumer-0", "DummyConsumer-1", "DummyConsumer-2"]
    assert len(consumer_pool) == 3
    assert consumer_pool[1] == "DummyConsumer-1"
    queue_pool.put_many(range(10))
    consumer_pool.join(timeout=30)
    assert values_of(consumer_pool.results()) == [None] * 10


def test_two_consumer_pools_see_their_own_results_only(make):
    queue_pool = make.queues()
    first = make.consumers(queue_pool)
    queue_pool.map(abs, range(10))
    first.join(timeout=30)
    second = make.consumers(queue_pool)
    queue_pool.map(abs, range(100, 105))
    second.join(timeout=30)
    assert sorted(values_of(first.results())) == list(range(10))
    assert sorted(values_of(second.results())) == list(range(100, 105))
    assert (first.nb_consumed(), second.nb_consumed()) == (10, 5)


def test_reprs_are_shown_as_html_too(make):
    queue_pool = make.queues()
    assert "QueuePool : 1 queue(s)" in queue_pool._repr_html_()
    assert "Consumers : 1 Consumers(s)" in make.consumers(queue_pool)._repr_html_()


def test_a_queue_of_the_pool_is_shown(make):
    queue_pool = make.queues(2)
    queue_pool.submit(process_item)
    assert re.fullmatch(rf"TransientQueue-{UUID}: 1 pending items", repr(queue_pool[0]))
    assert repr(queue_pool[-1]) == repr(queue_pool[1])
    with pytest.raises(IndexError):
        queue_pool[2]
