"""The numbers of docs/autoscaling.md are those of the code, and its example for KEDA asks for what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from daskqueue_operator import autoscale, demand, names, scaler, scrape
from daskqueue_operator.autoscale import Inputs, LimitedBy, Limits, Memory, decide
from daskqueue_operator.consumer_pods import COST, DRAINED_AT
from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.schema import crd

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "autoscaling.md").read_text()
EXAMPLE = list(yaml.safe_load_all((ROOT / "examples" / "kubernetes" / "keda.yaml").read_text()))


def test_the_table_of_numbers_is_that_of_the_code():
    rows = re.findall(r"^\| .* \| ([\d.]+) \| `(\w+)` \|$", PAGE, re.MULTILINE)
    modules = {
        autoscale: r"UTILISATION|(DOWN|UP)_\w+",
        demand: r"\w+_FADE_SECONDS",
        scaler: r"(SOON|LATER)_SECONDS",
    }
    numbers = {
        name: value
        for module, pattern in modules.items()
        for name, value in vars(module).items()
        if re.fullmatch(pattern, name)
    }
    assert {name: float(number) for number, name in rows} == {
        **numbers,
        "DEADLINE_SECONDS": scrape.DEADLINE_SECONDS,
    }


def test_the_page_says_what_each_limit_means():
    rows = re.findall(r"^\| `(\w+)` \| [A-Z`].*\.", PAGE.partition("| `limitedBy` |")[2], re.MULTILINE)
    assert rows == [limit.value for limit in LimitedBy]


def test_the_resource_knows_each_limit():
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    assert set(schema["autoscaling"]["properties"]["limitedBy"]["enum"]) == {
        limit.value for limit in LimitedBy
    }


LOADS = {
    "1 message": Inputs(ready=1),
    "2,500 messages": Inputs(ready=2500),
    "120 messages, 1 s each": Inputs(ready=120, mean_seconds=1.0),
    "3 messages, 600 s each": Inputs(ready=3, mean_seconds=600.0),
    "1 message waits, 3 come in a second, 1 s each": Inputs(
        ready=1, arrivals_per_second=3.0, mean_seconds=1.0
    ),
    "1,000,000 messages": Inputs(ready=1_000_000),
}


def test_the_examples_of_loads_are_decided_as_the_page_says():
    table = PAGE.partition("| a load, one slot")[2].partition("##")[0]
    rows = dict(re.findall(r"^\| (\d.*) \| (\d+) \|$", table, re.MULTILINE))
    assert rows == {text: str(decided(inputs)) for text, inputs in LOADS.items()}


def decided(inputs):
    queue = DaskQueue.of({"metadata": {"name": "q", "namespace": "n", "uid": "u"}})
    scaling = queue.spec.consumers.autoscaling
    limits = Limits(
        scaling.min_replicas,
        scaling.max_replicas,
        1,
        scaling.target_backlog_per_consumer,
        scaling.target_wait_seconds,
        scaling.idle_seconds_before_zero,
    )
    return decide(inputs, Memory(), limits, 0.0).desired


@pytest.mark.parametrize("annotation", [COST, DRAINED_AT])
def test_the_page_names_the_annotations(annotation):
    assert f"`{annotation}`" in PAGE


def test_the_example_for_keda_asks_the_shard_of_its_queue():
    body, scaled = EXAMPLE
    queue = DaskQueue.of({**body, "metadata": {**body["metadata"], "namespace": "default", "uid": "u"}})
    assert queue.spec.consumers.autoscaling.mode == "External"
    assert scaled["spec"]["scaleTargetRef"]["name"] == queue.name
    host = f"{names.shard(queue.name)}-0.{names.shard(queue.name)}.{queue.namespace}.svc:{names.METRICS_PORT}"
    asked = {
        (each["metadata"]["url"], each["metadata"]["valueLocation"]) for each in scaled["spec"]["triggers"]
    }
    assert asked == {(f"http://{host}/stats", f"messages.{state}") for state in ("ready", "leased")}
