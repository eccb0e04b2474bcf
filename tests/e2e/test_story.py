"""The whole story on a real cluster: apply, submit, kill, update, delete, apply again; nothing is missing.

The tests are chapters: each goes on where the one before it ended, and after one that failed the rest is skipped.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from .conftest import new_namespace
from .installing import ROOT
from .jobs import Runner, story
from .killing import kill
from .loading import NAME, Load, facts, start
from .queues import Queues, chosen, is_ready, runs

TASKS = 50_000
LEFT = 2_000
SHARDS = 2
MOST = 5
SPEC = {
    "shards": {"replicas": SHARDS, "storage": {"persistentVolumeClaim": {"size": "1Gi"}}},
    "consumers": {
        "slots": 4,
        "drainSeconds": 20,
        "autoscaling": {"maxReplicas": MOST, "idleSecondsBeforeZero": 5},
    },
}
PODS_OF_THE_QUEUE = ["shard", "scheduler", "consumer"]
failed = []
moments = {}  # when something ended that the next chapter counts from


@pytest.fixture(scope="module")
def space(kube, release, request):
    """The namespace of the story."""
    with new_namespace(kube, request) as name:
        yield name


@pytest.fixture(scope="module")
def dq(kube, release, space):
    """The DaskQueues of the story's namespace."""
    return Queues(kube, space)


@pytest.fixture(scope="module")
def jobs(kube, space, image):
    """Starts the story's scripts as Jobs."""
    return Runner(kube, space, image)


@pytest.fixture(scope="module")
def load(jobs):
    """The queue under load, from the first chapter that asks for it until one ends it."""
    skip_after_a_failure()
    with ExitStack() as stack:
        yield Load(jobs, stack)


@pytest.fixture(autouse=True)
def chapter(request):
    """Skip what builds upon a chapter that failed."""
    skip_after_a_failure()
    before = request.session.testsfailed
    yield
    if request.session.testsfailed > before:
        failed.append(request.node.name)


def test_a_queue_is_ready_soon_after_it_is_applied(dq, times):
    with times.measure("kubectl apply to Ready", aim=15, note=f"{SHARDS} shards with volumes"):
        dq.apply(NAME, SPEC)
        dq.ready(NAME, timeout=90)


def test_a_job_of_50_000_tasks_brings_consumers_and_gets_every_result(dq, jobs, times):
    assert dq.pods(NAME, "consumer") == []
    start(jobs, "submit", TASKS)
    with jobs.follow("submit") as told:
        began_at, _ = told.until("submitting")
        dq.pods_until(NAME, lambda pods: any(map(runs, pods)), 90, "a consumer", "consumer")
        one_at = time.monotonic()
        dq.pods_until(NAME, lambda pods: sum(map(runs, pods)) == MOST, 90, f"{MOST} consumers", "consumer")
        five_at = time.monotonic()
        _, first = told.until("first result", timeout=60)
        moments["last result"], checked = told.until("checked", timeout=200)
    jobs.finished("submit")
    assert (checked["tasks"], checked["wrong"]) == (TASKS, 0)
    note = f"a consumer was Ready after {one_at - began_at:.1f} s"
    times.add("first submit to first result, from zero consumers", first["seconds"], 8, note)
    times.add(f"first submit to {MOST} consumers Ready", five_at - began_at)
    times.add(
        f"{TASKS:,} tasks submitted, run and checked", checked["seconds"], note="5,000 of them of 100 ms"
    )


def test_consumers_go_when_there_is_nothing_to_do(dq, times):
    idle = SPEC["consumers"]["autoscaling"]["idleSecondsBeforeZero"]
    dq.pods_until(NAME, lambda pods: not pods, 120, "zero consumers", "consumer")
    seconds = time.monotonic() - moments["last result"]
    times.add("last result to zero consumers", seconds, note=f"idleSecondsBeforeZero: {idle}")


