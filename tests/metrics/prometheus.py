"""A real Prometheus that reads what a test has to show."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager

from hosts.processes import free_port

PROGRAM = shutil.which("prometheus")
CONFIGURATION = """
global: {scrape_interval: 250ms, scrape_timeout: 250ms}
scrape_configs:
"""
JOB = """
- job_name: "%s"
  static_configs: [{targets: ["127.0.0.1:%d"]}]
"""


@contextmanager
def prometheus(folder, ports):
    """Run Prometheus; give a function that asks it a query and returns the sum of the values, None without any.

    Args:
        folder: where it may write.
        ports: for each job the port of this machine that it reads.
    """
    file = folder / "prometheus.yml"
    file.write_text(CONFIGURATION + "".join(JOB % job for job in ports.items()))
    port = free_port()
    command = [
        PROGRAM,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield lambda query: _ask(port, query)
    finally:
        process.terminate()
        process.wait(20)


def _ask(port, query):
    question = urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{question}", timeout=5) as answer:
            rows = json.load(answer)["data"]["result"]
    except (urllib.error.URLError, ConnectionError):
        return None  # it is still starting
    return sum(float(row["value"][1]) for row in rows) if rows else None
