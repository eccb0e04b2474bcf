"""Each condition: all that it may say, from what is there."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest
from made import NOW, THEN, claim, find, pod, served, shard_pods, view, wanted, world

from daskqueue_operator.conditions.autoscaling import autoscaling
from daskqueue_operator.conditions.condition import Condition, as_status
from daskqueue_operator.conditions.consumers_ready import consumers_ready
from daskqueue_operator.conditions.dask_cluster_known import dask_cluster_known
from daskqueue_operator.conditions.progressing import progressing
from daskqueue_operator.conditions.ready import ready
from daskqueue_operator.conditions.scheduler_available import scheduler_available
from daskqueue_operator.conditions.shards_ready import shards_ready
from daskqueue_operator.conditions.troubles import troubles
from daskqueue_operator.conditions.view import Failure, Scaling
from daskqueue_operator.kinds import DASK_CLUSTER, SERVICE
from daskqueue_operator.observe import Observed
from daskqueue_operator.plan import Action, Verb
from daskqueue_operator.status import conditions

NEVER_PLACED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes: too small",
}
DATA = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-inv-shard-0"}}]}
CRASHED = {"exitCode": 3, "reason": "Error", "message": "the disk\nis full"}
JUST_NOW = (NOW - timedelta(seconds=5)).isoformat()


def waiting(reason, message="said so", **more):
    return {"state": {"waiting": {"reason": reason, "message": message}}, **more}


PODS = {
    "all is well": (pod(), "", ""),
    "the image is not there": (
        pod(ready=False, **waiting("ErrImagePull", "not found")),
        "ImagePull",
        "pod inv-shard-0 cannot get image localhost/daskqueue:1 (ErrImagePull: not found); check spec.image",
    ),
    "the image's name is wrong": (
        pod(ready=False, **waiting("InvalidImageName", "")),
        "ImagePull",
        "(InvalidImageName)",
    ),
    "a variable from nowhere": (
        pod(ready=False, **waiting("CreateContainerConfigError", "secret not found")),
        "ContainerConfig",
        "cannot start its container (CreateContainerConfigError): secret not found",
    ),
    "it crashes": (
        pod(ready=False, **waiting("CrashLoopBackOff", restartCount=4, lastState={"terminated": CRASHED})),
        "CrashLoop",
        "4 times by now, last with exit code 3 (Error): the disk is full",
    ),
    "it crashes, and just tries again": (
        pod(ready=False, restartCount=4, lastState={"terminated": CRASHED}, state={"running": {}}),
        "CrashLoop",
        "exit code 3",
    ),
    "it crashed once, and comes back": (
        pod(
            ready=False,
            since=JUST_NOW,
            restartCount=1,
            lastState={"terminated": CRASHED},
            state={"running": {}},
        ),
        "",
        "",
    ),
    "it was killed, and its log says nothing": (
        pod(
            ready=False,
            **waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
        ),
        "CrashLoop",
        "exit code 137 (OOMKilled), without a word in its log",
    ),
    "no node has room": (
        pod(ready=False, conditions=[NEVER_PLACED]),
        "Unschedulable",
        "no node has room for pod inv-shard-0: 0/1 nodes: too small",
    ),
    "it runs, and does not serve": (
        pod(ready=False, state={"running": {}}),
        "NotReady",
        f"pod inv-shard-0 is Running and does not serve, since {THEN}: see `kubectl describe pod inv-shard-0",
    ),
    "it has only just started": (pod(ready=False, since=JUST_NOW, state={"running": {}}), "", ""),
}


@pytest.mark.parametrize("case", PODS)
def test_what_is_wrong_with_a_pod_is_a_sentence(case):
    found, reason, words = PODS[case]
    first = next(troubles(found, Observed(), NOW), None)
    assert (first.reason if first else "") == reason
    assert words in (first.message if first else "")


def test_a_pod_that_does_not_serve_is_quoted():
    observed = Observed(complaints={"inv-shard-0": "waiting for the scheduler"})
    (told,) = troubles(pod(ready=False, state={"running": {}}), observed, NOW)
    assert f"does not serve, since {THEN} (waiting for the scheduler): see" in told.message


CLASSES = {
    "missing": (
        "gold",
        {"standard": True},
        "StorageClassMissing",
        "StorageClass 'gold', which does not exist (there are: standard)",
    ),
    "no default": (None, {"slow": False, "fast": False}, "NoDefaultStorageClass", "one of: fast, slow"),
    "none at all": (None, {}, "NoDefaultStorageClass", "one of: none"),
    "there": ("standard", {"standard": False}, "Unschedulable", "no node has room"),
    "the default": (None, {"standard": True}, "Unschedulable", "no node has room"),
}


@pytest.mark.parametrize("case", CLASSES)
def test_a_claim_without_its_storage_class_is_the_cause_of_a_pod_without_a_node(case):
    chosen, classes, reason, words = CLASSES[case]
    observed = Observed.of([claim(phase="Pending", storage_class=chosen)], storage_classes=classes)
    first = next(troubles(pod(ready=False, spec=DATA, conditions=[NEVER_PLACED]), observed, NOW))
    assert first.reason == reason
    assert words in first.message


def lacking(kind, name, pods=(), status=None, replicas=None):
    """Return a view of a queue of which one workload is not ready."""
    bodies = [served(each) for each in wanted()]
    if kind != "StatefulSet":
        bodies += shard_pods(wanted())
    workload = find(bodies, kind, name)
    workload["status"] = status or {}
    if replicas is not None:
        workload["spec"]["replicas"] = replicas
    return view(Observed.of([*bodies, *pods]))


REFUSED = {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}


@pytest.mark.parametrize(
    ("tell", "kind", "name", "component"),
    [
        (scheduler_available, "Deployment", "inv-scheduler", "scheduler"),
        (shards_ready, "StatefulSet", "inv-shard", "shard"),
        (consumers_ready, "Deployment", "inv-consumer", "consumer"),
    ],
)
def test_a_part_tells_of_its_own_pods(tell, kind, name, component):
    broken = pod(f"{name}-x", component, ready=False, **waiting("ErrImagePull"))
    leaving = copy.deepcopy(broken)
    leaving["metadata"]["deletionTimestamp"] = THEN
    other = pod(
        "other", {"shard": "consumer"}.get(component, "shard"), ready=False, **waiting("ErrImagePull")
    )
    told = {
        "well": tell(view()),
        "missing": tell(view(world(wanted(), without=[(kind, name)]))),
        "starting": tell(lacking(kind, name)),
        "broken": tell(lacking(kind, name, [broken])),
        "only a leaving pod is broken": tell(lacking(kind, name, [leaving])),
        "only another part's pod is broken": tell(lacking(kind, name, [other])),
        "no pods allowed": tell(lacking(kind, name, status=REFUSED)),
    }
    assert {case: (each.status, each.reason) for case, each in told.items()} == {
        "well": ("True", "Available" if component == "scheduler" else "AllReady"),
        "missing": ("False", "Missing"),
        "starting": ("False", "Starting"),
        "broken": ("False", "ImagePull"),
        "only a leaving pod is broken": ("False", "Starting"),
        "only another part's pod is broken": ("False", "Starting"),
        "no pods allowed": ("False", "PodsRefused"),
    }
    assert "exceeded quota" in told["no pods allowed"].message


def test_no_consumers_may_be_right():
    none = lacking("Deployment", "inv-consumer", replicas=0)
    assert consumers_ready(none).reason == "ScaledToZero"
    suspended = view(none.observed, {"suspend": True})
    assert consumers_ready(suspended).reason == "Suspended"


def test_shards_with_kept_claims_are_told_of():
    told = shards_ready(view(world(wanted(shards=3)), shards=3))
    assert (told.status, told.reason) == ("True", "KeptClaims")
    assert "3 shards run where 1 are asked for: claim data-inv-shard-1" in told.message


def test_the_dask_cluster_is_known_or_it_is_said_why_not():
    def untouched(seconds):
        bodies = [served(each) for each in wanted()]
        cluster = find(bodies, "DaskCluster", "inv")
        del cluster["status"]
        cluster["metadata"]["creationTimestamp"] = (NOW - timedelta(seconds=seconds)).isoformat()
        return view(Observed.of(bodies))

    told = {
        "known": view(),
        "no API": view(world(wanted(), absent=frozenset({DASK_CLUSTER}))),
        "missing": view(world(wanted(), without=[("DaskCluster", "inv")])),
        "new": untouched(5),
        "nobody looks at it": untouched(60),
    }
    assert {case: dask_cluster_known(each).reason for case, each in told.items()} == {
        "known": "Known",
        "no API": "NoDaskKubernetes",
        "missing": "Missing",
        "new": "Starting",
        "nobody looks at it": "NoAnswer",
    }


WAIT, CREATE = (Action(verb, SERVICE, "inv-shard", "it is so") for verb in (Verb.WAIT, Verb.CREATE))


def test_progress_is_what_is_done_then_what_is_waited_for_then_what_rolls_out_then_what_grows():
    growing = claim(size="20Gi")
    growing["status"]["capacity"]["storage"] = "10Gi"
    told = {
        "done": progressing(view()),
        "changing": progressing(view(actions=[WAIT, CREATE])),
        "waiting": progressing(view(actions=[WAIT])),
        "rolling out": progressing(lacking("StatefulSet", "inv-shard")),
        "resizing": progressing(view(world(wanted(), growing))),
        "waiting for its first pod": progressing(view(world(wanted(), claim(phase="Pending")))),
        "refused": progressing(view(failure=Failure("Rejected", "no"))),
    }
    assert {case: (each.status, each.reason) for case, each in told.items()} == {
        "done": ("False", "Complete"),
        "changing": ("True", "Changing"),
        "waiting": ("True", "Waiting"),
        "rolling out": ("True", "RollingOut"),
        "resizing": ("True", "Resizing"),
        "waiting for its first pod": ("False", "Complete"),
        "refused": ("True", "Rejected"),
    }
    assert told["changing"].message == "create Service inv-shard: it is so"


def test_the_scaling_is_quoted():
    assert autoscaling(view()).status == "Unknown"
    held = Scaling(active=False, reason="MissingMetrics", message="shard 0 does not answer", desired=3)
    assert autoscaling(view(scaling=held)) == Condition(
        "Autoscaling", "False", "MissingMetrics", held.message
    )


GOOD = Condition("", "True", "AllReady", "well")
STARTING = Condition("", "False", "Starting", "soon")
BROKEN = Condition("", "False", "ImagePull", "no such image")
WORSE = Condition("", "False", "Unschedulable", "no room")

READY = [
    # scheduler, shards, consumers -> Ready and its reason
    (GOOD, GOOD, GOOD, "True", "Serving"),
    (GOOD, GOOD, STARTING, "True", "Serving"),
    (STARTING, GOOD, GOOD, "False", "Starting"),
    (GOOD, STARTING, GOOD, "False", "Starting"),
    (STARTING, BROKEN, GOOD, "False", "ImagePull"),
    (WORSE, BROKEN, BROKEN, "False", "Unschedulable"),
    (GOOD, BROKEN, GOOD, "False", "ImagePull"),
]


@pytest.mark.parametrize(("scheduler", "shards", "consumers", "status", "reason"), READY)
def test_ready_gives_the_cause_before_its_consequences(scheduler, shards, consumers, status, reason):
    told = ready(view(), scheduler, shards, consumers)
    assert (told.status, told.reason) == (status, reason)


def test_broken_consumers_take_readiness_only_if_none_of_them_serves():
    assert ready(view(), GOOD, GOOD, WORSE).status == "True"
    assert ready(view(), GOOD, GOOD, WORSE).reason == "Unschedulable"
    assert ready(lacking("Deployment", "inv-consumer"), GOOD, GOOD, WORSE).status == "False"


def test_what_the_api_server_refuses_is_told_first():
    told = ready(view(failure=Failure("Rejected", "no such thing")), BROKEN, BROKEN, BROKEN)
    assert (told.status, told.reason, told.message) == ("False", "Rejected", "no such thing")


def test_a_suspended_queue_is_ready_to_take_messages():
    told = ready(view(spec={"suspend": True}), GOOD, GOOD, GOOD)
    assert (told.status, told.reason) == ("True", "Suspended")


def test_a_paused_queue_is_ready_and_says_how_to_go_on():
    scaling = Scaling(active=True, reason="AsWanted", message="", desired=0, paused=True)
    told = ready(view(scaling=scaling), GOOD, GOOD, GOOD)
    assert (told.status, told.reason) == ("True", "Paused")
    assert "`kubectl exec -n shop inv-shard-0 -- daskqueue queue resume`" in told.message


def test_ready_comes_first_and_each_condition_once():
    types = [each.type for each in conditions(view())]
    assert types[0] == "Ready"
    assert len(types) == len(set(types))


def test_the_time_of_a_transition_stays_while_the_answer_does():
    old = [{"type": "Ready", "status": "True", "reason": "Serving", "lastTransitionTime": THEN}]
    same, other = (Condition("Ready", answer, "Else", "other words") for answer in ("True", "False"))
    assert as_status([same], old, 2, "now")[0]["lastTransitionTime"] == THEN
    assert as_status([other], old, 2, "now")[0]["lastTransitionTime"] == "now"
