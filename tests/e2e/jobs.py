"""Python scripts that run in pods, as a user's Job does."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STORY = Path(__file__).parent / "story"
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True)
class Runner:
    """Makes Jobs in one namespace."""

    kube: object
    namespace: str
    image: str

    def start(self, name, script, *args, connection=None, files=None, service_account=None, image=None):
        """Start a Job that runs a script.

        Args:
            name: the Job's name.
            script: the text of a Python script.
            args: given to the script.
            connection: the name of a DaskQueue; its connection Secret becomes the environment.
            files: more files in the script's folder, name to text.
            service_account: whose token the pod has; none without.
            image: another image than the runner's.
        """
        data = {"main.py": script, **(files or {})}
        container = {
            "name": "main",
            "image": image or self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "/story/main.py", *map(str, args)],
            "securityContext": CONTAINER_SECURITY,
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
            "volumeMounts": [{"name": "story", "mountPath": "/story"}, {"name": "tmp", "mountPath": "/tmp"}],
        }
        if connection:
            container["envFrom"] = [{"secretRef": {"name": f"{connection}-connection"}}]
        pod = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": service_account is not None,
            "enableServiceLinks": False,
            "securityContext": POD_SECURITY,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            "volumes": [{"name": "story", "configMap": {"name": name}}, {"name": "tmp", "emptyDir": {}}],
        }
        if service_account:
            pod["serviceAccountName"] = service_account
        meta = {"name": name, "namespace": self.namespace}
        self.kube.apply(
            [
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data},
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "metadata": meta,
                    "spec": {"backoffLimit": 0, "template": {"spec": pod}},
                },
            ]
        )

    def run(self, name, script, *args, timeout=60, **options):
        """Run a script to its end and return what it printed; AssertionError with its log if it failed."""
        self.start(name, script, *args, **options)
        return self.finished(name, timeout)

    def finished(self, name, timeout=60):
        """Wait for the end of a Job and return what it printed; AssertionError with its log if it failed."""

        def ended(jobs):
            status = jobs[0].get("status", {}) if jobs else {}
            return status if status.get("succeeded") or status.get("failed") else None

        status = self.kube.until(
            "jobs", self.namespace, ended, name=name, timeout=timeout, what=f"the end of Job {name}"
        )
        log = self.kube("logs", f"job/{name}", "-n", self.namespace)
        assert status.get("succeeded"), f"Job {name} failed:\n{log}"
        return log

    def pod(self, name, timeout=60):
        """Return the name of a Job's pod as soon as it runs, or has run."""

        def running(pods):
            phases = {p["metadata"]["name"]: p["status"].get("phase") for p in pods}
            return next(
                (n for n, phase in phases.items() if phase in ("Running", "Succeeded", "Failed")), None
            )

        chosen = f"batch.kubernetes.io/job-name={name}"
        return self.kube.until(
            "pods", self.namespace, running, selector=chosen, timeout=timeout, what=f"a pod of {name}"
        )

    def tell(self, name, signal_number=15):
        """Send a signal to the script of a Job."""
        order = f"import os; os.kill(1, {signal_number})"
        self.kube("exec", self.pod(name), "-n", self.namespace, "--", "python", "-S", "-c", order)

    @contextmanager
    def follow(self, name):
        """Follow what a Job prints."""
        command = ["kubectl", "logs", "--follow", self.pod(name), "-n", self.namespace]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield Told(name, process.stdout)
            finally:
                process.kill()


class Told:
    """What a script tells, one JSON object a line, with the moment at which each came."""

    def __init__(self, name, lines):
        self.name = name
        self.heard = []
        self._arriving = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines):
        for line in lines:
            self._arriving.put((time.monotonic(), line))
        self._arriving.put((time.monotonic(), None))

    def until(self, event, timeout=60, holds=lambda _facts: True, since=0.0):
        """Return the moment and the facts of the next line about an event.

        Args:
            event: what the line must be about.
            timeout: seconds.
            holds: what must hold for its facts.
            since: passes over the lines that came before this moment.
        """
        give_up_at = time.monotonic() + timeout
        while True:
            try:
                at, line = self._arriving.get(timeout=max(0, give_up_at - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"{self.name} did not tell {event!r} in {timeout} s{self._last()}"
                ) from None
            assert line is not None, f"{self.name} ended before it told {event!r}{self._last()}"
            self.heard.append((at, line))
            facts = _facts(line)
            if at >= since and facts.get("event") == event and holds(facts):
                return at, facts

    def _last(self):
        return ":\n" + "".join(line for _, line in self.heard[-20:])


def _facts(line):
    try:
        facts = json.loads(line)
    except ValueError:  # a log line
        return {}
    return facts if isinstance(facts, dict) else {}


def story(name):
    """Return the text of a script of the story."""
    return (STORY / name).read_text()
