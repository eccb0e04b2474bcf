"""Schedulers and hosts as plain processes, as somebody without Kubernetes runs them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from clusters import until

BIN = Path(sys.executable).parent
TESTS = Path(__file__).parents[1]


def free_port():
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running:
    """One process, with its output in a file."""

    def __init__(self, arguments, log, environment=None):
        self.log = Path(log)
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [str(part) for part in arguments],
                stdout=sink,
                stderr=sink,
                # The tasks of the tests are functions of their modules.
                env={**os.environ, "PYTHONPATH": str(TESTS), **(environment or {})},
            )

    @property
    def text(self):
        return self.log.read_text()

    def says(self, words, seconds=20):
        """Wait until the process has said something."""
        until(lambda: words in self.text or self.process.poll() is not None, seconds)
        assert words in self.text, self.text

    def kill(self):
        """Kill it so that it can say nothing any more."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, seconds=20):
        """Ask it to end; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


class Host(Running):
    """A host process, and what its status server answers."""

    def __init__(self, arguments, log, port, environment=None):
        super().__init__([BIN / "daskqueue", "serve", *arguments], log, environment)
        self.port = port

    def get(self, path, method="GET"):
        """Return the code and the text of an answer; code 0 when there is none."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    @property
    def stats(self):
        code, text = self.get("/stats")
        return json.loads(text) if code == 200 else {}

    def wait_ready(self, seconds=30):
        until(lambda: self.get("/readyz")[0] == 200 or self.process.poll() is not None, seconds)
        assert self.process.poll() is None, self.text


class Site:
    """A scheduler, shards and consumers on this machine."""

    def __init__(self, folder, name):
        self.folder = Path(folder)
        self.name = name
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.running = []

    def _log(self, kind):
        return self.folder / f"{kind}-{len(self.running)}.log"

    def _keep(self, process):
        self.running.append(process)
        return process

    def scheduler(self):
        """Start the scheduler; always at the same address."""
        command = [BIN / "dask", "scheduler", "--host", "127.0.0.1", "--port", self.port]
        return self._keep(Running([*command, "--dashboard-address", ":0"], self._log("scheduler")))

    def queue(self, shard=0, *options, environment=None):
        """Start the host of a shard; all shards have their folders side by side."""
        where = ["--shard", shard, "--dir", self.folder / "data"]
        return self._host("queue", where, options, environment)

    def consumer(self, *options, environment=None):
        """Start a consumer host."""
        return self._host("consumer", [], options, environment)

    def _host(self, kind, where, options, environment):
        port = free_port()
        arguments = [kind, "--name", self.name, "--scheduler", self.address, "--metrics-port", port]
        return self._keep(Host([*arguments, *where, *options], self._log(kind), port, environment))

    def close(self):
        for process in self.running:
            process.process.kill()
        for process in self.running:
            process.process.wait(10)
