"""Every query of the dashboard returns data from a real Prometheus that scrapes real pods."""

from __future__ import annotations

import json
import math
import re

import pytest

from .installing import CHART
from .prometheus import PROGRAM, prometheus

BOARD = json.loads((CHART / "dashboards" / "overview.json").read_text())
QUERIES = [(panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel["targets"]]
FAILURES = 3
LOAD = f"""
import daskqueue, time

def fails(number):
    raise ValueError("as the dashboard's test wants it")

with daskqueue.connect() as pool:
    bad = list(pool.map(fails, range({FAILURES})))
    for round in range(40):  # puts and tasks all the time: a quantile wants something in each window
        pool.gather(list(pool.map(time.sleep, [0.02] * 20)), timeout="120s")
    pool.gather(bad, timeout="60s", errors="return")
"""

pytestmark = pytest.mark.skipif(
    not PROGRAM, reason="prometheus is not on the PATH (Debian: apt-get install prometheus)"
)


def filled_in(query, namespace):
    """Return a query with Grafana's variables filled in: one namespace, all queues."""
    for name, value in (("$namespace", namespace), ("$queue", ".+"), ("$__rate_interval", "20s")):
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


def test_every_query_of_the_dashboard_returns_data(tmp_path, kube, release, queues, runner):
    queues.apply("shown", {"consumers": {"autoscaling": {"minReplicas": 1}}})
    queues.ready("shown")
    with prometheus(tmp_path, kube, queues.namespace, release.namespace) as asked:
        runner.start("load", LOAD, connection="shown")
        missing = dict.fromkeys(QUERIES)

        def all_have_data():
            for title, query in list(missing):
                values = [value for _, value in asked.rows(filled_in(query, queues.namespace))]
                if any(map(math.isfinite, values)):  # a quantile of nothing is NaN
                    del missing[title, query]
            return not missing

        asked.until(all_have_data, 90, lambda: f"data for {list(missing)}")
        runner.finished("load", 120)
        check_values(asked, queues.namespace)
        check_variables(asked, queues.namespace)


def check_values(asked, namespace):
    """What the dashboard says of the work that was done is true."""
    titles = dict(QUERIES)

    def value(title):
        return sum(found for _, found in asked.rows(filled_in(titles[title], namespace)))

    settled = {"Backlog": 0, "In flight": 0, "Dead letters": FAILURES}
    asked.until(lambda: {title: value(title) for title in settled} == settled, 30, lambda: settled)
    assert value("Consumers") >= 1
    ((about, wanted),) = asked.rows(f'daskqueue_operator_desired_consumers{{namespace="{namespace}"}}')
    assert (about["queue"], wanted >= 1) == ("shown", True)


def check_variables(asked, namespace):
    """The lists to choose from have the namespace and the name of the queue in them."""
    found = {}
    for variable in BOARD["templating"]["list"]:
        if variable["type"] != "query":
            continue
        query = variable["query"]["query"].replace("$namespace", namespace)
        match, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
        values = asked.values_of(label, match)
        pattern = re.compile(variable.get("regex", "/(.+)/").strip("/"))
        found[variable["name"]] = {pattern.search(value)[1] for value in values}
    assert namespace in found["namespace"]
    assert found["queue"] == {"shown"}
