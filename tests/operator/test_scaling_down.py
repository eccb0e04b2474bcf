"""Whom to remove, and when."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replica_set import Cluster, Consumer

from daskqueue_operator.consumer_pods import Pod, seconds_of, time_of
from daskqueue_operator.scaling_down import DONE_COST, DRAINING_COST, plan
from daskqueue_operator.scrape import ConsumerReading

IDLE = ConsumerReading(4, 0, 0, False)
BUSY = ConsumerReading(4, 2, 5, False)
LEFT = ConsumerReading(4, 0, 0, True)
LEAVING = ConsumerReading(4, 1, 0, True)


def pods(*names, **changes):
    return [
        replace(Pod(name, "127.0.0.1", created_at=number), **changes) for number, name in enumerate(names)
    ]


def names(chosen):
    return [pod.name for pod in chosen]


def planned(replicas, desired, there, readings, now=100.0, drain_seconds=60):
    return plan(replicas, desired, there, readings, drain_seconds, now)


def test_more_are_asked_for_at_once():
    assert planned(1, 4, pods("a"), {"a": BUSY}).replicas == 4


def test_idle_ones_go_first_then_the_least_busy_then_the_youngest():
    there = pods("old", "young", "busy", "busier")
    readings = {"old": IDLE, "young": IDLE, "busy": BUSY, "busier": replace(BUSY, busy=3)}
    orders = [set(names(planned(4, desired, there, readings).drain)) for desired in (3, 2, 1, 0)]
    assert orders == [
        {"young"},
        {"young", "old"},
        {"young", "old", "busy"},
        {"young", "old", "busy", "busier"},
    ]


def test_nobody_is_removed_before_it_is_told_to_drain_and_marked():
    removal = planned(2, 1, pods("a", "b"), {"a": BUSY, "b": IDLE})
    assert (removal.replicas, names(removal.drain)) == (2, ["b"])
    assert [(pod.name, cost) for pod, cost in removal.costs] == [("b", DRAINING_COST)]


def test_one_that_has_drained_is_marked_and_then_removed():
    a, b = pods("a", "b")
    drained = planned(2, 1, [a, b], {"a": BUSY, "b": LEFT})
    assert [(pod.name, cost) for pod, cost in drained.costs] == [("b", DONE_COST)]
    assert drained.replicas == 2
    marked = planned(2, 1, [a, replace(b, cost=DONE_COST, drained_at=99.0)], {"a": BUSY, "b": LEFT})
    assert (marked.replicas, marked.costs, marked.drain) == (1, (), ())


def test_those_that_have_finished_do_not_wait_for_those_that_have_not():
    a, b, c = pods("a", "b", "c", drained_at=99.0)
    there = [replace(a, cost=DRAINING_COST), replace(b, cost=DONE_COST), c]
    removal = planned(3, 0, there, {"a": LEAVING, "b": LEFT, "c": LEAVING})
    assert (removal.replicas, removal.draining) == (2, 3)


def test_a_task_keeps_its_consumer_until_the_bound():
    pod = Pod("a", "127.0.0.1", cost=DRAINING_COST, drained_at=100.0)
    assert planned(1, 0, [pod], {"a": LEAVING}, now=159.0).costs == ()
    over = planned(1, 0, [pod], {"a": LEAVING}, now=160.0)
    assert [(each.name, cost) for each, cost in over.costs] == [("a", DONE_COST)]
    assert planned(1, 0, [replace(pod, cost=DONE_COST)], {"a": LEAVING}, now=161.0).replicas == 0


def test_one_that_takes_messages_again_is_not_done():
    pod = Pod("a", "127.0.0.1", cost=DONE_COST, drained_at=99.0)
    removal = planned(1, 0, [pod], {"a": IDLE})  # its container began anew, and has forgotten that it drains
    assert (removal.replicas, names(removal.drain)) == (1, ["a"])


def test_one_that_does_not_answer_has_the_whole_bound():
    pod = Pod("a", "127.0.0.1", cost=DRAINING_COST, drained_at=100.0)
    assert planned(1, 0, [pod], {"a": None}, now=150.0).costs == ()
    assert planned(1, 0, [replace(pod, cost=DONE_COST)], {"a": None}, now=160.0).replicas == 0


def test_one_that_is_not_ready_is_the_one_to_go():
    ready, unready = pods("ready", "unready")
    unready = replace(unready, ready=False, running=False, cost=DONE_COST, drained_at=99.0)
    removal = planned(2, 1, [ready, unready], {"ready": IDLE, "unready": None})
    assert (removal.replicas, removal.drain) == (1, ())


def test_nothing_is_removed_while_one_that_is_not_ready_would_go_in_its_place():
    there = pods("a", "b", "c")
    there[0] = replace(there[0], ready=False)  # it runs, and does not answer: it may have tasks
    there[1] = replace(there[1], cost=DONE_COST, drained_at=99.0)
    removal = planned(3, 2, there, {"a": None, "b": LEFT, "c": BUSY})
    assert removal.replicas == 3
    assert names(removal.undrain) == ["b"]


def test_one_that_was_spared_takes_messages_again():
    marked = Pod("a", "127.0.0.1", cost=DRAINING_COST, drained_at=99.0)
    assert names(planned(1, 1, [marked], {"a": LEAVING}).undrain) == ["a"]
    assert names(planned(1, 3, [marked], {"a": LEAVING}).undrain) == ["a"]
    told_by_the_last_operator = Pod("a", "127.0.0.1")
    assert names(planned(1, 1, [told_by_the_last_operator], {"a": LEAVING}).undrain) == ["a"]


def test_another_operator_goes_on_with_those_that_were_chosen():
    idle, marked = pods("idle", "marked")
    marked = replace(marked, cost=DRAINING_COST, drained_at=50.0)
    removal = planned(2, 1, [idle, marked], {"idle": IDLE, "marked": LEAVING})
    assert (removal.drain, removal.undrain, removal.draining) == ((), (), 1)


def test_nothing_more_is_removed_while_the_cluster_is_still_at_it():
    there = pods("a", "b", cost=DONE_COST, drained_at=99.0)
    removal = planned(1, 0, there, {"a": LEFT, "b": LEFT})
    assert removal.replicas == 0  # to none: whoever goes first is right
    assert planned(2, 1, [*there, *pods("c")], {"a": LEFT, "b": LEFT, "c": LEFT}).replicas == 2


def test_pods_that_are_not_there_yet_are_given_up_first():
    removal = planned(5, 1, pods("a", "b"), {"a": BUSY, "b": IDLE})
    assert (removal.replicas, names(removal.drain)) == (2, ["b"])


def test_during_a_rolling_update_only_more_are_asked_for():
    there = [*pods("a", template="old"), *pods("b", template="new")]
    readings = {"a": IDLE, "b": IDLE}
    waits = planned(2, 1, there, readings)
    assert (waits.replicas, waits.drain) == (2, ())
    assert "rolling update" in waits.reason
    assert planned(2, 3, there, readings).replicas == 3


def test_all_may_go_during_a_rolling_update_when_all_have_finished():
    there = [*pods("a", template="old"), *pods("b", template="new")]
    there = [replace(pod, cost=DONE_COST, drained_at=99.0) for pod in there]
    assert planned(1, 0, there, {"a": LEFT, "b": LEAVING}).replicas == 1
    assert planned(1, 0, there, {"a": LEFT, "b": LEFT}).replicas == 0


def test_those_that_are_leaving_are_not_counted():
    gone = Pod("gone", leaving=True)
    assert planned(1, 1, [gone, *pods("a")], {"a": IDLE}).drain == ()


def test_the_reason_names_those_that_it_waits_for():
    assert planned(2, 1, pods("a", "b"), {"a": BUSY, "b": LEAVING}).reason == "waiting for b to finish"


@given(seed=st.integers(0, 10**9), numbers=st.lists(st.integers(0, 8), min_size=1, max_size=5))
def test_whatever_is_wanted_nobody_loses_a_task(seed, numbers):
    """The cluster is seconds late, and some do not answer: the number gets there, and no task is lost."""
    chance = random.Random(seed)
    cluster, now = Cluster(chance), 0.0
    for desired in numbers:
        for _ in range(150):
            now += 1.0
            seen = [each.pod for each in cluster.consumers.values()]
            readings = {name: each.reading() for name, each in cluster.consumers.items()}
            act(cluster, plan(cluster.replicas, desired, seen, readings, 60.0, now), now)
            cluster.settle(now)
            cluster.advance()
            if chance.random() < 0.02 and cluster.consumers:
                chance.choice(list(cluster.consumers.values())).answers = False
        assert cluster.replicas == desired
    assert cluster.lost == []


def act(cluster, removal, now):
    for pod in removal.drain:
        told(cluster, pod, draining=True)
    for pod, cost in removal.costs:
        cluster.annotate(pod, cost, now if pod.drained_at is None else pod.drained_at)
    for pod in removal.undrain:
        if told(cluster, pod, draining=False):
            cluster.annotate(pod, 0, None)
    cluster.replicas = removal.replicas


def told(cluster, pod, *, draining):
    consumer: Consumer = cluster.consumers[pod.name]
    if consumer.answers:
        consumer.draining = draining
    return consumer.answers


def test_a_pod_is_read_as_the_api_writes_it():
    manifest = {
        "metadata": {
            "name": "q-consumer-x",
            "creationTimestamp": "2026-01-31T12:00:00Z",
            "labels": {"pod-template-hash": "5d5"},
            "annotations": {
                "controller.kubernetes.io/pod-deletion-cost": "-1000",
                "daskqueue.dev/drained-at": time_of(1_800_000_000.25),
            },
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.7",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"state": {"running": {"startedAt": "2026-01-31T12:00:01Z"}}}],
        },
    }
    assert Pod.of(manifest) == Pod(
        "q-consumer-x",
        "10.0.0.7",
        created_at=1769860800.0,
        template="5d5",
        cost=DRAINING_COST,
        drained_at=1_800_000_000.25,
    )


NEW = Pod("p", ready=False, started=False, running=False)


@pytest.mark.parametrize(
    ("metadata", "status", "expected"),
    [
        ({}, {}, NEW),
        (
            {"deletionTimestamp": "2026-01-31T12:00:00Z"},
            {"phase": "Running"},
            replace(NEW, started=True, leaving=True),
        ),
        ({}, {"phase": "Failed"}, replace(NEW, leaving=True)),
        ({"annotations": {"controller.kubernetes.io/pod-deletion-cost": "cheap"}}, {"phase": "Pending"}, NEW),
    ],
)
def test_a_pod_that_says_little_is_read_with_care(metadata, status, expected):
    assert Pod.of({"metadata": {"name": "p", **metadata}, "status": status}) == expected


@pytest.mark.parametrize("text", [None, "", "yesterday"])
def test_what_is_no_time_is_none(text):
    assert seconds_of(text) is None
