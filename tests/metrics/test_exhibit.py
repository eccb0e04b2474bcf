"""Who is shown, and for how long."""

from __future__ import annotations

import subprocess
import sys

from engine.bench import Bench

from daskqueue.message import Run, Terms
from daskqueue.metrics.consumers import MAX_TASKS, OTHER
from daskqueue.storage.fs import LocalFileSystem

LOOK = """
import daskqueue, daskqueue.pool, daskqueue.actors.queue, daskqueue.actors.consumer, daskqueue.metrics.collector
from prometheus_client import generate_latest
print(b"daskqueue" in generate_latest())
"""


def test_importing_daskqueue_registers_nothing():
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_registry_knows_the_exhibit_only_while_there_is_something_to_show(shown, bench):
    assert shown.text == ""
    source = shown.queue(bench)
    assert shown.values("daskqueue_writable") == {("orders-0",): 1}
    shown.exhibit.add(source)
    shown.exhibit.remove(source)
    shown.exhibit.remove(source)
    assert shown.text == ""
    shown.queue(bench)
    assert shown.values("daskqueue_writable") == {("orders-0",): 1}


def test_several_queues_of_a_process_are_shown_side_by_side(shown, bench):
    bench.put(1, 2, 3)
    first = shown.queue(bench, "orders-0")
    shown.queue(bench, "orders-1")
    assert shown.values("daskqueue_enqueued_total") == {("orders-0",): 3, ("orders-1",): 3}
    shown.exhibit.remove(first)
    assert shown.values("daskqueue_enqueued_total") == {("orders-1",): 3}


def test_of_two_sources_of_one_queue_the_later_one_counts(shown, bench):
    """A queue that is opened again may be there before the lost one is cleared away."""
    shown.queue(bench, consumers=1)
    again = shown.queue(bench, consumers=7)
    assert shown.values("daskqueue_consumers") == {("orders-0",): 7}
    shown.exhibit.remove(again)
    assert shown.values("daskqueue_consumers") == {("orders-0",): 1}


def test_a_queue_that_failed_or_is_not_open_is_not_writable(shown, bench):
    shown.queue(bench)
    bench.engine._files.log.failure = "a sync failed"
    assert shown.values("daskqueue_writable") == {("orders-0",): 0}
    bench.kill()
    assert shown.values("daskqueue_writable") == {("orders-0",): 0}
    assert shown.values("daskqueue_messages") == {}


def test_counters_of_durable_facts_survive_a_restart(shown, bench):
    bench.put(1, 2)
    bench.drain()
    bench.reopen(kill=True)
    shown.queue(bench)
    assert shown.values("daskqueue_enqueued_total") == {("orders-0",): 2}
    assert shown.values("daskqueue_acked_total") == {("orders-0",): 2}
    assert shown.values("daskqueue_epoch") == {("orders-0",): 2}


def test_every_way_to_end_or_wait_is_counted_and_survives_a_kill(shown, bench):
    bench.put("first", terms=Terms(key="k"))
    bench.put("again", terms=Terms(key="k"))
    bench.put("late", expires=5.0)
    bench.clock.moment += 6.0
    bench.expire()
    bench.put("failing", "asleep", retries=1)
    hand = bench.lease()
    bench.nack(hand, [2])
    bench._soon(bench.engine.leases.release, hand.receipt, [Run(3, 4)], 60.0)
    bench.nack(hand, [0], reason="rejected", final=True)
    bench.run(bench.engine.dead.redrive(None, None))
    bench.let_it_work()
    bench.reopen(kill=True)
    shown.queue(bench)
    assert {
        name: shown.values(f"daskqueue_{name}_total")
        for name in ("expired", "snoozed", "redriven", "retried")
    } == {name: {("orders-0",): 1} for name in ("expired", "snoozed", "redriven", "retried")}
    assert shown.values("daskqueue_deduplicated_total") == {("orders-0", "resent"): 0, ("orders-0", "key"): 1}
    assert shown.values("daskqueue_nacked_total") == {("orders-0", "raised"): 1, ("orders-0", "rejected"): 1}


