"""kubectl, as people use it, and watches instead of sleeps."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from functools import cached_property
from urllib.parse import urlencode

SERVER_SIDE = ("apply", "--server-side", "--force-conflicts", "--field-manager=e2e", "-f", "-")


class Missing(AssertionError):  # noqa: N818  a test that meets it has failed
    """The object is not there."""


class Kube:
    """The cluster that KUBECONFIG names; a command that fails is an AssertionError with what kubectl said."""

    def __call__(self, *args, stdin=None, check=True, timeout=60):
        """Run kubectl and return what it printed."""
        done = self.run(*args, stdin=stdin, timeout=timeout)
        assert done.returncode == 0 or not check, f"kubectl {' '.join(args)}: {done.stderr.strip()}"
        return done.stdout

    def run(self, *args, stdin=None, timeout=60):
        """Run kubectl and return the finished process, whether it failed or not."""
        command = ["kubectl", *args]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )

    # Objects

    def get(self, kind, name, ns=None):
        """Return an object; Missing if it is not there."""
        found = self.find(kind, name, ns)
        if found is None:
            raise Missing(f"there is no {kind} {name} in {ns or 'the cluster'}")
        return found

    def find(self, kind, name, ns=None):
        """Return an object, None if it is not there."""
        text = self("get", kind, name, *_in(ns), "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def list(self, kind, ns=None, selector=None):
        """Return the objects of a kind, those that a label selector chooses."""
        return self._listed(kind, ns, None, selector)["items"]

    def apply(self, manifest, ns=None):
        """Apply a manifest (a dict, a list of them, or YAML text) as `kubectl apply --server-side` does."""
        return self(*SERVER_SIDE, *_in(ns), stdin=_text(manifest))

    def refuse(self, manifest, ns=None):
        """Apply what the API server must refuse, and return what it said."""
        done = self.run(*SERVER_SIDE, "--dry-run=server", *_in(ns), stdin=_text(manifest))
        assert done.returncode != 0, f"the API server took it: {done.stdout}"
        return done.stderr

    def patch(self, kind, name, ns, change, *, how="merge", subresource=None):
        """Patch an object."""
        part = ["--subresource", subresource] if subresource else []
        return self("patch", kind, name, *_in(ns), f"--type={how}", "-p", json.dumps(change), *part)

    def events(self, ns, about=None):
        """Return the events of a namespace, those about objects of one name, oldest first."""
        found = self.list("events", ns)
        chosen = [event for event in found if about in (None, event["involvedObject"]["name"])]
        return sorted(chosen, key=lambda event: event["metadata"]["creationTimestamp"])

    # Waiting

    def until(self, kind, ns, holds, *, name=None, selector=None, timeout=60, what=None):
        """Watch objects until something holds for all that are there; return what `holds` returned.

        Args:
            kind: such as `pods`, `daskqueues`.
            holds: called with the list of objects, again on every change.
            name, selector: which objects.
            timeout: seconds.
            what: said when it did not come about.
        """
        give_up_at = time.monotonic() + timeout
        while True:
            listed = self._listed(kind, ns, name, selector)
            objects = {item["metadata"]["name"]: item for item in listed["items"]}
            if found := holds(list(objects.values())):
                return found
            version = listed["metadata"]["resourceVersion"]
            watch = self._path(kind, ns, name, selector, watch="true", resourceVersion=version)
            for event in _stream(watch, give_up_at):
                if not _note(objects, event):
                    break  # the watch is too old: list again
                if found := holds(list(objects.values())):
                    return found
            seen = "; ".join(map(_brief, objects.values())) or "none there"
            text = f"{what or f'what was awaited of {kind}'} did not come about in {timeout} s. {seen}"
            assert time.monotonic() < give_up_at, text

    def gone(self, kind, name, ns=None, timeout=60):
        """Wait until an object is not there any more."""
        self.until(
            kind, ns, lambda found: not found, name=name, timeout=timeout, what=f"the end of {kind} {name}"
        )

    # Logs

    def logs(self, pod, ns, container=None, *, previous=False):
        """Return what a pod has printed."""
        which = ["-c", container] if container else ["--all-containers"]
        return self("logs", pod, *_in(ns), *which, *(["--previous"] if previous else []))

    # Where the API keeps a kind

    def _listed(self, kind, ns, name, selector):
        listed = json.loads(self("get", "--raw", self._path(kind, ns, name, selector)))
        whose = {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
        listed["items"] = [{**whose, **item} for item in listed["items"]]
        return listed

    def _path(self, kind, ns, name, selector, **query):
        if kind not in self._kinds:
            del self._kinds
        plural, group = self._kinds[kind]
        if name:
            query["fieldSelector"] = f"metadata.name={name}"
        if selector:
            query["labelSelector"] = selector
        folder = f"/{'apis' if '/' in group else 'api'}/{group}"
        return f"{folder}{f'/namespaces/{ns}' if ns else ''}/{plural}?{urlencode(query)}"

    @cached_property
    def _kinds(self):
        rows = [line.split() for line in self("api-resources", "--no-headers", check=False).splitlines()]
        found = {}
        for row in reversed(rows):  # the core group comes first, and wins
            plural, group, kind = row[0], row[-3], row[-1]
            short = row[1].split(",") if len(row) == 5 else []
            found |= dict.fromkeys([plural, kind, kind.lower(), *short], (plural, group))
        return found


def condition(found, kind):
    """Return a condition of an object, {} where it has none of that type."""
    conditions = found.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


def holds_true(found, kind):
    """Return whether a condition of an object is True."""
    return condition(found, kind).get("status") == "True"


def _in(ns):
    return ["-n", ns] if ns else []


def _text(manifest):
    if isinstance(manifest, str):
        return manifest
    if isinstance(manifest, list):
        manifest = {"apiVersion": "v1", "kind": "List", "items": manifest}
    return json.dumps(manifest)


def _stream(path, give_up_at):
    """Yield the events of a watch until its time is over, or the server ends it."""
    command = ["kubectl", "get", "--raw", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as watch:
        alarm = threading.Timer(max(0, give_up_at - time.monotonic()), watch.kill)
        alarm.start()
        try:
            for line in watch.stdout:
                yield json.loads(line)
        finally:
            alarm.cancel()
            watch.kill()


def _note(objects, event):
    name = event["object"].get("metadata", {}).get("name")
    match event["type"]:
        case "ADDED" | "MODIFIED":
            objects[name] = event["object"]
        case "DELETED":
            objects.pop(name, None)
        case "ERROR":
            return False
    return True


def _brief(found):
    status = found.get("status", {})
    conditions = [f"{c['type']}={c['status']} {c.get('reason', '')}" for c in status.get("conditions", [])]
    return f"{found['metadata']['name']}: {status.get('phase', '')} {', '.join(conditions)}"
