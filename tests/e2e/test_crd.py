"""What a real API server makes of DaskQueues: defaults, refusals with sentences, explanations, scale."""

from __future__ import annotations

import json

import pytest
from manifests import ACCEPTED, BEFORE, CHANGED, OUT_OF_BOUNDS, REFUSED

from daskqueue_operator import schema

from .conftest import new_namespace
from .queues import manifest

FOUR_LINES = """\
apiVersion: daskqueue.dev/v1alpha1
kind: DaskQueue
metadata:
  name: invoices
"""
# No pod of these is to run: the API server is what is asked.
NOWHERE = {"pod": {"nodeSelector": {"example.com/nowhere": "true"}}}
TOLD_BY_THE_SERVER = {name: case for name, case in REFUSED.items() if case.told_by != "the operator"}
SPEC = schema.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


@pytest.fixture(scope="module")
def space(kube, release, request):
    """A namespace for the tests of this file."""
    with new_namespace(kube, request) as name:
        yield name


@pytest.fixture(scope="module")
def before(kube, space):
    """The DaskQueues that are to be changed."""
    for name, spec in BEFORE.items():
        kube.apply(manifest(name, space, unscheduled(spec)))
    yield space
    kube("delete", "dq", "--all", "-n", space)


def unscheduled(spec):
    """Return a spec whose pods find no node."""
    parts = {part: {**spec.get(part, {}), **NOWHERE} for part in ("shards", "scheduler", "consumers")}
    return {**spec, **parts}


def taken(kube, space, text):
    """Return what the API server would store."""
    done = kube("create", "--dry-run=server", "-o", "json", "-n", space, "-f", "-", stdin=text)
    return json.loads(done)


def test_four_lines_are_a_queue_and_get_the_defaults(kube, space):
    assert taken(kube, space, FOUR_LINES)["spec"] == {
        "suspend": False,
        "queue": {
            "leaseSeconds": 60,
            "maxDeliveries": 5,
            "retries": 0,
            "backoffSeconds": 1,
            "backoffMaxSeconds": 600,
            "overflow": "Block",
            "results": "Durable",
            "resultTtlSeconds": 604_800,
            "resultBytes": "1Gi",
            "fsync": "Always",
            "fsyncIntervalMilliseconds": 100,
        },
        "shards": {
            "replicas": 1,
            "storage": {
                "persistentVolumeClaim": {
                    "size": "10Gi",
                    "accessMode": "ReadWriteOnce",
                    "whenDeleted": "Retain",
                }
            },
        },
        "consumers": {
            "slots": 1,
            "executor": "Threads",
            "batchSize": 1000,
            "drainSeconds": 60,
            "autoscaling": {
                "mode": "Builtin",
                "minReplicas": 0,
                "maxReplicas": 5,
                "targetBacklogPerConsumer": 1000,
                "targetWaitSeconds": 30,
                "idleSecondsBeforeZero": 60,
            },
        },
        "monitoring": {"podMonitor": "Auto"},
    }


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_right_is_taken_whole(kube, space, spec):
    stored = taken(kube, space, json.dumps(manifest("invoices", spec=spec)))["spec"]
    assert contains(stored, spec)


def contains(stored, said):
    """Return whether all that was said is there."""
    if isinstance(said, dict):
        return all(key in stored and contains(stored[key], part) for key, part in said.items())
    return stored == said


@pytest.mark.parametrize("case", TOLD_BY_THE_SERVER.values(), ids=TOLD_BY_THE_SERVER)
def test_what_breaks_a_rule_is_refused_with_its_sentence(kube, space, case):
    assert case.because in created(kube, space, manifest(case.name, spec=case.spec))