@pytest.mark.parametrize("component", PODS_OF_THE_QUEUE)
def test_kill_9_of_a_pod_of_the_queue_loses_nothing(kube, dq, load, times, component):
    dq.pods_until(NAME, lambda pods: any(map(runs, pods)), 60, f"a {component}", component)
    load.goes_on()
    victim = next(pod for pod in dq.pods(NAME, component) if runs(pod))
    killed_at = time.monotonic()
    how = kill(kube, dq.namespace, victim["metadata"]["name"])
    replaced(kube, dq.namespace, chosen(NAME, component), victim)
    load.goes_on()
    began_at, ended_at = load.silence(killed_at)
    aim = None if component == "consumer" else 8
    note = f"{how}; longest silence {ended_at - began_at:.1f} s"
    times.add(f"killed {component} to the next answer", ended_at - killed_at, aim, note)


def test_kill_9_of_the_operator_stops_no_task(kube, dq, release, load, times):
    victim = release.pod(release.operator)
    killed_at = time.monotonic()
    how = kill(kube, release.namespace, victim)
    repaired(kube, dq)
    note = f"{how}; until a deleted ConfigMap was there again"
    times.add("killed operator to reconciling again", time.monotonic() - killed_at, 10, note)
    load.goes_on()


def test_kill_9_of_the_operator_of_dask_kubernetes_stops_no_task(kube, release, load, times):
    if release.dask_kubernetes is None:
        pytest.skip("the chart was installed without dask-kubernetes")
    deployment = release.dask_kubernetes
    victim = kube.get("pod", release.pod(deployment), release.namespace)
    killed_at = time.monotonic()
    how = kill(kube, release.namespace, victim["metadata"]["name"])
    replaced(kube, release.namespace, release.selector(deployment), victim)
    times.add("killed dask-kubernetes' operator to Ready again", time.monotonic() - killed_at, note=how)
    load.goes_on()


def test_the_operator_can_be_replaced_in_the_middle(kube, dq, release, load, times):
    gone_at = time.monotonic()
    kube("delete", "pod", release.pod(release.operator), "-n", release.namespace, "--wait=false")
    repaired(kube, dq)
    note = "until a deleted ConfigMap was there again"
    times.add("deleted operator pod to reconciling again", time.monotonic() - gone_at, 10, note)
    load.goes_on()


def test_a_new_image_rolls_through_all_pods_under_load(dq, load, times, image_2):
    began_at = time.monotonic()
    dq.change(NAME, {"image": image_2})
    dq.pods_until(
        NAME, lambda pods: rolled(pods, image_2), 240, f"{image_2} in all pods, and all of them Ready"
    )
    dq.ready(NAME, timeout=60)
    rolled_at = time.monotonic()
    load.goes_on()
    silent = load.silence(began_at)
    note = f"longest silence {silent[1] - silent[0]:.1f} s"
    times.add("new image in all pods, under load", rolled_at - began_at, note=note)


def test_an_upgrade_of_the_chart_leaves_the_queues_pods_alone(kube, dq, release, load, times, image_2):
    before = lasting(dq)
    with times.measure("helm upgrade --wait to a new operator, under load"):
        release.upgrade(f"image.tag={image_2.rpartition(':')[2]}")
    operator = kube.get("pod", release.pod(release.operator), release.namespace)
    assert operator["spec"]["containers"][0]["image"] == image_2
    repaired(kube, dq)
    load.goes_on()
    assert lasting(dq) == before


def test_nothing_was_missing_in_all_of_it(load, times):
    began_at = time.monotonic()
    tasks = load.end()
    note = f"{tasks:,} tasks in all that time, each result right"
    times.add("end of the load to its last result", time.monotonic() - began_at, note=note)


