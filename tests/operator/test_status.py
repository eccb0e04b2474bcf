"""The status: what it says, and when it is written."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from made import claim, view, wanted, world

from daskqueue_operator.scaling import Backlog, Scaled, ScaleResult
from daskqueue_operator.scrape import ShardReading
from daskqueue_operator.status import PAUSE_SECONDS, status, worth_writing
from daskqueue_operator.status_schema import unknown

READING = ShardReading(5, 1, 2, 3, 7.9, 10.0, 4.0, 1e9)
RESULT = ScaleResult(
    desired=4,
    draining=1,
    limited_by="MaxReplicas",
    reason="AsWanted",
    message="4 consumers",
    active=True,
    backlog=Backlog(5, 1, 2, 3, 7.9),
    shards={"inv-shard-0": READING},
    again_seconds=1.0,
    last_scale_at=1_000_000_000.0,
    last_active_at=None,
    scaled=Scaled(3, 4, "backlog"),
)


def test_a_status_says_all_that_its_schema_knows_of_a_queue():
    there = world(wanted(), claim(0), claim(1))
    made = status(view(there, shards=2), RESULT, {"version": "1.2"}, 3)
    assert list(unknown(made)) == []
    assert made["observedGeneration"] == 3
    assert made["endpoints"]["scheduler"] == "tcp://inv-scheduler.shop:8786"
    assert made["shards"] == {
        "replicas": 2,
        "readyReplicas": 1,
        "updatedReplicas": 1,
        "items": [
            {"name": f"inv-shard-{number}", "claimName": f"data-inv-shard-{number}", "capacity": "10Gi"}
            for number in range(2)
        ],
    }
    assert made["consumers"] == {
        "replicas": 2,
        "readyReplicas": 2,
        "updatedReplicas": 2,
        "desiredReplicas": 4,
        "drainingReplicas": 1,
    }
    assert made["backlog"] == {
        "ready": 5,
        "leased": 1,
        "delayed": 2,
        "deadLettered": 3,
        "oldestAgeSeconds": 7,
        "observedTime": "2026-11-23T12:00:00Z",
    }
    assert made["autoscaling"] == {
        "limitedBy": "MaxReplicas",
        "message": "4 consumers",
        "lastScaleTime": "2001-09-09T01:46:40Z",
    }
    assert made["version"] == "1.2"


def test_without_a_word_from_the_scaling_its_last_one_stays():
    before = {"backlog": {"ready": 7}, "autoscaling": {"limitedBy": "None"}}
    made = status(view(), None, before, 1)
    assert (made["backlog"], made["autoscaling"]) == (before["backlog"], before["autoscaling"])


@pytest.mark.parametrize(("shards", "dead"), [({"a": READING}, 3), ({"a": READING, "b": None}, 8)])
def test_dead_letters_of_a_shard_that_is_away_are_not_gone(shards, dead):
    made = status(view(), replace(RESULT, shards=shards), {"backlog": {"deadLettered": 8}}, 1)
    assert made["backlog"]["deadLettered"] == dead


def other(change):
    """Return a status, and the same with something changed."""
    before = status(view(), RESULT, {}, 1)
    after = copy.deepcopy(before)
    change(after)
    return after, before


SILENT = {
    "nothing": lambda _: None,
    "the time of the look": lambda made: made["backlog"].update(observedTime="2026-11-23T12:00:01Z"),
}
NUMBERS = {
    "the backlog": lambda made: made["backlog"].update(ready=6),
    "one more dead letter": lambda made: made["backlog"].update(deadLettered=4),
    "the age": lambda made: made["backlog"].update(oldestAgeSeconds=8),
    "the time of the last work": lambda made: made["autoscaling"].update(lastActiveTime="now"),
    "the words of the scaling": lambda made: made["autoscaling"].update(message="5 consumers would be nice"),
}
NEWS = {
    "a condition": lambda made: made["conditions"][0].update(reason="Else"),
    "the first message": lambda made: made["backlog"].update(ready=0),
    "the last dead letter": lambda made: made["backlog"].update(deadLettered=0),
    "the number of consumers": lambda made: made["consumers"].update(replicas=3),
    "what limits it": lambda made: made["autoscaling"].update(limitedBy="None"),
    "the generation": lambda made: made.update(observedGeneration=2),
}


@pytest.mark.parametrize("case", [*SILENT, *NUMBERS, *NEWS])
def test_a_status_is_written_for_news_at_once_for_numbers_now_and_then_and_never_for_nothing(case):
    after, before = other((SILENT | NUMBERS | NEWS)[case])
    written = [worth_writing(after, before, seconds) for seconds in (0, PAUSE_SECONDS)]
    assert (
        written
        == {case in NEWS: [True, True], case in NUMBERS: [False, True], case in SILENT: [False, False]}[True]
    )