@pytest.mark.parametrize(("spec", "where"), OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_what_is_out_of_bounds_is_refused_with_its_place(kube, space, spec, where):
    assert f"spec.{where}" in created(kube, space, manifest("invoices", spec=spec))


def created(kube, space, found):
    """Return what the API server says against a new DaskQueue."""
    done = kube.run("create", "--dry-run=server", "-n", space, "-f", "-", stdin=json.dumps(found))
    assert done.returncode != 0, done.stdout
    return done.stderr


@pytest.mark.parametrize("case", CHANGED.values(), ids=CHANGED)
def test_a_change_is_taken_or_refused_with_its_sentence(kube, before, case):
    change = json.dumps({"spec": case.spec})
    done = kube.run(
        "patch", "dq", case.before, "-n", before, "--type=merge", "--dry-run=server", "-p", change
    )
    if case.because is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0, done.stdout
        assert case.because in done.stderr


def test_kubectl_scale_sets_a_fixed_number(kube, before):
    kube("scale", "dq", "fixed", "-n", before, "--replicas=4")
    assert kube.get("dq", "fixed", before)["spec"]["consumers"]["replicas"] == 4
    scale = json.loads(kube("get", "--raw", f"{path_of(before, 'fixed')}/scale"))
    assert scale["spec"]["replicas"] == 4


def test_kubectl_scale_is_refused_with_a_sentence_where_the_operator_decides(kube, before):
    done = kube.run("scale", "dq", "four-lines", "-n", before, "--replicas=4")
    assert done.returncode != 0
    assert "change those, or set autoscaling.mode to Fixed or External" in done.stderr


def test_an_autoscaler_finds_the_number_of_consumers_and_changes_it(kube, space):
    consumers = {**NOWHERE, "replicas": 0, "autoscaling": {"mode": "External"}}
    kube.apply(manifest("external", space, {**unscheduled({}), "consumers": consumers}))
    scale = json.loads(kube("get", "--raw", f"{path_of(space, 'external')}/scale"))
    del scale["metadata"]["resourceVersion"]  # the operator writes the status at the same moment
    scale["spec"]["replicas"] = 2
    kube("replace", "--raw", f"{path_of(space, 'external')}/scale", "-f", "-", stdin=json.dumps(scale))
    assert kube.get("dq", "external", space)["spec"]["consumers"]["replicas"] == 2
    kube("delete", "dq", "external", "-n", space)


def path_of(space, name):
    """Return where the API has a DaskQueue."""
    return f"/apis/daskqueue.dev/v1alpha1/namespaces/{space}/daskqueues/{name}"


def objects(part, path):
    """Yield the paths of all objects of a schema that have fields, with the texts of those."""
    fields = part.get("properties") or part.get("items", {}).get("properties")
    if fields:
        yield path, {name: below.get("description") for name, below in fields.items()}
        for name, below in fields.items():
            yield from objects(below, f"{path}.{name}")


@pytest.mark.parametrize(
    ("path", "texts"),
    [*objects(SPEC, "dq.spec")],
    ids=lambda value: value if isinstance(value, str) else "texts",
)
def test_kubectl_explains_every_field(kube, release, path, texts):
    said = " ".join(kube("explain", path).split())
    assert "<no description>" not in said
    assert [name for name, text in texts.items() if " ".join(text.split()) not in said] == []


def test_kubectl_get_shows_the_columns(kube, before):
    header = kube("get", "dq", "-n", before).splitlines()[0].split()
    assert header == ["NAME", *(name.upper() for name, *_ in schema.COLUMNS)]
    wide = kube("get", "dq", "-n", before, "-o", "wide").splitlines()[0].split()
    assert wide == ["NAME", *(name.upper() for name, *_ in schema.COLUMNS + schema.WIDE_COLUMNS)]


def test_the_cluster_has_the_definition_of_this_code(kube, release):
    stored = kube.get("crd", "daskqueues.daskqueue.dev")
    assert contains_all(stored["spec"], schema.crd()["spec"])
    assert stored["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def contains_all(stored, said):
    """Return whether all that was said is there, in lists too."""
    if isinstance(said, list):
        return len(stored) == len(said) and all(map(contains_all, stored, said))
    if isinstance(said, dict):
        return all(key in stored and contains_all(stored[key], part) for key, part in said.items())
    return stored == said
