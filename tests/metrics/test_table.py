"""The table of metrics against all that must agree with it: exposition, docs, dashboards, Prometheus' own rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from daskqueue.metrics.table import METRICS, markdown

from .exposition import SUFFIXES, live_through_everything

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
DASHBOARDS = sorted((ROOT / "helm" / "daskqueue" / "dashboards").glob("*.json"))
OPERATOR = "daskqueue_operator_"
PROMTOOL = shutil.which("promtool")


@pytest.fixture
def everything(shown, bench):
    """An exhibit with a value of every metric there is."""
    live_through_everything(bench)
    shown.queue(bench, consumers=1)
    meter = shown.consumer(slots=2, held=1)
    meter.fetched_at = 1e9
    meter.ended("resize", "returned", 0.1, 3)
    meter.ended("resize", "raised", 0.1, 1)
    return shown


def names_in(text):
    """Return the names of metrics in queries or text, without what a histogram adds to its own."""
    histograms = {metric.name for metric in METRICS if metric.kind == "histogram"}
    found = set()
    for name in re.findall(r"\bdaskqueue_\w+", text):
        stem = next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s)), name)
        found.add(stem if stem in histograms else name)
    return found


def test_every_metric_of_the_table_is_told_with_its_labels_and_no_other(everything):
    kinds = {"gauge": "", "counter": "", "histogram": "_count"}
    table = {metric.name + kinds[metric.kind]: set(metric.labels) for metric in METRICS}
    told = {
        sample.name: set(sample.labels)
        for sample in everything.samples
        if not sample.name.endswith(("_bucket", "_sum"))
    }
    assert told == table


def test_every_metric_is_told_with_its_kind_and_what_it_says(everything):
    lines = everything.text.splitlines()
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.text}" in lines
        assert f"# TYPE {metric.name} {metric.kind}" in lines


def test_no_label_can_grow_without_bound():
    assert {label for metric in METRICS for label in metric.labels} == {
        "queue", "state", "reason", "redelivered", "kind", "durability", "version", "task", "outcome",
    }  # fmt: skip


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing; it comes with Debian's package prometheus")
def test_promtool_finds_nothing_to_say_about_it(everything):
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=everything.text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_docs_show_the_table():
    assert markdown() in PAGE.read_text(), "make it anew: .venv/bin/python -m daskqueue.metrics"


def test_the_docs_speak_of_no_metric_that_is_not_there():
    names = {metric.name for metric in METRICS}
    assert {name for name in names_in(PAGE.read_text()) - names if not name.startswith(OPERATOR)} == set()


@pytest.mark.skipif(not DASHBOARDS, reason="the chart has no dashboard yet")
def test_dashboards_use_metrics_of_the_table_and_all_that_they_must():
    used = names_in(
        " ".join(query for path in DASHBOARDS for query in queries_in(json.loads(path.read_text())))
    )
    names = {metric.name for metric in METRICS}
    assert {name for name in used - names if not name.startswith(OPERATOR)} == set()
    assert {metric.name for metric in METRICS if metric.dashboard} - used == set()


def queries_in(node):
    """Yield every query of a dashboard, of panels and of variables."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"expr", "query", "definition"} and isinstance(value, str):
                yield value
            else:
                yield from queries_in(value)
    elif isinstance(node, list):
        for part in node:
            yield from queries_in(part)