def test_what_makes_room_and_what_it_takes_is_counted(shown, tmp_path):
    bench = Bench(LocalFileSystem(), tmp_path / "small", max_messages=2).open()
    bench.put("oldest", "older")
    shown.queue(bench)
    before = shown.values("daskqueue_bytes")["orders-0",]
    bench.put("new", drop_oldest=True)
    assert shown.values("daskqueue_displaced_total") == {("orders-0",): 1}
    assert shown.values("daskqueue_messages")["orders-0", "ready"] == 2
    assert before > 0
    bench.drain()
    assert shown.values("daskqueue_bytes") == {("orders-0",): 0}
    bench.run(bench.engine.pause(True))
    assert shown.values("daskqueue_paused") == {("orders-0",): 1}
    bench.clear_away()


def test_a_queue_in_memory_tells_nothing_of_a_disk(shown, bench):
    bench.put(1)
    shown.queue(bench, durability="transient")
    assert {s.name for s in shown.samples if "volume" in s.name or "fsync" in s.name} == set()


def test_consumers_of_a_process_are_told_of_together(shown):
    first, second = shown.consumer(slots=4, held=3), shown.consumer(slots=2, held=9)
    first.fetched_at, second.fetched_at = 100.0, 200.0
    assert shown.values("daskqueue_slots") == {("busy",): 3 + 2, ("idle",): 1}
    assert shown.values("daskqueue_consumer_last_fetch_timestamp_seconds") == {(): 200.0}
    shown.consumers.remove(second)
    assert shown.values("daskqueue_slots") == {("busy",): 3, ("idle",): 1}
    shown.consumers.remove(first)
    assert shown.text == ""


def test_the_time_of_tasks_is_remembered_when_their_consumer_has_gone(shown):
    meter = shown.consumer()
    meter.ended("resize", "returned", 2.0, 3)
    shown.consumers.remove(meter)
    shown.consumer()
    assert shown.values("daskqueue_processing_seconds_sum") == {("returned", "resize"): 6.0}
    assert shown.values("daskqueue_processing_seconds_count") == {("returned", "resize"): 3}


def test_only_so_many_names_of_tasks_are_told_apart(shown):
    meter = shown.consumer()
    for number in range(MAX_TASKS + 5):
        meter.ended(f"task_{number}", "returned", 0.1, 1)
    meter.ended("task_0", "raised", 0.1, 1)
    meter.ended("one more", "returned", 0.1, 1)
    told = shown.values("daskqueue_processing_seconds_count")
    assert {task for _, task in told} == {OTHER, *(f"task_{number}" for number in range(MAX_TASKS))}
    assert told["returned", OTHER] == 6
    assert told["raised", "task_0"] == 1


def test_what_a_label_holds_cannot_break_the_page(shown):
    shown.consumer().ended('a"b\n\\', "returned", 0.1, 1)
    assert list(shown.values("daskqueue_processing_seconds_count")) == [("returned", 'a"b\n\\')]


def test_rendering_looks_at_the_front_of_a_backlog_and_not_at_all_of_it(shown, bench):
    bench.put(*range(6000))
    bench.cancel(*range(0, 6000, 2))
    shown.queue(bench)
    ready = bench.engine._queue.ready._plain
    blocks, looked_at = ready._blocks, []
    assert len(blocks) > 2
    ready._blocks = Watched(blocks, looked_at)
    try:
        assert shown.values("daskqueue_messages")["orders-0", "ready"] == 3000
    finally:
        ready._blocks = blocks
    assert looked_at == blocks[:1]


class Watched(list):
    """A list that notes what it is asked for."""

    def __init__(self, blocks, looked_at):
        super().__init__(blocks)
        self.looked_at = looked_at

    def __iter__(self):
        for block in super().__iter__():
            self.looked_at.append(block)
            yield block

    def __getitem__(self, index):
        self.looked_at.append(super().__getitem__(index))
        return self.looked_at[-1]
