"""What a DaskQueue wants: golden manifests, and rules that hold for all of them."""

from __future__ import annotations

import base64

import golden
import pytest
import yaml
from made import find, source, wanted
from manifests import ACCEPTED

from daskqueue_operator import labels as lb
from daskqueue_operator.build import configuration
from daskqueue_operator.desired import desired, pod_template
from daskqueue_operator.kinds import DASK_CLUSTER, POD_MONITOR

WORKLOADS = [("Deployment", "inv-scheduler"), ("StatefulSet", "inv-shard"), ("Deployment", "inv-consumer")]


@pytest.fixture(params=ACCEPTED)
def manifests(request):
    return wanted(ACCEPTED[request.param])


@pytest.mark.parametrize("name", golden.cases())
def test_the_manifests_are_as_written_down(name):
    there = (golden.FOLDER / name).read_text()
    assert golden.text(golden.cases()[name]) == there, "if this is meant: python tests/operator/golden.py"


def test_the_scheduler_comes_before_the_dask_cluster():
    made = [(each["kind"], each["metadata"]["name"]) for each in wanted()]
    cluster = made.index(("DaskCluster", "inv"))
    assert {("Service", "inv-scheduler"), ("Deployment", "inv-scheduler")} == set(made[:cluster])


def test_optional_kinds_are_left_out_where_the_cluster_does_not_have_them():
    made = {each["kind"] for each in desired(source(), frozenset({DASK_CLUSTER, POD_MONITOR}))}
    assert not made & {"DaskCluster", "PodMonitor"}
    assert {each["kind"] for each in wanted()} - made == {"DaskCluster", "PodMonitor"}


def test_every_object_says_whose_it_is_and_goes_with_its_queue(manifests):
    for each in manifests:
        metadata = each["metadata"]
        assert lb.labels("inv").items() <= metadata["labels"].items()
        assert [owner["uid"] for owner in metadata["ownerReferences"] if owner["controller"]] == ["u-1"]


def test_only_the_dask_cluster_does_not_hold_up_a_deletion_in_the_foreground(manifests):
    holding = {
        each["kind"]: each["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] for each in manifests
    }
    assert [kind for kind, blocks in holding.items() if not blocks] == ["DaskCluster"]


def test_every_pod_keeps_to_the_restricted_standard_and_writes_only_to_volumes(manifests):
    for kind, name in WORKLOADS:
        spec = pod_template(find(manifests, kind, name))["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] >= 1
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claimed = {"data"} if kind == "StatefulSet" else set()
        assert mounted <= {volume["name"] for volume in spec["volumes"]} | claimed


def test_a_selector_chooses_the_pods_of_its_own_part_only(manifests):
    pods = {name: pod_template(find(manifests, kind, name))["metadata"]["labels"] for kind, name in WORKLOADS}
    for kind, name in [*WORKLOADS, *[("PodDisruptionBudget", name) for _, name in WORKLOADS]]:
        chosen = find(manifests, kind, name)["spec"]["selector"]["matchLabels"]
        assert [each for each, labels in pods.items() if chosen.items() <= labels.items()] == [name]
    for name in ("inv-scheduler", "inv-shard"):
        chosen = find(manifests, "Service", name)["spec"]["selector"]
        assert [each for each, labels in pods.items() if chosen.items() <= labels.items()] == [name]


def test_all_names_fit_with_the_longest_name_of_a_queue():
    longest = 63 - len("-0123456789")  # a StatefulSet's pods carry its name and a hash as a label
    assert [
        each["metadata"]["name"] for each in wanted(name="q" * 40) if len(each["metadata"]["name"]) > longest
    ] == []


def test_a_pod_changes_when_its_own_options_do_and_only_then():
    def digests(spec):
        return [find(wanted(spec), *each)["metadata"]["annotations"][lb.TEMPLATE] for each in WORKLOADS]

    before = digests({})
    same = [
        [old == new for old, new in zip(before, digests(spec), strict=True)]
        for spec in (
            {"queue": {"leaseSeconds": 61}},
            {"consumers": {"slots": 2}},
            {"consumers": {"autoscaling": {"maxReplicas": 9}}},
            {"image": "other:2"},
        )
    ]
    assert same == [[True, False, True], [True, True, False], [True, True, True], [False, False, False]]


def test_the_connection_is_what_connect_reads():
    data = find(wanted(), "Secret", "inv-connection")["data"]
    assert {key: base64.b64decode(value).decode() for key, value in data.items()} == {
        "DASKQUEUE_NAME": "inv",
        "DASKQUEUE_SCHEDULER": "tcp://inv-scheduler.shop:8786",
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "always"),
        ({"fsync": "Never"}, "never"),
        ({"fsync": "Interval"}, "interval:100"),
        ({"fsync": "Interval", "fsyncIntervalMilliseconds": 7}, "interval:7"),
    ],
)
def test_the_configuration_says_when_messages_are_synced(spec, expected):
    data = find(wanted({"queue": spec}), "ConfigMap", "inv-config")["data"]
    assert yaml.safe_load(data[configuration.QUEUE_FILE])["fsync"] == expected


def test_our_own_request_never_exceeds_the_users_limit():
    tight = {"consumers": {"pod": {"resources": {"limits": {"memory": "100Mi", "cpu": "50m"}}}}}
    (container,) = pod_template(find(wanted(tight), "Deployment", "inv-consumer"))["spec"]["containers"]
    assert container["resources"]["requests"] == {"memory": "100Mi", "cpu": "50m"}


def test_a_user_may_move_the_home_folder():
    elsewhere = {"consumers": {"pod": {"env": [{"name": "HOME", "value": "/models"}]}}}
    (container,) = pod_template(find(wanted(elsewhere), "Deployment", "inv-consumer"))["spec"]["containers"]
    assert [entry["value"] for entry in container["env"] if entry["name"] == "HOME"] == ["/models"]


def test_the_number_of_consumers_is_sent_once_only():
    assert find(wanted(consumers=0), "Deployment", "inv-consumer")["spec"]["replicas"] == 0
    assert "replicas" not in find(wanted(), "Deployment", "inv-consumer")["spec"]
