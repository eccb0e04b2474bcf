"""Looking at what comes next, and at numbers, without touching anything."""

from __future__ import annotations

import pytest

from daskqueue.batch import Batch
from daskqueue.message import Terms

PLENTY = 1 << 20


def peek(bench, limit=100, max_bytes=PLENTY):
    return bench.run(bench.engine.overview.peek(limit, max_bytes))


def values(rows):
    return [value for row in rows for value in Batch.parse(row.batch).items()]


def test_a_look_shows_what_comes_next_in_order_and_leases_nothing(bench):
    bench.put("a", "b")
    bench.put("c", delay=50.0)
    bench.put("d")
    assert values(peek(bench)) == ["a", "b", "d", "c"]
    assert values(peek(bench, limit=1)) == ["a"]
    assert [row.state for row in peek(bench)] == ["ready", "ready", "delayed"]
    assert peek(bench)[-1].due_at == bench.clock.now() + 50
    assert bench.counts == {"ready": 3, "delayed": 1, "leased": 0, "dead": 0}
    assert list(bench.drain()) == [0, 1, 3]


def test_a_look_is_in_the_order_of_priorities(bench):
    bench.put("low", terms=Terms(priority=-1))
    bench.put("plain")
    bench.put("high", terms=Terms(priority=5))
    rows = peek(bench)
    assert values(rows) == ["high", "plain", "low"]
    assert [row.terms and row.terms.priority for row in rows] == [5, None, -1]


def test_a_look_shows_who_waits_for_a_turn_behind_those_who_may_run(bench):
    bench.put("first", "second", terms=Terms(group="g"))
    bench.put("other")
    rows = peek(bench)
    assert values(rows) == ["first", "other", "second"]
    assert [row.state for row in rows] == ["ready", "ready", "delayed"]


def test_a_delayed_message_that_is_due_is_shown_as_ready(bench):
    bench.put("a", delay=5.0)
    bench.clock.moment += 6
    ((row),) = peek(bench)
    assert (row.state, row.due_at) == ("ready", None)


def test_a_look_tells_how_often_a_message_was_tried(bench):
    bench.put("a", retries=3)
    bench.nack(bench.lease())
    (row,) = peek(bench)
    assert (row.state, row.attempts, row.losses) == ("delayed", 1, 0)


def test_a_look_is_bounded_by_bytes(quick):
    for _ in range(5):
        quick.put("x" * 10_000)
    assert len(values(peek(quick, max_bytes=15_000))) == 2
    assert len(values(peek(quick, max_bytes=0))) == 1


def test_nothing_is_shown_of_an_empty_queue_nor_of_what_runs(bench):
    assert peek(bench) == []
    bench.put("a")
    bench.lease()
    assert peek(bench) == []


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "closed"])
def test_a_paused_queue_hands_out_nothing_until_it_goes_on(bench, kill):
    bench.put("a")
    bench.run(bench.engine.pause(True))
    bench.run(bench.engine.pause(True))
    assert bench.lease() is None
    bench.reopen(kill=kill)
    assert bench.engine.overview.stats()["paused"]
    assert bench.lease() is None
    assert values(peek(bench)) == ["a"]
    bench.run(bench.engine.pause(False))
    assert bench.lease() is not None


def test_numbers_tell_states_bytes_counters_and_rates_since_the_opening(bench):
    bench.put(*range(10))
    bench.ack(bench.lease(4))
    bench.reopen()
    bench.clock.moment += 10
    bench.nack(bench.lease(2), final=True)
    bench.put(1, 2, 3, 4, 5)
    stats = bench.engine.overview.stats()
    assert stats["messages"] == {"ready": 9, "leased": 0, "delayed": 0, "dead": 2}
    assert stats["message_bytes"] == bench.engine.reading().message_bytes > 0
    assert stats["counters"]["enqueued"] == 15
    assert stats["counters"]["acked"] == 4
    assert stats["counters"]["dead"] == 2
    assert stats["dead_by_reason"] == {"raised": 2}
    assert stats["rates"] == {"enqueued": 0.5, "delivered": 0.2, "acked": 0.0, "retried": 0.0, "dead": 0.2}
    assert not stats["paused"]
