"""The chart, rendered by helm without a cluster."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import daskqueue

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "daskqueue"
WHERE = ("daskqueue", str(CHART), "--namespace", "daskqueue-system")


@pytest.fixture(scope="module", autouse=True)
def _helm():
    if not shutil.which("helm"):
        pytest.skip("helm is not on the PATH")


def helm(*arguments):
    """Run helm; return the finished process."""
    return subprocess.run(["helm", *arguments], capture_output=True, text=True, timeout=60, check=False)


def render(*values, options=(), release="daskqueue"):
    """Return the chart's objects with some values set."""
    settings = [part for value in values for part in ("--set", value)]
    done = helm("template", release, *WHERE[1:], *settings, *options)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if found]


@pytest.fixture(scope="module")
def objects():
    """The chart as it comes."""
    return render()


def of_kind(objects, *kinds):
    return [found for found in objects if found["kind"] in kinds]


def pods(objects):
    """Return name and spec of every pod that the chart makes."""
    found = [(o["metadata"]["name"], o["spec"]["template"]["spec"]) for o in of_kind(objects, "Deployment")]
    return found + [(o["metadata"]["name"], o["spec"]) for o in of_kind(objects, "Pod")]


def test_helm_has_nothing_to_say_against_the_chart():
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_the_chart_has_the_version_of_the_package():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert [chart["version"], chart["appVersion"]] == [daskqueue.__version__] * 2


def test_every_pod_keeps_the_restricted_rules(objects):
    assert len(pods(objects)) == 3
    for name, pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["enableServiceLinks"] is False, name
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}], name


def test_one_image_is_given_to_all_pods_and_to_the_queues_that_name_none():
    objects = render("image.repository=registry.example/daskqueue", "image.tag=1.2", "image.pullPolicy=Never")
    for name, pod in pods(objects):
        (container,) = pod["containers"]
        assert container["image"] == "registry.example/daskqueue:1.2", name
        assert container["imagePullPolicy"] == "Never", name
    (operator,) = [pod for name, pod in pods(objects) if name == "daskqueue-operator"]
    variables = {entry["name"]: entry["value"] for entry in operator["containers"][0]["env"]}
    assert variables == {
        "DASKQUEUE_OPERATOR_IMAGE": "registry.example/daskqueue:1.2",
        "DASKQUEUE_OPERATOR_PULL_POLICY": "Never",
    }


def test_without_a_tag_the_image_is_that_of_the_charts_version(objects):
    images = {container["image"] for _, pod in pods(objects) for container in pod["containers"]}
    assert images == {f"daskqueue:{daskqueue.__version__}"}


def test_the_operator_serves_all_namespaces_or_those_that_are_named(objects):
    def served(objects):
        command = dict(pods(objects))["daskqueue-operator"]["containers"][0]["command"]
        return [part for part in command if "namespace" in part]

    assert served(objects) == ["--all-namespaces"]
    some = render("operator.namespaces={team-*,shop}")
    assert served(some) == ["--namespace=team-*", "--namespace=shop"]


