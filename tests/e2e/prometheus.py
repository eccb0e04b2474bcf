"""A real Prometheus on this machine that scrapes the pods of the cluster, labelled as a PodMonitor would do it.

Debian's Prometheus cannot ask the Kubernetes API itself: the tests do, and write a file of targets that it watches.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager

import yaml

PROGRAM = shutil.which("prometheus")


@contextmanager
def prometheus(folder, kube, queue_namespace, operator_namespace):
    """Run Prometheus on the pods of two namespaces; give something to ask.

    Args:
        folder: where it may write.
        kube: the cluster.
        queue_namespace: of DaskQueues.
        operator_namespace: of the operator; its metrics say themselves which namespace they are about.
    """
    places = {"queues": queue_namespace, "operator": operator_namespace}
    jobs = [
        {
            "job_name": name,
            "honor_labels": name == "operator",
            "file_sd_configs": [{"files": [str(folder / f"{name}.json")]}],
        }
        for name in places
    ]
    settings = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    files = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, *files, f"--web.listen-address={address}"], stdout=log, stderr=log
        )

    def find_targets():
        for name, namespace in places.items():
            new = json.dumps(_targets(kube.list("pods", namespace)))
            file = folder / f"{name}.json"
            if not file.exists() or file.read_text() != new:
                draft = file.with_suffix(".new")
                draft.write_text(new)
                draft.replace(file)  # Prometheus never sees half of it

    try:
        yield Asked(address, folder / "prometheus.log", find_targets)
    finally:
        process.terminate()
        process.wait(20)


def _targets(pods):
    """Return the container ports named `metrics` of the pods that have an address."""
    return [
        {
            "targets": [f"{pod['status']['podIP']}:{port['containerPort']}"],
            "labels": {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]},
        }
        for pod in pods
        if pod["status"].get("podIP")
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
        if port.get("name") == "metrics"
    ]


class Asked:
    """A running Prometheus.

    Args:
        address: host and port.
        log: the file that it writes.
        find_targets: brings the file of targets up to date.
    """

    def __init__(self, address, log, find_targets):
        self._address = address
        self._log = log
        self._find_targets = find_targets

    def rows(self, query):
        """Return what a query gives now: labels and value of each series."""
        found = self._get("query", query=query)["result"]
        return [(row["metric"], float(row["value"][1])) for row in found]

    def values_of(self, label, match):
        """Return the values of a label among the series that match."""
        return self._get(f"label/{label}/values", **{"match[]": match})

    def until(self, holds, timeout, what):
        """Ask again and again, as Grafana does, until something holds; return what `holds` returned."""
        give_up_at = time.monotonic() + timeout
        while True:
            self._find_targets()
            try:
                if found := holds():
                    return found
            except (urllib.error.URLError, ConnectionError):  # it is still starting
                pass
            if time.monotonic() > give_up_at:
                tail = "\n".join(self._log.read_text().splitlines()[-5:])
                raise AssertionError(f"Prometheus did not have {what()} within {timeout} s:\n{tail}")
            time.sleep(0.5)

    def _get(self, path, **question):
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(question)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]
