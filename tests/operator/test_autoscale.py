"""How many consumers a queue needs: laws, and faults that the laws must find."""

from __future__ import annotations

import types
from pathlib import Path

import pytest
import scaling_laws
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scaling_laws import HISTORIES, LAWS, Line, limits, looks

from daskqueue_operator import autoscale

BOUNDED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=1500,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def examine(law, module):
    @given(limits(), st.integers(0, 20), HISTORIES, looks())
    def examined(bounds, replicas, history, seen):
        law(Line(module, bounds, replicas), history, seen)

    return examined


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_law_holds(law):
    settings(max_examples=50)(examine(law, autoscale))()


FAULTS = {  # the fault, what it changes, and the law that finds it
    "the_maximum_is_forgotten": (
        "(LimitedBy.MAX_REPLICAS, limits.max_consumers)",
        "(LimitedBy.MAX_REPLICAS, 99999)",
        scaling_laws.stays_within_the_limits,
    ),
    "the_minimum_is_forgotten": (
        "(LimitedBy.MIN_REPLICAS, limits.min_consumers)",
        "(LimitedBy.MIN_REPLICAS, 0)",
        scaling_laws.stays_within_the_limits,
    ),
    "missing_metrics_are_zeros": (
        "    if inputs.missing:\n        at_least",
        "    if False:\n        at_least",
        scaling_laws.nothing_known_holds_the_number,
    ),
    "missing_metrics_are_rest": (
        "not inputs.idle or inputs.missing or",
        "not inputs.idle or",
        scaling_laws.what_is_missing_is_no_rest,
    ),
    "the_last_consumer_goes_at_once": (
        "quiet_seconds >= limits.idle_seconds",
        "True",
        scaling_laws.idleness_ends_at_the_least,
    ),
    "the_last_consumer_never_goes": (
        "quiet_seconds >= limits.idle_seconds",
        "False",
        scaling_laws.idleness_ends_at_the_least,
    ),
    "leased_messages_do_not_count": (
        "return self.ready + self.leased",
        "return self.ready",
        scaling_laws.a_message_is_never_left_alone,
    ),
    "part_of_a_consumer_is_none": (
        "fewest = math.ceil(need.consumers - ROUNDING)",
        "fewest = math.floor(need.consumers)",
        scaling_laws.a_message_is_never_left_alone,
    ),
    "there_is_no_margin": (
        "needs[-1].consumers * DOWN_MARGIN",
        "needs[-1].consumers",
        scaling_laws.a_load_that_trembles_moves_nothing,
    ),
    "the_window_is_forgotten": (
        "min(current, max(1, memory.wanted.highest(now)))",
        "min(current, 1)",
        scaling_laws.what_was_needed_a_minute_ago_is_kept,
    ),
    "the_window_scales_up": (
        "min(current, max(1, memory.wanted.highest(now)))",
        "memory.wanted.highest(now) + 1",
        scaling_laws.no_more_consumers_than_the_load_asks_for,
    ),
    "steps_up_have_no_bound": (
        "lowest * UP_FACTOR + UP_EXTRA",
        "99999",
        scaling_laws.steps_up_are_bounded,
    ),
    "steps_up_begin_anew_each_second": (
        "memory.in_force_up.lowest(now)",
        "current",
        scaling_laws.steps_up_are_bounded,
    ),
    "steps_down_have_no_bound": (
        "math.ceil(highest / DOWN_DIVISOR)",
        "0",
        scaling_laws.steps_down_are_bounded,
    ),
    "busy_slots_do_not_count": (
        "math.ceil(inputs.busy / limits.slots)",
        "0",
        scaling_laws.busy_slots_keep_their_consumers,
    ),
    "a_slot_of_arrivals_is_a_consumer": (
        "arriving_slots / limits.slots",
        "arriving_slots",
        scaling_laws.no_more_consumers_than_the_load_asks_for,
    ),
    "a_slot_of_waiting_is_a_consumer": (
        "waiting_slots / limits.slots",
        "waiting_slots",
        scaling_laws.no_more_consumers_than_the_load_asks_for,
    ),
    "slots_are_filled_to_the_brim": (
        "rate * mean / UTILISATION",
        "rate * mean * UTILISATION",
        scaling_laws.steady_arrivals_find_enough_slots,
    ),
    "arrivals_do_not_count": (
        "arriving_slots / limits.slots",
        "0.0",
        scaling_laws.steady_arrivals_find_enough_slots,
    ),
    "waiting_does_not_count": (
        "waiting_slots / limits.slots",
        "0.0",
        scaling_laws.a_backlog_is_done_in_time,
    ),
    "waits_may_be_longer": (
        "backlog * mean / limits.wait_seconds",
        "backlog * mean / limits.wait_seconds / 2",
        scaling_laws.a_backlog_is_done_in_time,
    ),
    "the_least_demanding_view_wins": (
        "max(needs, key",
        "min(needs, key",
        scaling_laws.a_backlog_is_done_in_time,
    ),
    "more_slots_than_messages": (
        "min(backlog * mean / limits.wait_seconds, backlog)",
        "backlog * mean / limits.wait_seconds",
        scaling_laws.no_more_consumers_than_the_load_asks_for,
    ),
    "more_backlog_needs_less": (
        "backlog / limits.backlog_per_consumer,",
        "limits.backlog_per_consumer / (backlog + 1),",
        scaling_laws.more_backlog_never_means_fewer,
    ),
    "numbers_of_the_future_hold": (
        "min(memory.last_active_at, now)",
        "memory.last_active_at",
        scaling_laws.a_clock_that_is_set_back_stops_nothing,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name):
    source, (true, false, law) = Path(autoscale.__file__).read_text(), FAULTS[name]
    assert source.count(true) == 1, f"{true!r} must be in autoscale.py once"
    faulty = types.ModuleType(autoscale.__name__)  # under its own name, which dataclasses look up
    exec(compile(source.replace(true, false), "faulty", "exec"), faulty.__dict__)
    with pytest.raises(AssertionError):
        BOUNDED(examine(law, faulty))()


def test_every_law_has_found_a_fault():
    found = {law for _, _, law in FAULTS.values()}
    assert [law.__name__ for law in LAWS if law not in found] == ["the_same_load_gives_the_same_number"]
