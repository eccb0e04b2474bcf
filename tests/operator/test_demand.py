"""What counters say about the load."""

from __future__ import annotations

import pytest

from daskqueue_operator.demand import Meter
from daskqueue_operator.scrape import ConsumerReading, ShardReading


def shard(enqueued):
    return ShardReading(0, 0, 0, 0, None, enqueued, 0, None)


def consumer(seconds=0.0, number=0, busy=0):
    return ConsumerReading(1, busy, busy, False, seconds, number)


def test_the_first_look_at_a_counter_is_no_arrival():
    demand = Meter().look({"q-shard-0": shard(1_000_000)}, {}, 0.0)
    assert (demand.arrivals_per_second, demand.moved) == (0.0, False)


def test_what_comes_in_steadily_is_counted_each_second():
    meter = Meter()
    for now in range(0, 300, 2):
        demand = meter.look({"q-shard-0": shard(50 * now), "q-shard-1": shard(10 * now)}, {}, float(now))
    assert demand.arrivals_per_second == pytest.approx(60)
    assert demand.moved


def test_what_has_stopped_coming_in_fades():
    meter = Meter()
    rates = [
        meter.look({"q-shard-0": shard(min(now, 60) * 100)}, {}, float(now)).arrivals_per_second
        for now in range(400)
    ]
    assert rates[60] == pytest.approx(100)
    assert rates[60:] == sorted(rates[60:], reverse=True)
    assert rates[399] < 1


def test_a_counter_that_goes_back_brings_no_wave():
    meter = Meter()
    meter.look({"q-shard-0": shard(1_000_000)}, {}, 0.0)
    assert meter.look({"q-shard-0": shard(999_990)}, {}, 10.0).arrivals_per_second == 0.0
    assert meter.look({"q-shard-0": shard(1_000_010)}, {}, 20.0).arrivals_per_second == pytest.approx(
        1.0, rel=0.1
    )


def test_what_came_in_while_a_shard_did_not_answer_is_spread_over_that_time():
    meter = Meter()
    meter.look({"q-shard-0": shard(0)}, {}, 0.0)
    for now in range(1, 20):
        meter.look({"q-shard-0": None}, {}, float(now))
    assert meter.look({"q-shard-0": shard(100)}, {}, 20.0).arrivals_per_second == pytest.approx(5)


def test_tasks_take_what_those_that_ended_took():
    meter = Meter()
    assert meter.look({}, {"a": consumer(), "b": consumer()}, 0.0).mean_seconds is None
    demand = meter.look({}, {"a": consumer(10.0, 5), "b": consumer(2.0, 1)}, 10.0)
    assert (demand.mean_seconds, demand.moved) == (2.0, True)


def test_tasks_of_consumers_that_have_gone_are_not_forgotten():
    meter = Meter()
    meter.look({}, {"a": consumer(10.0, 5)}, 0.0)
    assert meter.look({}, {}, 600.0).mean_seconds == 2.0


def test_a_consumer_of_the_same_name_that_began_again_takes_nothing_back():
    meter = Meter()
    meter.look({}, {"a": consumer(100.0, 100)}, 0.0)
    assert meter.look({}, {"a": consumer(3.0, 3)}, 1.0).mean_seconds == pytest.approx(1.0)


def test_tasks_take_at_least_as_long_as_none_has_ended_while_some_ran():
    meter = Meter()
    means = [
        meter.look({}, {"a": consumer(0.001, 1000, busy=1)}, float(now)).mean_seconds for now in range(40)
    ]
    assert means[0] == pytest.approx(1e-6)
    assert means[30] == 30
    assert meter.look({}, {"a": consumer(0.001, 1000)}, 41.0).mean_seconds == pytest.approx(1e-6)


def test_the_first_task_that_runs_is_as_long_as_it_has_run():
    meter = Meter()
    assert meter.look({}, {"a": consumer(busy=1)}, 5.0).mean_seconds is None
    assert meter.look({}, {"a": consumer(busy=1)}, 12.0).mean_seconds == 7.0


def test_other_tasks_than_before_are_soon_believed():
    meter = Meter()
    meter.look({}, {"a": consumer(0.05, 45_000)}, 0.0)
    for now in range(1, 91):
        demand = meter.look({}, {"a": consumer(0.05 + now, 45_000 + 10 * now)}, float(now))
    assert demand.mean_seconds == pytest.approx(0.1, rel=0.6)


def test_a_clock_that_is_set_back_gives_no_nonsense():
    meter = Meter()
    meter.look({"q-shard-0": shard(0)}, {"a": consumer(1.0, 1, busy=1)}, 1000.0)
    demand = meter.look({"q-shard-0": shard(10)}, {"a": consumer(2.0, 2, busy=1)}, 10.0)
    assert demand.arrivals_per_second == 0.0
    assert demand.mean_seconds == 1.0
    assert meter.look({"q-shard-0": shard(20)}, {}, 20.0).arrivals_per_second == pytest.approx(2.0, rel=0.1)
