"""Both operators may do what they do, and no more: what the chart grants against what the API server saw.

It looks at the whole run up to here, and first makes the operators do what the other tests may have left out.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from .audit import Account, granted, seen
from .queues import runs

LOG = Path(os.environ.get("E2E_AUDIT_LOG", "/var/lib/dq-kube/log/audit.log"))
DASK = (Path(__file__).parent / "story" / "dask.yaml").read_text()
POD_MONITORS = (Path(__file__).parent / "story" / "podmonitors.yaml").read_text()

pytestmark = pytest.mark.skipif(
    not LOG.exists(), reason=f"no audit log at {LOG}: set E2E_AUDIT_LOG to the API server's"
)


@pytest.fixture(scope="module")
def accounts(release):
    """The service accounts of the two operators: they have the names of the Deployments."""
    names = {"operator": release.operator, "dask-kubernetes": release.dask_kubernetes}
    return {part: Account(release.namespace, name) for part, name in names.items()}


@pytest.fixture(scope="module")
def pod_monitors(kube):
    """The kind PodMonitor; if the cluster has none, one that is just enough, until the end."""
    name = "podmonitors.monitoring.coreos.com"
    there = kube.find("customresourcedefinition", name)
    if not there:
        kube.apply(POD_MONITORS)
        kube("wait", "--for=condition=Established", f"customresourcedefinition/{name}")
        kube.until("podmonitors", None, lambda _found: True, what="the API of PodMonitors")
        kube(
            "annotate", "customresourcedefinition", name, "looked=again"
        )  # kopf may have looked before it was served
    yield
    if not there:
        kube("delete", "customresourcedefinition", name)


def test_the_operator_makes_watches_grows_scales_and_removes(kube, queues, run_python, pod_monitors):
    queues.apply("all", {"consumers": {"autoscaling": {"idleSecondsBeforeZero": 0}}})
    queues.ready("all")
    run_python(
        "import daskqueue\nwith daskqueue.connect() as pool: print(pool.submit(abs, -1).result())",
        queue="all",
    )
    queues.pods_until("all", lambda pods: not pods, component="consumer", what="no consumers")
    # The operator looks once a minute which APIs there are, and at a calm queue once a minute.
    kube.until("podmonitors", queues.namespace, bool, name="all", what="a PodMonitor", timeout=150)
    queues.change("all", {"monitoring": {"podMonitor": "Disabled"}})
    kube.gone("podmonitors", "all", queues.namespace)
    queues.change("all", {"shards": {"storage": {"persistentVolumeClaim": {"size": "11Gi"}}}})
    kube.until(
        "statefulsets", queues.namespace, has_claims_of("11Gi"), name="all-shard", what="a new StatefulSet"
    )
    queues.apply(
        "wrong", {"shards": {"storage": {"persistentVolumeClaim": {"storageClassName": "there-is-none"}}}}
    )
    queues.not_ready("wrong", "StorageClassMissing")
    queues.change("all", {"consumers": {"replicas": 2, "autoscaling": {"mode": "Fixed"}}})
    queues.pods_until(
        "all", lambda pods: list(map(runs, pods)) == [True] * 2, component="consumer", what="two consumers"
    )
    queues.change("all", {"consumers": {"replicas": 1}})
    queues.pods_until("all", lambda pods: len(pods) == 1, component="consumer", what="one consumer")
    queues.delete("all")


def test_the_operator_of_dask_kubernetes_serves_all_its_kinds(kube, release, namespace, image):
    cluster, job, autoscaler = yaml.safe_load_all(DASK.replace("IMAGE", image))
    kube.apply([cluster, job], namespace)
    kube.until("daskjobs", namespace, job_succeeded, name="once", what="the DaskJob's end")
    for part in ("scheduler", "worker"):  # workers are closed through the scheduler, or a minute later
        pods = f"dask.org/component={part},dask.org/cluster-name=one"
        kube.until("pods", namespace, lambda found: any(map(runs, found)), selector=pods, what=f"a {part}")
    kube.patch("daskcluster", "one", namespace, {"spec": {"worker": {"replicas": 0}}})
    kube.until("deployments", namespace, lambda found: not found, selector=pods, timeout=90, what="no worker")
    kube.apply(autoscaler, namespace)
    kube.until(
        "daskautoscalers", namespace, is_handled, name="one", what="dask-kubernetes to handle an autoscaler"
    )
    kube("delete", "daskcluster", "one", "-n", namespace, "--wait=false")
    kube.until(
        "deployments",
        namespace,
        lambda found: not found,
        selector="dask.org/cluster-name=one",
        what="its end",
    )


@pytest.mark.parametrize("part", ["operator", "dask-kubernetes"])
def test_nothing_that_an_operator_did_was_forbidden(accounts, part):
    _, refused = seen(LOG, accounts[part])
    assert not refused, f"refused: {', '.join(sorted(map(str, refused)))}"


@pytest.mark.parametrize("part", ["operator", "dask-kubernetes"])
def test_nothing_is_granted_that_an_operator_did_not_use(kube, accounts, artifacts, part):
    used, _ = seen(LOG, accounts[part])
    rights = granted(kube, accounts[part])
    (artifacts / f"verbs-{part}.txt").write_text("".join(f"{right}\n" for right in sorted(map(str, used))))
    assert rights, "no cluster role is bound to it"
    idle = sorted(map(str, rights - used))
    assert not idle, f"granted, and never used: {', '.join(idle)}"


def has_claims_of(size):
    """Return a function that tells whether a StatefulSet makes claims of a size."""

    def has(found):
        return [
            one
            for one in found
            for claim in one["spec"]["volumeClaimTemplates"]
            if claim["spec"]["resources"]["requests"]["storage"] == size
        ]

    return has


def is_handled(found):
    """Return whether kopf has put its mark on an object."""
    return bool(found) and found[0]["metadata"].get("finalizers")


def job_succeeded(found):
    """Return whether a DaskJob has succeeded."""
    return bool(found) and found[0].get("status", {}).get("jobStatus") == "Successful"
