"""Consumers come and go with the backlog, and none is removed while it works."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .installing import ROOT
from .jobs import story
from .queues import runs

MOST = 3
TASK_SECONDS = 12
# Longer than a drain, the removal of the pod, and the drain that comes with it.
LONG_SECONDS = 30
DRAIN_SECONDS = 20


def start(runner, name, script, *args, queue="q"):
    runner.start(name, story(script), *args, connection=queue, files={"telling.py": story("telling.py")})


def consumers(dq):
    return dq.get("status", {}).get("consumers", {})


def settled_at(number):
    """Return what holds of a DaskQueue whose consumers are so many, and all of them ready."""
    wanted = {"replicas": number, "readyReplicas": number, "desiredReplicas": number, "drainingReplicas": 0}
    return lambda dq: all(consumers(dq).get(key, 0) == value for key, value in wanted.items())


def fixed(replicas, drain_seconds=DRAIN_SECONDS, **spec):
    return {
        "consumers": {"replicas": replicas, "drainSeconds": drain_seconds, "autoscaling": {"mode": "Fixed"}},
        **spec,
    }


def backlog(dq, state):
    return dq.get("status", {}).get("backlog", {}).get(state, 0)


def busy_pod(kube, queues):
    """Return the name of the one consumer pod that runs a task, as its own /stats say."""
    queues.until("q", lambda dq: backlog(dq, "leased") == 1, 60, "the lease of the task")
    give_up_at = time.monotonic() + 10  # what was leased may still be on its way to the consumer
    while True:
        busy = [pod for pod in queues.pods("q", "consumer") if runs(pod) and stats(kube, pod)["busy"]]
        if busy:
            (pod,) = busy
            return pod["metadata"]["name"]
        assert time.monotonic() < give_up_at, "no consumer runs the task that was leased"


def stats(kube, pod):
    return json.loads(asked(kube, pod, "stats"))


def metric(kube, queues, name, label=""):
    """Return a metric of the shard, added up over the series that have a label."""
    (shard,) = queues.pods("q", "shard")
    lines = [line for line in asked(kube, shard, "metrics").splitlines() if line.startswith(f"{name}{{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if label in line)


def asked(kube, pod, page):
    """Return a page of a pod's HTTP, by way of the API server."""
    where = pod["metadata"]
    return kube(
        "get", "--raw", f"/api/v1/namespaces/{where['namespace']}/pods/{where['name']}:9090/proxy/{page}"
    )