def test_a_backlog_outlives_its_queue(kube, dq, jobs, times):
    dq.change(NAME, {"suspend": True})
    dq.pods_until(NAME, lambda pods: not pods, 90, "zero consumers", "consumer")
    start(jobs, "leave", LEFT)
    handles = facts(jobs.finished("leave"), "left")["handles"]
    dq.until(NAME, backlog_of(LEFT), 30, f"a backlog of {LEFT}")

    with times.measure("kubectl delete to all pods gone"):
        dq.delete(NAME, timeout=90)
    claims = kube.list("persistentvolumeclaims", dq.namespace)
    assert len(claims) == SHARDS

    with times.measure("applied again to Ready, on the volumes that were kept", aim=15):
        dq.apply(NAME, {**SPEC, "suspend": True})
        dq.ready(NAME, timeout=90)
    dq.until(NAME, backlog_of(LEFT), 30, f"the backlog of {LEFT} that was left")
    dq.change(NAME, {"suspend": False})
    start(jobs, "fetch", handles=handles)
    fetched = facts(jobs.finished("fetch", timeout=180), "fetched")
    assert (fetched["tasks"], fetched["wrong"]) == (LEFT, 0)


def test_a_notebook_pod_and_this_machine_find_the_cluster_by_its_name(kube, dq, times, image):
    example = (ROOT / "examples" / "kubernetes" / "notebook-pod.yaml").read_text()
    kube.apply(re.sub(r"(?m)^( *image: ).*$", rf"\g<1>{image}", example), dq.namespace)
    in_the_pod = ["kubectl", "exec", "-i", "notebook", "-n", dq.namespace, "--", "python"]
    with ThreadPoolExecutor() as side_by_side:
        here = side_by_side.submit(notebook, [sys.executable], dq.namespace)
        kube.until("pods", dq.namespace, lambda pods: pods and runs(pods[0]), name="notebook")
        there = side_by_side.submit(notebook, in_the_pod, dq.namespace)
    for where, told in (("a notebook pod", there.result()), ("this machine", here.result())):
        assert told["tasks"] == 100
        note = f"KubeCluster.from_name alone: {told['found']:.1f} s"
        times.add(f"from {where}: found, connected, 100 tasks", told["seconds"], note=note)


# What the chapters need


def skip_after_a_failure():
    if failed:
        pytest.skip(f"the story ended in {failed[0]}")


def replaced(kube, ns, selector, victim):
    """Wait until another container, in the same pod or another, serves in a victim's place."""
    before = container_ids([victim])

    def others(pods):
        living = [pod for pod in pods if runs(pod)]
        return living and not before & container_ids(living)

    what = f"another container in {victim['metadata']['name']}'s place"
    kube.until("pods", ns, others, selector=selector, timeout=90, what=what)


def container_ids(pods):
    return {
        status.get("containerID") for pod in pods for status in pod["status"].get("containerStatuses", [])
    }


def repaired(kube, dq):
    """Delete an object of the queue, and wait until the operator has made it again."""
    config = f"{NAME}-config"
    before = kube.get("configmap", config, dq.namespace)["metadata"]["uid"]
    kube("delete", "configmap", config, "-n", dq.namespace)
    kube.until(
        "configmaps",
        dq.namespace,
        lambda found: found and found[0]["metadata"]["uid"] != before,
        name=config,
        timeout=60,
        what=f"another {config}",
    )


def rolled(pods, image):
    """Return whether all pods run an image, those of each component being there."""
    there = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods}
    images = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
    return there == set(PODS_OF_THE_QUEUE) and images == {image} and all(map(runs, pods))


def lasting(dq):
    """Return the ids of the containers that do not come and go with the backlog."""
    pods = dq.pods(NAME, "shard") + dq.pods(NAME, "scheduler")
    return {pod["metadata"]["name"]: sorted(container_ids([pod])) for pod in pods}


def backlog_of(tasks):
    """Return whether a queue is ready, and says that many messages wait."""
    return lambda queue: is_ready(queue) and queue["status"].get("backlog", {}).get("ready") == tasks


def notebook(python, ns):
    """Run the notebook's script with a Python somewhere, and return what it told."""
    command = [*python, "-", NAME, ns]
    script = story("notebook.py")
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return facts(done.stdout, "done")
