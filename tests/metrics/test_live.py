"""Metrics of real processes: of a Dask worker, and of hosts as a real Prometheus reads them."""

from __future__ import annotations

import time
import urllib.request

import pytest
from clusters import until

from daskqueue import ConsumerPool, QueuePool, connect
from daskqueue.errors import QueueFullError

from .exposition import samples_of
from .prometheus import PROGRAM, prometheus


def snooze(_):
    time.sleep(0.01)


def fail(_):
    raise ValueError("on purpose")


@pytest.fixture
def pages(fragile_client, name):
    """Returns what /metrics of all workers show, as samples; of queues only those of the test's own pool.

    The cluster is this module's own: a process tells apart only so many names of tasks in its life.
    """

    def fetch():
        workers = fragile_client.scheduler_info()["workers"].values()
        texts = [read(f"http://127.0.0.1:{worker['services']['dashboard']}/metrics") for worker in workers]
        samples = [sample for text in texts for sample in samples_of(text)]
        return [sample for sample in samples if sample.labels.get("queue", name).startswith(name)]

    return fetch


def read(address):
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read().decode()


def value_of(samples, name, **labels):
    """Return the sum of all values of a metric with these labels."""
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def test_a_dask_worker_tells_of_its_queues_and_consumers(fragile_cluster, name, pages):
    label = f"{name}-0"
    with fragile_cluster.connect() as client:
        queues = QueuePool(client, 2, name=name)
        queues.map(snooze, range(30))
        queues.map(fail, range(3))
        waiting = pages()
        assert value_of(waiting, "daskqueue_messages", state="ready") == 33
        assert value_of(waiting, "daskqueue_messages", queue=label) in range(1, 33)
        consumers = ConsumerPool(client, queues, n_consumers=2)
        consumers.start()
        until(lambda: value_of(pages(), "daskqueue_messages", state="dead") == 3)
        until(lambda: value_of(pages(), "daskqueue_acked_total") == 30)
        until(lambda: value_of(pages(), "daskqueue_slots", state="idle") == 2)
        done = pages()
        assert value_of(done, "daskqueue_dead_lettered_total", reason="raised") == 3
        assert value_of(done, "daskqueue_end_to_end_seconds_count") == 30
        assert value_of(done, "daskqueue_processing_seconds_count", task="snooze", outcome="returned") == 30
        assert 0.3 <= value_of(done, "daskqueue_processing_seconds_sum", task="snooze") < 1.0
        assert value_of(done, "daskqueue_processing_seconds_count", task="fail", outcome="raised") == 3
        assert value_of(done, "daskqueue_consumers", queue=label) == 2
        assert value_of(done, "daskqueue_info", durability="transient") == 2
        consumers.cancel(timeout=0.0)
        until(lambda: value_of(pages(), "daskqueue_slots") == 0)


def test_a_put_that_finds_no_room_is_counted(fragile_cluster, name, pages):
    with fragile_cluster.connect() as client:
        queues = QueuePool(client, 1, name=name, max_messages=1)
        queues.submit(snooze, 1)
        with pytest.raises(QueueFullError):
            queues.options(put_timeout=0.05).submit(snooze, 2)
        assert value_of(pages(), "daskqueue_rejected_total", reason="full") == 1
        assert value_of(pages(), "daskqueue_enqueued_total") == 1


def test_a_dask_worker_tells_nothing_when_its_queues_are_gone(fragile_cluster, name, pages):
    with fragile_cluster.connect() as client:
        queues = QueuePool(client, 2, name=name)
        assert len(queues.queues.refs) == 2
        assert value_of(pages(), "daskqueue_writable", queue=f"{name}-1") == 1
    until(lambda: value_of(pages(), "daskqueue_writable", queue=f"{name}-1") == 0)


@pytest.mark.skipif(
    PROGRAM is None, reason="prometheus is missing; it comes with Debian's package prometheus"
)
def test_a_real_prometheus_reads_hosts_that_work(tmp_path, site, name):
    site.scheduler()
    queue, consumer = site.queue(), site.consumer("--slots", 3)
    queue.wait_ready()
    consumer.wait_ready()
    with prometheus(tmp_path, {"shard": queue.port, "consumer": consumer.port}) as ask:
        until(lambda: ask('up{job="shard"}') == 1 and ask('up{job="consumer"}') == 1, 30)
        with connect(name, site.address) as pool:
            pool.gather(pool.map(time.sleep, [0.01] * 40))
        label = f'queue="{name}-0"'
        until(lambda: ask(f"daskqueue_acked_total{{{label}}}") == 40)
        until(lambda: ask(f'daskqueue_messages{{{label},state="ready"}}') == 0)
        until(lambda: ask('daskqueue_processing_seconds_count{task="sleep",outcome="returned"}') == 40)
        until(lambda: ask('daskqueue_slots{state="idle"}') == 3)
        median = ask("histogram_quantile(0.5, daskqueue_processing_seconds_bucket)")
        assert 0.01 <= median <= 0.05
        assert 0 < ask(f"daskqueue_volume_free_bytes{{{label}}} / daskqueue_volume_size_bytes") < 1
        assert ask('scrape_duration_seconds{job="shard"}') < 0.25


def test_a_queue_that_does_not_come_up_is_told_as_not_writable(site, name):
    """Somebody must be called for it, so Prometheus must see more than that nothing is there."""
    holder = site.queue()
    holder.says("is open")
    waiting = site.queue()
    waiting.says("Waiting for the folder")
    writable = f'daskqueue_writable{{queue="{name}-0"}}'
    assert f"{writable} 1.0" in holder.get("/metrics")[1]
    assert f"{writable} 0.0" in waiting.get("/metrics")[1]
    holder.kill()
    until(lambda: f"{writable} 1.0" in waiting.get("/metrics")[1])
