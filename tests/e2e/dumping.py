"""What people need to see when a test on a cluster has failed."""

from __future__ import annotations

from contextlib import suppress

KINDS = "all,daskqueues,daskclusters,pvc,pdb,secrets,configmaps"


def dump(kube, namespaces, folder):
    """Write the objects, events and logs of namespaces to a folder."""
    for ns in namespaces:
        into = folder / ns
        into.mkdir(parents=True, exist_ok=True)
        _write(into / "objects.txt", kube.run("get", KINDS, "-n", ns, "-o", "wide"))
        _write(into / "daskqueues.yaml", kube.run("get", "daskqueues", "-n", ns, "-o", "yaml"))
        _write(into / "pods.txt", kube.run("describe", "pods", "-n", ns))
        _write(into / "events.txt", kube.run("get", "events", "-n", ns, "--sort-by=.lastTimestamp"))
        with suppress(AssertionError):
            for pod in kube.list("pods", ns):
                _logs(kube, ns, pod, into)


def _logs(kube, ns, pod, into):
    name = pod["metadata"]["name"]
    _write(into / f"{name}.log", kube.run("logs", name, "-n", ns, "--all-containers", "--prefix"))
    for status in pod["status"].get("containerStatuses", []):
        if status["restartCount"]:
            log = kube.run("logs", name, "-n", ns, "-c", status["name"], "--previous")
            _write(into / f"{name}.{status['name']}.previous.log", log)


def _write(path, done):
    path.write_text(done.stdout + done.stderr)
