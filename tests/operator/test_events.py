"""Events tell when something turns, and are silent while it stays."""

from __future__ import annotations

import pytest
from made import NOW, body

from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.events import LONGEST, Notice, event, of_actions, of_conditions, of_dead_letters
from daskqueue_operator.kinds import SECRET
from daskqueue_operator.plan import Action, Verb


def said(**answers):
    """Return conditions: Ready=("False", "ImagePull")."""
    return [
        {"type": kind, "status": status, "reason": reason, "message": f"{reason} it is"}
        for kind, (status, reason) in answers.items()
    ]


SERVING, STARTING, BROKEN = ("True", "Serving"), ("False", "Starting"), ("False", "ImagePull")
TURNS = {
    "nothing": (said(Ready=SERVING), said(Ready=SERVING), []),
    "the first look at a queue that starts": (said(Ready=STARTING, ShardsReady=STARTING), [], []),
    "it serves": (said(Ready=SERVING), said(Ready=STARTING), [("Normal", "Ready")]),
    "it breaks": (said(Ready=BROKEN), said(Ready=SERVING), [("Warning", "ImagePull")]),
    "it breaks, and each condition says the same": (
        said(Ready=BROKEN, ShardsReady=BROKEN, SchedulerAvailable=("True", "Available")),
        said(Ready=STARTING),
        [("Warning", "ImagePull")],
    ),
    "it stays broken": (said(Ready=BROKEN), said(Ready=BROKEN), []),
    "it breaks in another way": (
        said(Ready=("False", "CrashLoop")),
        said(Ready=BROKEN),
        [("Warning", "CrashLoop")],
    ),
    "a part is well": (said(ShardsReady=("True", "AllReady")), said(ShardsReady=STARTING), []),
    "the scaling turns, of which its own events tell": (
        said(Autoscaling=("False", "MissingMetrics")),
        said(Autoscaling=("True", "AsWanted")),
        [],
    ),
}


@pytest.mark.parametrize("case", TURNS)
def test_only_what_turned_is_told(case):
    new, old, expected = TURNS[case]
    assert [(notice.kind, notice.reason) for notice in of_conditions(new, old)] == expected


def test_of_actions_only_repairs_are_told():
    actions = [
        Action(verb, SECRET, "a", "it is so", repair=verb is Verb.CREATE)
        for verb in (Verb.APPLY, Verb.CREATE)
    ]
    assert of_actions(actions) == [Notice("Normal", "Repaired", "Secret a: it is so")]


@pytest.mark.parametrize(
    ("before", "now", "told"), [(0, 2, True), (None, 2, True), (2, 3, False), (2, 0, False), (0, 0, False)]
)
def test_the_first_dead_letters_are_told_with_what_to_do(before, now, told):
    old = {} if before is None else {"backlog": {"deadLettered": before}}
    notices = of_dead_letters(DaskQueue.of(body()), {"backlog": {"deadLettered": now}}, old)
    assert bool(notices) is told
    for notice in notices:
        assert (notice.kind, notice.reason) == ("Warning", "DeadLetters")
        assert "2 by now: `kubectl exec -n shop inv-shard-0 -- daskqueue dead list`" in notice.message


def test_an_event_is_about_its_queue_and_never_too_long():
    made = event(DaskQueue.of(body()), Notice("Warning", "Rejected", "x" * 5000), NOW)
    assert made["involvedObject"] == {
        "apiVersion": "daskqueue.dev/v1alpha1",
        "kind": "DaskQueue",
        "name": "inv",
        "namespace": "shop",
        "uid": "u-1",
    }
    assert len(made["message"]) == LONGEST
    assert made["lastTimestamp"] == "2026-11-23T12:00:00Z"
