"""The operator makes what a DaskQueue asks for, keeps it so, and lets go of it: real pods, real volumes."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from .kubectl import condition, holds_true
from .queues import runs

PARTS = [
    ("service", "inv-scheduler"),
    ("deployment", "inv-scheduler"),
    ("daskcluster", "inv"),
    ("secret", "inv-connection"),
    ("configmap", "inv-config"),
    ("service", "inv-shard"),
    ("statefulset", "inv-shard"),
    ("deployment", "inv-consumer"),
    ("poddisruptionbudget", "inv-scheduler"),
    ("poddisruptionbudget", "inv-shard"),
    ("poddisruptionbudget", "inv-consumer"),
]
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}}
SMALL_PODS = {"scheduler": {"pod": {"resources": SMALL}}, "consumers": {"pod": {"resources": SMALL}}}
IN_MEMORY = {"storage": {"emptyDir": {}}, "pod": {"resources": SMALL}}


def volume(size="1Gi", **more):
    return {"storage": {"persistentVolumeClaim": {"size": size, **more}}, "pod": {"resources": SMALL}}


def uids(kube, namespace):
    return {(kind, name): kube.get(kind, name, namespace)["metadata"]["uid"] for kind, name in PARTS}


def is_complete(queue):
    """Return whether nothing is left to do, with the spec as it is."""
    progressing = condition(queue, "Progressing")
    current = queue.get("status", {}).get("observedGeneration") == queue["metadata"]["generation"]
    return current and progressing.get("status") == "False" and holds_true(queue, "Ready")


@contextmanager
def without(kube, release, *deployments):
    """Run no operator of some kinds for a while."""
    present = [name for name in deployments if name]
    for name in present:
        kube("scale", "deployment", name, "-n", release.namespace, "--replicas=0")
    for name in present:
        kube.until(
            "pods",
            release.namespace,
            lambda pods: not pods,
            selector=release.selector(name),
            what=f"no {name}",
        )
    try:
        yield
    finally:
        for name in present:
            kube("scale", "deployment", name, "-n", release.namespace, "--replicas=1")
            kube("rollout", "status", "deployment", name, "-n", release.namespace, "--timeout=60s")


def test_four_lines_make_everything_and_whatever_is_taken_or_bent_comes_back(kube, queues, namespace):
    queues.apply("inv")
    queues.until("inv", is_complete, what="the whole queue")

    before = uids(kube, namespace)
    assert "finalizers" not in queues.get("inv")["metadata"]
    for kind in ("daskclusters", "daskqueues", "deployments"):
        assert stays(kube, kind, namespace)

    for kind, name in PARTS:
        if (
            kind != "statefulset"
        ):  # its pods would be replaced: the queue is not ready for a while, which is as it must be
            kube("delete", kind, name, "-n", namespace, "--wait=false")
    for kind, name in PARTS:
        if kind != "statefulset":
            kube.until(
                f"{kind}s",
                namespace,
                lambda found, key=(kind, name): came_back(found, before[key]),
                name=name,
            )
    queues.until("inv", is_complete, what="the whole queue, again")
    assert owners(kube, namespace) == {("DaskQueue", "inv")}

    kube("scale", "deployment", "inv-scheduler", "-n", namespace, "--replicas=2")
    kube.patch("configmap", "inv-config", namespace, {"data": {"queue.yaml": "lease: 1s"}})
    kube.patch("service", "inv-scheduler", namespace, {"spec": {"selector": {"dask.org/component": "other"}}})
    kube("label", "service", "inv-shard", "-n", namespace, "app.kubernetes.io/managed-by-")
    kube("set", "image", "deployment/inv-consumer", "-n", namespace, "consumer=localhost/other:1")
    kube.until(
        "deployments", namespace, lambda found: found[0]["spec"]["replicas"] == 1, name="inv-scheduler"
    )
    kube.until(
        "configmaps", namespace, lambda found: "60s" in found[0]["data"]["queue.yaml"], name="inv-config"
    )
    kube.until(
        "services",
        namespace,
        lambda found: found[0]["spec"]["selector"]["dask.org/component"] == "scheduler",
        name="inv-scheduler",
    )
    kube.until(
        "services",
        namespace,
        lambda found: "app.kubernetes.io/managed-by" in found[0]["metadata"]["labels"],
        name="inv-shard",
    )
    kube.until("deployments", namespace, lambda found: "other" not in image_of(found[0]), name="inv-consumer")
    queues.until("inv", is_complete, what="the whole queue, a third time")

    repaired = [event["message"] for event in kube.events(namespace, "inv") if event["reason"] == "Repaired"]
    assert any("spec.replicas is 2, not 1" in message for message in repaired)


def stays(kube, kind, namespace):
    """Return whether nobody touches the objects of a kind for a while: two operators may fight over them."""
    versions = {
        found["metadata"]["name"]: found["metadata"]["resourceVersion"]
        for found in kube.list(kind, namespace)
    }
    with pytest.raises(AssertionError, match="a change did not come about"):
        kube.until(
            kind,
            namespace,
            lambda found: (
                {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in found} != versions
            ),
            timeout=3,
            what="a change",
        )
    return True


def came_back(found, before):
    return (
        bool(found)
        and found[0]["metadata"]["uid"] != before
        and "deletionTimestamp" not in found[0]["metadata"]
    )


def image_of(deployment):
    return deployment["spec"]["template"]["spec"]["containers"][0]["image"]


def owners(kube, namespace):
    found = [kube.get(kind, name, namespace)["metadata"]["ownerReferences"] for kind, name in PARTS]
    return {(owner["kind"], owner["name"]) for each in found for owner in each if owner["controller"]}


def test_a_change_reaches_only_the_pods_that_it_is_about_and_volumes_grow_under_running_pods(
    kube, queues, namespace
):
    scaling = {"autoscaling": {"minReplicas": 1}, "pod": {"resources": SMALL}}
    queues.apply("inv", {**SMALL_PODS, "shards": volume(), "consumers": scaling})
    queues.until("inv", is_complete, what="the whole queue")
    shard, scheduler = pod(queues, "shard"), pod(queues, "scheduler")

    queues.change("inv", {"shards": {"storage": {"persistentVolumeClaim": {"size": "2Gi"}}}})
    queues.until("inv", is_complete, what="the larger volume")
    claims = kube.list("persistentvolumeclaims", namespace)
    assert [claim["status"]["capacity"]["storage"] for claim in claims] == ["2Gi"]
    template = kube.get("statefulset", "inv-shard", namespace)["spec"]["volumeClaimTemplates"][0]
    assert template["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert pod(queues, "shard") == shard

    consumer = pod(queues, "consumer")
    queues.change("inv", {"consumers": {"slots": 2}})
    queues.until("inv", is_complete, what="consumers with two slots")
    assert (pod(queues, "shard"), pod(queues, "scheduler")) == (shard, scheduler)
    assert pod(queues, "consumer") != consumer

    queues.change("inv", {"queue": {"maxDeliveries": 7}})
    queues.until("inv", is_complete, what="shards with other options")
    assert pod(queues, "shard") != shard
    assert pod(queues, "scheduler") == scheduler

    queues.change("inv", {"suspend": True})
    queues.pods_until("inv", lambda pods: not pods, component="consumer", what="no consumers")
    queues.until("inv", lambda queue: condition(queue, "Ready").get("reason") == "Suspended")
    queues.change("inv", {"suspend": False})
    queues.pods_until("inv", lambda pods: len(pods) == 1, component="consumer", what="a consumer again")


def test_another_image_replaces_the_shards_last(kube, queues, namespace, image, image_2):
    scaling = {"autoscaling": {"minReplicas": 1}, "pod": {"resources": SMALL}}
    queues.apply("inv", {**SMALL_PODS, "shards": IN_MEMORY, "consumers": scaling, "image": image})
    queues.until("inv", is_complete, what="the whole queue")
    shard = pod(queues, "shard")

    queues.change("inv", {"image": image_2})
    replaced = queues.pods_until(
        "inv", lambda pods: shard_is_leaving(pods, shard) and pods, what="the shard's turn"
    )

    others = {component(found): found for found in replaced if component(found) != "shard" and runs(found)}
    assert {image_of_pod(found) for found in others.values()} == {image_2}
    assert set(others) == {"scheduler", "consumer"}
    queues.until("inv", is_complete, what="the new image everywhere")


def shard_is_leaving(pods, shard):
    alive = [found["metadata"]["uid"] for found in pods if "deletionTimestamp" not in found["metadata"]]
    return shard not in alive


def component(found):
    return found["metadata"]["labels"]["app.kubernetes.io/component"]


def image_of_pod(found):
    return found["spec"]["containers"][0]["image"]


def pod(queues, component):
    """Return the identity of the one pod of a part that is not on its way out."""
    pods = [found for found in queues.pods("inv", component) if "deletionTimestamp" not in found["metadata"]]
    assert len(pods) == 1
    return pods[0]["metadata"]["uid"]


@pytest.mark.parametrize("cascade", ["background", "foreground"])
@pytest.mark.parametrize("down", ["nobody", "both operators"])
def test_a_deletion_ends_whoever_is_down(kube, queues, namespace, release, cascade, down):
    queues.apply("inv", {**SMALL_PODS, "shards": volume(whenDeleted="Delete")})
    queues.until("inv", is_complete, what="the whole queue")
    kube.until("daskclusters", namespace, lambda found: found[0].get("status", {}).get("phase"), name="inv")

    stopped = [release.operator, release.dask_kubernetes] if down == "both operators" else []
    with without(kube, release, *stopped):
        queues.delete("inv", cascade)
        kube.gone("persistentvolumeclaims", "data-inv-shard-0", namespace)
    kube.gone("daskclusters", "inv", namespace)  # whoever comes back lets go of it


def test_a_dask_cluster_that_nobody_lets_go_of_is_swept(kube, queues, namespace, release):
    queues.apply("inv", {**SMALL_PODS, "shards": IN_MEMORY})
    queues.until("inv", is_complete, what="the whole queue")
    kube.until("daskclusters", namespace, lambda found: found[0]["metadata"].get("finalizers"), name="inv")

    with without(kube, release, release.dask_kubernetes):
        queues.delete("inv")
        kube.gone("daskclusters", "inv", namespace)


def test_kept_claims_are_found_again_and_none_of_them_is_left_alone(kube, queues, namespace):
    queues.apply("inv", {**SMALL_PODS, "shards": {**volume(), "replicas": 2}})
    queues.until("inv", is_complete, what="the whole queue")
    before = {claim["metadata"]["uid"] for claim in kube.list("persistentvolumeclaims", namespace)}
    queues.delete("inv")

    queues.apply("inv", {**SMALL_PODS, "shards": volume()})
    found = queues.until("inv", is_complete, what="the queue with its old volumes")

    assert {claim["metadata"]["uid"] for claim in kube.list("persistentvolumeclaims", namespace)} == before
    assert found["status"]["shards"]["readyReplicas"] == 2
    assert condition(found, "ShardsReady")["reason"] == "KeptClaims"
    assert "data-inv-shard-1" in condition(found, "ShardsReady")["message"]


BAD = {
    "ImagePull": (
        {"image": "localhost/no-such-image:1", "shards": IN_MEMORY},
        ["localhost/no-such-image:1", "spec.image"],
    ),
    "StorageClassMissing": (
        {"shards": volume(storageClassName="gold")},
        ["data-bad-shard-0", "'gold'", "standard"],
    ),
    "Unschedulable": (
        {"shards": {"storage": {"emptyDir": {}}, "pod": {"resources": {"requests": {"cpu": "900"}}}}},
        ["bad-shard-0", "Insufficient cpu"],
    ),
    "CrashLoop": (
        {
            "shards": {
                "storage": {"emptyDir": {}},
                "pod": {"env": [{"name": "DASKQUEUE_FSYNC", "value": "perhaps"}]},
            }
        },
        ["bad-shard-0", "perhaps"],
    ),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_queue_that_cannot_run_says_why_in_a_sentence_and_in_an_event(kube, queues, namespace, reason):
    spec, words = BAD[reason]
    queues.apply("bad", {**SMALL_PODS, **spec})

    message = queues.not_ready("bad", reason)["message"]

    assert [word for word in words if word not in message] == []
    kube.until(
        "events",
        namespace,
        lambda events: [
            each for each in events if each["reason"] == reason and each["message"][:40] == message[:40]
        ],
        what="the event",
    )


def test_a_scheduler_that_finds_no_node_is_named_before_what_waits_for_it(queues):
    elsewhere = {"pod": {"nodeSelector": {"nowhere": "yes"}}}
    queues.apply("bad", {**SMALL_PODS, "shards": IN_MEMORY, "scheduler": elsewhere})

    assert "bad-scheduler" in queues.not_ready("bad", "Unschedulable")["message"]


def test_a_name_that_somebody_else_uses_is_not_taken_from_them(kube, queues, namespace):
    ports = [{"port": 80}]
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "bad-shard"},
        "spec": {"ports": ports},
    }
    kube.apply(theirs, namespace)
    queues.apply("bad", {**SMALL_PODS, "shards": IN_MEMORY})

    assert "Service bad-shard" in queues.not_ready("bad", "NameTaken")["message"]

    assert kube.get("service", "bad-shard", namespace)["spec"]["ports"][0]["port"] == 80
    kube("delete", "service", "bad-shard", "-n", namespace)
    queues.ready("bad")


def test_a_broken_image_is_mended_by_the_right_one(queues, image):
    queues.apply("bad", {**SMALL_PODS, "shards": IN_MEMORY, "image": "localhost/no-such-image:1"})
    queues.not_ready("bad", "ImagePull")

    queues.change("bad", {"image": image})

    queues.ready("bad")
