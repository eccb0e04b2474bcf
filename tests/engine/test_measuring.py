"""What an engine measures: by the clock of the test, and counted by hand."""

from __future__ import annotations

import pytest

from daskqueue.core.tally import State
from daskqueue.engine.histogram import Histogram
from daskqueue.errors import QueueFullError


def meter(bench):
    return bench.engine._meter


def told(histogram):
    return histogram.count, round(histogram.sum, 3)


def test_a_histogram_counts_each_value_under_its_bound_and_all_above_it():
    histogram = Histogram((1.0, 10.0))
    histogram.observe(1.0)
    histogram.observe(1.5, 3)
    histogram.observe(99.0)
    assert histogram.cumulative() == [(1.0, 1), (10.0, 4), (float("inf"), 5)]
    assert told(histogram) == (5, 104.5)


def test_waiting_is_measured_from_the_put_to_the_first_lease(bench):
    bench.put(1, 2)
    bench.clock.moment += 10
    bench.put(3)
    bench.clock.moment += 5
    assert bench.lease()
    assert told(meter(bench).wait_seconds) == (3, 2 * 15 + 5)


def test_what_was_tried_before_does_not_count_as_waiting(bench):
    bench.put(1, 2, retries=1)
    hand = bench.lease()
    bench.nack(hand, [0])
    bench.lose("carol")
    bench.clock.moment += 100
    assert sorted([*bench.lease().values, *bench.lease().values]) == [0, 1]
    assert told(meter(bench).wait_seconds) == (2, 0)


def test_a_lease_that_is_asked_for_twice_is_measured_once(bench):
    bench.put(1)
    bench.lease(request=7)
    bench.lease(request=7)
    assert meter(bench).wait_seconds.count == 1


def test_the_way_of_a_message_is_measured_when_it_is_acked_and_once(bench):
    bench.put(1, 2, 3)
    bench.clock.moment += 2
    hand = bench.lease()
    bench.clock.moment += 4
    bench.ack(hand, [0, 1])
    bench.ack(hand, [0, 1])
    assert told(meter(bench).end_to_end_seconds) == (2, 12)


def test_a_commit_is_measured_by_its_messages_and_its_sync(bench):
    bench.put(*range(7))
    bench.put(*range(3))
    assert told(meter(bench).commit_messages) == (2, 10)
    assert meter(bench).fsync_seconds.count == 2
    assert meter(bench).put_seconds.count == 2
    assert 0 < meter(bench).put_seconds.sum < 60


def test_a_failed_sync_is_measured_too(bench, monkeypatch):
    def fail(*_):
        raise OSError(5, "broken")

    monkeypatch.setattr(type(bench.fs), "sync", fail)
    with pytest.raises(Exception, match="broken"):
        bench.put(1)
    assert meter(bench).fsync_seconds.count == 1
    assert meter(bench).commit_messages.count == 0
    assert "broken" in bench.engine.reading().failure


def test_a_reading_tells_the_age_of_the_oldest_in_each_state(bench):
    bench.put("dead", "leased")
    bench.clock.moment += 10
    bench.put("ready")
    bench.put("delayed", delay=1000.0)
    hand = bench.lease(want=2)
    bench.nack(hand, [0], final=True)
    bench.clock.moment += 5
    reading = bench.engine.reading()
    assert reading.messages == dict.fromkeys((State.READY, State.LEASED, State.DELAYED, State.DEAD), 1)
    assert reading.oldest_seconds == {State.READY: 5, State.LEASED: 15, State.DELAYED: 5, State.DEAD: 15}
    assert reading.as_stats()["oldest_age_seconds"] == 15
    assert reading.as_stats()["messages"] == {"ready": 1, "leased": 1, "delayed": 1, "dead": 1}


def test_what_is_due_counts_as_ready_before_anybody_asks_for_it(bench):
    bench.put("soon", delay=10.0)
    bench.put("later", delay=100.0)
    bench.clock.moment += 20
    reading = bench.engine.reading()
    assert (reading.messages[State.READY], reading.messages[State.DELAYED]) == (1, 1)
    assert reading.oldest_seconds == {State.READY: 20, State.DELAYED: 20}
    assert bench.counts["delayed"] == 2, "the reading has changed nothing"


def test_an_empty_queue_has_no_oldest_message(bench):
    assert bench.engine.reading().oldest_seconds == {}
    assert bench.engine.reading().as_stats()["oldest_age_seconds"] is None


def test_ages_survive_a_restart(bench):
    bench.put(1)
    bench.clock.moment += 30
    bench.reopen()
    bench.clock.moment += 12
    assert bench.engine.reading().oldest_seconds == {State.READY: 42}


def test_after_a_kill_the_age_of_what_no_checkpoint_knows_counts_from_the_opening(bench):
    bench.put("in the checkpoint")
    bench.reopen()
    bench.clock.moment += 30
    bench.put("not in one")
    bench.clock.moment += 30
    bench.reopen(kill=True)
    bench.clock.moment += 5
    assert bench.engine.reading().oldest_seconds == {State.READY: 65}
    bench.lease(want=1)
    assert bench.engine.reading().oldest_seconds == {State.READY: 5, State.LEASED: 65}


def test_a_full_queue_refuses_and_is_not_measured_as_a_put(make_bench):
    bench = make_bench(max_messages=2)
    bench.put(1, 2)
    with pytest.raises(QueueFullError):
        bench.put(3)
    assert meter(bench).put_seconds.count == 1


def test_what_cannot_be_read_counts_as_corrupt(quick):
    quick.put(1, 2, 3)
    quick.reopen()  # nothing is in memory any more
    quick.engine._reader.read = lambda _: []
    quick.lease()
    assert quick.engine.reading().corrupt_records == 3