def test_only_one_operator_runs_at_a_time(objects):
    for deployment in of_kind(objects, "Deployment"):
        assert deployment["spec"]["replicas"] == 1
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_resource_definitions_outlive_the_release(objects):
    definitions = of_kind(objects, "CustomResourceDefinition")
    assert {found["metadata"]["name"] for found in definitions} == {
        "daskqueues.daskqueue.dev",
        "daskautoscalers.kubernetes.dask.org",
        "daskclusters.kubernetes.dask.org",
        "daskjobs.kubernetes.dask.org",
        "daskworkergroups.kubernetes.dask.org",
    }
    for found in definitions:
        assert found["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_definitions_of_dask_kubernetes_are_those_of_the_package_that_is_installed():
    package = Path(importlib.util.find_spec("dask_kubernetes").origin).parent
    theirs = package / "operator" / "deployment" / "helm" / "dask-kubernetes-operator" / "crds"
    ours = CHART / "dask-kubernetes"
    names = sorted(path.name for path in theirs.glob("*.yaml"))
    assert names == sorted(path.name for path in ours.glob("*.yaml"))
    different = [name for name in names if (theirs / name).read_text() != (ours / name).read_text()]
    assert different == [], f"run: cp {theirs}/*.yaml {ours}/"


def test_nothing_of_dask_kubernetes_is_left_when_it_is_switched_off(objects):
    without = render("daskKubernetes.enabled=false")
    gone = {key(found) for found in objects} - {key(found) for found in without}
    assert gone
    assert all("dask-kubernetes" in name or "kubernetes.dask.org" in name for _, name in gone)
    assert [found for found in without if "dask-kubernetes" in found["metadata"]["name"]] == []


def test_the_definitions_of_dask_kubernetes_can_be_left_to_another_installation():
    objects = render("daskKubernetes.crds=false")
    assert [found["metadata"]["name"] for found in of_kind(objects, "CustomResourceDefinition")] == [
        "daskqueues.daskqueue.dev"
    ]
    assert ("Deployment", "daskqueue-dask-kubernetes") in {key(found) for found in objects}


def test_the_operators_are_granted_verbs_by_name(objects):
    for role in of_kind(objects, "ClusterRole", "Role"):
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"], role["metadata"]["name"]


def test_pod_monitors_are_made_where_the_cluster_knows_them():
    knows = ("--api-versions", "monitoring.coreos.com/v1")
    assert of_kind(render(), "PodMonitor") == []
    assert len(of_kind(render(options=knows), "PodMonitor")) == 1
    assert of_kind(render("podMonitor.mode=Disabled", options=knows), "PodMonitor") == []
    (made,) = of_kind(render("podMonitor.mode=Enabled", "podMonitor.labels.release=prometheus"), "PodMonitor")
    assert made["metadata"]["labels"]["release"] == "prometheus"


def test_the_pod_monitor_finds_the_operators_pod_and_its_port():
    objects = render("podMonitor.mode=Enabled")
    (monitor,) = of_kind(objects, "PodMonitor")
    (operator,) = [o for o in of_kind(objects, "Deployment") if o["metadata"]["name"] == "daskqueue-operator"]
    template = operator["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= ports


def test_the_dashboard_is_a_config_map_that_grafana_finds(objects):
    (made,) = of_kind(objects, "ConfigMap")
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    ((name, text),) = made["data"].items()
    assert name.endswith(".json")
    assert json.loads(text) == json.loads((CHART / "dashboards" / "overview.json").read_text())
    assert of_kind(render("dashboard.enabled=false"), "ConfigMap") == []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("image.tag=a@b", "/image/tag"),
        ("image.repository=", "/image/repository"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("images.tag=1", "images"),
        ("daskKubernetes.enabled=maybe", "/daskKubernetes/enabled"),
        ("daskKubernetes.crd=false", "crd"),
        ("podMonitor.mode=On", "/podMonitor/mode"),
        ("operator.resources.memory=1Gi", "memory"),
        ("imagePullSecrets[0]=secret", "/imagePullSecrets/0"),
        ("nodeSelector=linux", "/nodeSelector"),
    ],
)
def test_a_wrong_value_is_refused_and_named(setting, said):
    done = helm("template", *WHERE, "--set", setting)
    assert done.returncode != 0
    assert said in done.stderr


def test_every_value_is_in_the_schema_and_the_other_way_round():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, value in values.items():
        known = schema["properties"][name].get("properties")
        if known:
            assert set(known) == set(value), name


def test_names_stay_short_enough_for_a_long_release():
    objects = render(release="a-release-with-a-name-that-is-as-long-as-helm-lets-it")
    for found in objects:
        assert len(found["metadata"]["name"]) <= 63
    (queue,) = of_kind(objects, "DaskQueue")
    assert len(queue["metadata"]["name"]) <= 40


def test_the_release_is_not_named_twice(objects):
    names = {name for _, name in map(key, objects)}
    assert "daskqueue-operator" in names
    assert ("Deployment", "mine-daskqueue-operator") in set(map(key, render(release="mine")))


def test_the_notes_name_what_is_there(objects):
    done = helm("install", *WHERE, "--dry-run=client")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert "helm test daskqueue --namespace daskqueue-system" in notes
    assert "deployment/daskqueue-operator" in notes
    assert ("Deployment", "daskqueue-operator") in set(map(key, objects))


def test_the_test_of_the_release_connects_to_the_queue_that_it_makes(objects):
    (queue,) = of_kind(objects, "DaskQueue")
    (pod,) = of_kind(objects, "Pod")
    assert f'connect("{queue["metadata"]["name"]}"' in pod["spec"]["containers"][0]["args"][0]
    for found in (queue, pod):
        assert found["metadata"]["annotations"]["helm.sh/hook"] == "test"
        assert "hook-succeeded" in found["metadata"]["annotations"]["helm.sh/hook-delete-policy"]


def key(found):
    return found["kind"], found["metadata"]["name"]
