"""What is done about the difference between what is wanted and what is there: a table, and a few rules."""

from __future__ import annotations

import copy

import pytest
from made import claim, find, pod, served, wanted, world

from daskqueue_operator import labels as lb
from daskqueue_operator.observe import Observed, shards_to_run
from daskqueue_operator.plan import Verb, plan, rolls

SHARDS, CONSUMERS, SCHEDULER = (
    ("StatefulSet", "inv-shard"),
    ("Deployment", "inv-consumer"),
    ("Deployment", "inv-scheduler"),
)


def shown(actions):
    return [(action.verb, action.kind.kind, action.name) for action in actions]


def changed(manifests, which, change):
    """Return the world in which one object was changed behind our back."""
    bodies = [served(manifest) for manifest in manifests]
    change(find(bodies, *which))
    return Observed.of(bodies)


def set_replicas(number):
    return lambda there: there["spec"].update(replicas=number)


def delete(there):
    there["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"


def take_image(there):
    there["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"


def drop_label(there):
    del there["metadata"]["labels"][lb.QUEUE]


def drop_scaling(there):
    there["metadata"]["managedFields"] = [{"manager": lb.MANAGER}, {"manager": "kubectl"}]


DRIFT = {
    "nothing": (SCHEDULER, lambda _: None, []),
    "a number of pods": (SCHEDULER, set_replicas(3), [(Verb.APPLY, *SCHEDULER)]),
    "a number of consumers, which the scaling looks after": (CONSUMERS, set_replicas(9), []),
    "an image": (SHARDS, take_image, [(Verb.APPLY, *SHARDS)]),
    "a label": (("Service", "inv-shard"), drop_label, [(Verb.APPLY, "Service", "inv-shard")]),
    "a secret": (
        ("Secret", "inv-connection"),
        lambda there: there["data"].update(DASKQUEUE_NAME="eA=="),
        [(Verb.APPLY, "Secret", "inv-connection")],
    ),
    "a deletion that is under way": (
        ("DaskCluster", "inv"),
        delete,
        [(Verb.WAIT, "DaskCluster", "inv")],
    ),
    "somebody took the number of consumers": (CONSUMERS, drop_scaling, [(Verb.HAND_OVER, *CONSUMERS)]),
}


@pytest.mark.parametrize("case", DRIFT)
def test_drift_is_repaired_once_and_nothing_else_is_touched(case):
    which, change, expected = DRIFT[case]
    actions = plan(wanted(), changed(wanted(), which, change), known=True)
    assert shown(actions) == expected
    assert all(action.repair for action in actions if action.verb is Verb.APPLY)


def test_a_new_queue_gets_everything_in_order():
    manifests = wanted(consumers=0)
    actions = plan(manifests, Observed())
    assert shown(actions) == [(Verb.CREATE, each["kind"], each["metadata"]["name"]) for each in manifests]
    assert not any(action.repair for action in actions)


@pytest.mark.parametrize("which", [(each["kind"], each["metadata"]["name"]) for each in wanted()])
def test_whatever_is_missing_of_a_complete_queue_is_made_again(which):
    actions = plan(wanted(), world(wanted(), without=[which]), known=True)
    assert shown(actions) == [(Verb.CREATE, *which)]
    assert actions[0].repair


def test_the_number_of_consumers_is_handed_over_before_it_is_left_out():
    first = wanted(consumers=2)
    bodies = [served(manifest) for manifest in first]
    find(bodies, *CONSUMERS)["metadata"]["managedFields"] = [{"manager": lb.MANAGER}]

    hand_over, apply = plan(wanted(), Observed.of(bodies))

    assert (hand_over.verb, hand_over.manifest) == (Verb.HAND_OVER, {"spec": {"replicas": 2}})
    assert apply.verb is Verb.APPLY
    assert "replicas" not in apply.manifest["spec"]


def test_a_larger_volume_means_larger_claims_and_then_another_template():
    old, new = ({"shards": {"storage": {"persistentVolumeClaim": {"size": size}}}} for size in ("1Gi", "2Gi"))
    there = world(wanted(old), claim(0, "1Gi"), claim(1, "2Gi"))
    actions = plan(wanted(new), there)
    assert shown(actions) == [
        (Verb.GROW, "PersistentVolumeClaim", "data-inv-shard-0"),
        (Verb.REPLACE, *SHARDS),
    ]
    assert actions[0].manifest == {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}


def test_a_size_in_other_words_is_no_growth():
    old, new = (
        {"shards": {"storage": {"persistentVolumeClaim": {"size": size}}}} for size in ("1024Mi", "1Gi")
    )
    assert Verb.REPLACE not in {
        action.verb for action in plan(wanted(new), world(wanted(old), claim(0, "1Gi")))
    }


OLD, NEW = {"image": "a:1"}, {"image": "a:2"}


def midway(consumers=None, scheduler=None, pods=None):
    """Return the world in which all but the shards have their new template, and so much of it has come true."""
    bodies = [served(each) for each in wanted(NEW)]
    bodies.remove(find(bodies, *SHARDS))
    find(bodies, *CONSUMERS)["status"] |= consumers or {}
    find(bodies, *SCHEDULER)["status"] |= scheduler or {}
    pods = [pod()] if pods is None else pods
    return Observed.of([*bodies, served(find(wanted(OLD), *SHARDS)), *pods])


def test_an_upgrade_begins_with_the_scheduler_and_the_consumers():
    first = shown(plan(wanted(NEW), world(wanted(OLD))))
    assert (Verb.WAIT, *SHARDS) in first
    assert {(Verb.APPLY, *SCHEDULER), (Verb.APPLY, *CONSUMERS)} <= set(first)


CRASHING = pod(ready=False, state={"waiting": {"reason": "CrashLoopBackOff"}})
RECONNECTING = pod(ready=False, state={"running": {}})
MIDWAY = {
    "everything is through": (midway(), ""),
    "old consumers are left": (midway(consumers={"updatedReplicas": 1}), "inv-consumer"),
    "no new consumer serves": (midway(consumers={"readyReplicas": 0}), "inv-consumer"),
    "some new consumers find no room": (midway(consumers={"readyReplicas": 1}), ""),
    "the scheduler is not back": (midway(scheduler={"readyReplicas": 0}), "inv-scheduler"),
    "shards that lost their scheduler wait all the same": (
        midway(scheduler={"readyReplicas": 0}, pods=[RECONNECTING]),
        "inv-scheduler",
    ),
    "shards that come back to it wait for the consumers": (
        midway(consumers={"updatedReplicas": 1}, pods=[RECONNECTING]),
        "inv-consumer",
    ),
    "broken shards do not wait for consumers": (
        midway(consumers={"updatedReplicas": 1}, pods=[CRASHING]),
        "",
    ),
    "broken shards wait for the scheduler": (
        midway(scheduler={"readyReplicas": 0}, pods=[CRASHING]),
        "inv-scheduler",
    ),
}


@pytest.mark.parametrize("case", MIDWAY)
def test_shards_are_replaced_last_and_only_when_the_others_are_through(case):
    there, held_up_by = MIDWAY[case]
    (action,) = plan(wanted(NEW), there)
    expected = (Verb.WAIT, f"shards come last, and {held_up_by} is not through")
    assert (action.verb, action.reason) == (
        expected if held_up_by else (Verb.APPLY, "something else is wanted of it")
    )


def test_no_pod_is_replaced_while_another_queue_has_its_turn():
    there = world(wanted({"image": "a:1"}))
    actions = plan(wanted({"image": "a:2"}), there, may_roll=False)
    assert {
        action.verb for action in actions if (action.kind.kind, action.name) in (SHARDS, CONSUMERS, SCHEDULER)
    } == {Verb.WAIT}
    assert not any(rolls(action, there) for action in actions)


def test_a_change_that_leaves_the_pods_alone_needs_no_turn():
    there = world(wanted({"shards": {"replicas": 1}}))
    actions = plan(wanted({"shards": {"replicas": 2}}), there, may_roll=False)
    assert shown(actions) == [(Verb.APPLY, *SHARDS)]


def test_a_repair_needs_no_turn():
    there = changed(wanted(), SHARDS, take_image)
    assert shown(plan(wanted(), there, may_roll=False)) == [(Verb.APPLY, *SHARDS)]


def test_a_pod_monitor_that_is_not_wanted_any_more_goes():
    actions = plan(wanted({"monitoring": {"podMonitor": "Disabled"}}), world(wanted()))
    assert shown(actions) == [(Verb.DELETE, "PodMonitor", "inv")]


def test_every_action_says_why():
    for observed in (Observed(), world(wanted({"image": "a:2"}))):
        assert all(action.reason for action in plan(wanted(), observed))


@pytest.mark.parametrize(
    ("asked", "claims", "expected"),
    [(1, [], 1), (3, [0], 3), (1, [0, 1, 2], 3), (1, [2], 3), (2, [0, 1], 2)],
)
def test_as_many_shards_run_as_are_asked_for_or_have_kept_claims(asked, claims, expected):
    assert shards_to_run(asked, "inv", Observed.of(claim(number) for number in claims)) == expected


def test_a_claim_that_is_being_deleted_brings_no_shard_back():
    gone = copy.deepcopy(claim(2))
    delete(gone)
    assert shards_to_run(1, "inv", Observed.of([gone])) == 1


def test_claims_of_a_queue_with_a_longer_name_are_not_ours():
    other = copy.deepcopy(claim(5))
    other["metadata"]["name"] = "data-inv-shard-x-shard-5"
    assert shards_to_run(1, "inv", Observed.of([other])) == 1