def names(pods):
    return {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def test_consumers_come_with_the_backlog_and_go_with_it(queues, runner, times):
    scaling = {
        "maxReplicas": MOST,
        "targetBacklogPerConsumer": 50,
        "targetWaitSeconds": 5,
        "idleSecondsBeforeZero": 5,
    }
    queues.apply("q", {"consumers": {"drainSeconds": 10, "autoscaling": scaling}})
    queues.ready("q")
    assert names(queues.pods("q", "consumer")) == set()
    start(runner, "client", "many_tasks.py", 300, 0.1)
    with ThreadPoolExecutor() as threads:
        most = threads.submit(queues.until, "q", settled_at(MOST), 60, f"{MOST} consumers")
        with runner.follow("client") as told:
            submitted_at, _ = told.until("submitted")
            most = most.result()
            times.add(f"0 to {MOST} consumers (autoscaling)", time.monotonic() - submitted_at)
            checked_at, facts = told.until("checked", 120)
    assert facts == {"event": "checked", "tasks": 300, "wrong": 0}
    assert most["status"]["autoscaling"]["limitedBy"] == "MaxReplicas"
    queues.pods_until("q", lambda pods: not pods, 90, "the end of all consumers", component="consumer")
    times.add(f"{MOST} to 0 consumers, after 5 s without work (autoscaling)", time.monotonic() - checked_at)
    rested = queues.until("q", settled_at(0), 30, "rest")
    assert rested["status"]["backlog"]["ready"] == 0
    assert metric(runner.kube, queues, "daskqueue_delivered_total", 'redelivered="true"') == 0


def test_scale_down_spares_the_task_that_runs_and_outlives_the_operator(kube, release, queues, runner):
    queues.apply("q", fixed(3))
    queues.ready("q")
    queues.until("q", settled_at(3), 90, "three consumers")
    start(runner, "client", "one_task.py", TASK_SECONDS)
    with runner.follow("client") as told:
        busy = busy_pod(kube, queues)
        kube("scale", "dq", "q", "-n", queues.namespace, "--replicas=1")
        queues.until("q", settled_at(1), 60, "one consumer")
        assert names(queues.pods("q", "consumer")) == {busy}
        kube("scale", "dq", "q", "-n", queues.namespace, "--replicas=0")
        queues.until("q", lambda dq: consumers(dq).get("drainingReplicas") == 1, 30, "the last one draining")
        operator = release.pod(release.operator)
        kube(
            "delete", "pod", operator, "-n", release.namespace, "--grace-period=0", "--force", "--wait=false"
        )
        _, done = told.until("done", 60)
        assert (done["host"], done["ended_at"] - done["began_at"] >= TASK_SECONDS) == (busy, True)
    queues.until("q", settled_at(0), DRAIN_SECONDS + 30, "no consumer")
    assert metric(kube, queues, "daskqueue_delivered_total", 'redelivered="true"') == 0


def test_a_rolling_update_spares_the_task_that_runs(kube, queues, runner):
    queues.apply("q", fixed(1))
    queues.ready("q")
    queues.until("q", settled_at(1), 90, "one consumer")
    start(runner, "client", "one_task.py", TASK_SECONDS)
    with runner.follow("client") as told:
        busy = busy_pod(kube, queues)
        queues.change("q", {"consumers": {"pod": {"annotations": {"example.com/update": "1"}}}})

        def replaced(pods):
            return any(runs(pod) and pod["metadata"]["name"] != busy for pod in pods)

        queues.pods_until("q", replaced, 60, "the new consumer", component="consumer")
        _, done = told.until("done", 60)
        assert (done["host"], done["ended_at"] - done["began_at"] >= TASK_SECONDS) == (busy, True)
    queues.pods_until(
        "q", lambda pods: busy not in {p["metadata"]["name"] for p in pods}, 60, component="consumer"
    )
    assert metric(kube, queues, "daskqueue_delivered_total", 'redelivered="true"') == 0


def test_a_task_beyond_the_bound_is_given_back_and_costs_no_attempt(kube, queues, runner):
    queues.apply("q", fixed(1, drain_seconds=3, queue={"maxDeliveries": 1, "leaseSeconds": 600}))
    queues.ready("q")
    queues.until("q", settled_at(1), 90, "one consumer")
    start(runner, "client", "one_task.py", LONG_SECONDS)
    with runner.follow("client") as told:
        busy = busy_pod(kube, queues)
        kube("scale", "dq", "q", "-n", queues.namespace, "--replicas=0")

        def given_back(dq):
            return backlog(dq, "ready") == 1

        # Long before its lease of ten minutes ends.
        queues.until("q", given_back, 40, "the message given back")
        queues.until("q", settled_at(0), 40, "no consumer")
        kube("scale", "dq", "q", "-n", queues.namespace, "--replicas=1")
        _, done = told.until("done", 90 + LONG_SECONDS)
    assert done["host"] != busy
    assert metric(kube, queues, "daskqueue_dead_lettered_total") == 0


@pytest.fixture
def keda(kube):
    """KEDA in the cluster."""
    if not kube.find("customresourcedefinition", "scaledobjects.keda.sh"):
        pytest.skip("there is no KEDA in this cluster (no CustomResourceDefinition scaledobjects.keda.sh)")
    return kube


def test_keda_scales_the_queue_of_the_example(keda, queues, runner, times):
    example = (ROOT / "examples" / "kubernetes" / "keda.yaml").read_text()
    keda.apply(example.replace(".default.svc", f".{queues.namespace}.svc"), queues.namespace)
    queues.ready("letters")
    start(runner, "client", "many_tasks.py", 1000, 0.1, queue="letters")
    with runner.follow("client") as told:
        submitted_at, _ = told.until("submitted")
        queues.until(
            "letters", lambda dq: consumers(dq).get("readyReplicas", 0) >= 3, 120, "three consumers by KEDA"
        )
        times.add("0 to 3 consumers (KEDA)", time.monotonic() - submitted_at)
        _, facts = told.until("checked", 120)
    assert facts["wrong"] == 0
    assert queues.get("letters")["spec"]["consumers"]["replicas"] >= 3
    keda.patch("scaledobject", "letters", queues.namespace, {"spec": {"cooldownPeriod": 1}})
    queues.until("letters", settled_at(0), 180, "no consumers by KEDA")
