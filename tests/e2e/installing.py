"""The chart on the cluster, once for all tests."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "daskqueue"
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/warn": "restricted",
}


@dataclass(frozen=True)
class Release:
    """A helm release of the chart."""

    kube: object
    name: str
    namespace: str

    @property
    def deployments(self):
        """The names of the Deployments of the release."""
        chosen = f"app.kubernetes.io/instance={self.name}"
        return sorted(
            found["metadata"]["name"] for found in self.kube.list("deployments", self.namespace, chosen)
        )

    @property
    def operator(self):
        """The name of daskqueue's operator's Deployment."""
        return next(name for name in self.deployments if "dask-kubernetes" not in name)

    @property
    def dask_kubernetes(self):
        """The name of the Deployment of dask-kubernetes' operator, None where the chart was told to leave it out."""
        return next((name for name in self.deployments if "dask-kubernetes" in name), None)

    def selector(self, deployment):
        """Return the label selector of a Deployment's pods."""
        found = self.kube.get("deployment", deployment, self.namespace)
        return ",".join(f"{key}={value}" for key, value in found["spec"]["selector"]["matchLabels"].items())

    def pod(self, deployment):
        """Return the name of a Deployment's one pod that lives."""
        pods = self.kube.list("pods", self.namespace, self.selector(deployment))
        return next(
            p["metadata"]["name"] for p in pods if not p["metadata"].get("deletionTimestamp") and _lives(p)
        )

    def install(self, image, values=()):
        """Install the chart with some values, or bring what is installed up to date, and wait until it runs."""
        labels = [f"{key}={value}" for key, value in RESTRICTED.items()]
        self.kube("create", "namespace", self.namespace, check=False)
        self.kube("label", "namespace", self.namespace, "--overwrite", *labels)
        repository, _, tag = image.rpartition(":")
        # The CRD that an earlier release left is taken over.
        options = ["--install", "--take-ownership"]
        self._helm(options, [f"image.repository={repository}", f"image.tag={tag}", *values])

    def upgrade(self, *values):
        """Upgrade to the chart as it is now, with some values changed, and wait until it runs."""
        self._helm(["--reset-then-reuse-values"], values)

    def uninstall(self):
        """Take the release away; its CRDs stay, as everywhere."""
        _run("helm", "uninstall", self.name, "-n", self.namespace, "--wait", "--timeout=60s")

    def _helm(self, options, values):
        settings = [part for value in values for part in ("--set", value)]
        where = [self.name, str(CHART), "-n", self.namespace]
        _run("helm", "upgrade", *options, *where, *settings, "--wait", "--timeout=120s")


class OneAtATime:
    """Two runs on one cluster would repair each other's objects: the second is refused."""

    def __init__(self):
        cluster = Path(os.environ["KUBECONFIG"]).resolve()
        digest = hashlib.sha256(str(cluster).encode()).hexdigest()[:12]
        self.path = Path(f"/tmp/daskqueue-e2e-{digest}.lock")
        self._file = self.path.open("a+")

    def take(self):
        """Return the process id of the run that has the cluster, "" if it is ours now."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return self.path.read_text() or "unknown"
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()
        return ""

    def close(self):
        """Let the next run have the cluster."""
        self._file.close()


def _lives(pod):
    return pod["status"].get("phase") not in ("Succeeded", "Failed")


def _run(*command):
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
    return done.stdout
