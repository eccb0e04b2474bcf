"""The commands and the code of docs/hosts.md do what it says, on this machine, without Kubernetes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from clusters import until

PAGE = Path(__file__).parents[2] / "docs" / "hosts.md"
BIN = Path(sys.executable).parent


@pytest.fixture
def page():
    """The page with ports that are free here."""
    text = PAGE.read_text()
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        free = {"8786": first.getsockname()[1], "9090": second.getsockname()[1]}
    for port, found in free.items():
        text = text.replace(port, str(found))
    return text


@pytest.fixture
def shell(tmp_path):
    """Run commands of the page; what they leave in the background ends with the test."""
    started = []

    def run(commands):
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
        log = (tmp_path / "shell.log").open("w")
        process = subprocess.Popen(
            ["bash", "-c", f"{commands}\nwait"],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        started.append((process, log))

    yield run
    for process, log in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        log.close()


def answer(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.read().decode()
    except OSError:
        return ""


def test_the_page_starts_hosts_submits_and_looks(page, shell, tmp_path):
    start, look = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shell(start)
    urls = ["http://" + url for url in re.findall(r"curl -s (\S+)", look)]
    assert len(urls) == 4
    until(lambda: all(map(answer, urls)), 30)
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "queues" / "invoices-queue-1").is_dir()
    said = looked(start, look, tmp_path)
    assert "invoices-1" in said
    assert "0 shown of 0 dead letters" in said


def looked(start, look, folder):
    """Return what the commands of the page that look at the queue print."""
    (variables,) = re.findall(r"export .*", start)
    commands = "\n".join(re.findall(r"^daskqueue .*", look, re.MULTILINE))
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    run = ["bash", "-e", "-c", f"{variables}\n{commands}"]
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
