"""DaskQueues as users apply, wait for and delete them."""

from __future__ import annotations

from dataclasses import dataclass

from .kubectl import condition, holds_true

API = "daskqueue.dev/v1alpha1"


def manifest(name, ns=None, spec=None):
    """Return a DaskQueue as a manifest; four lines long without a namespace and a spec."""
    made = {"apiVersion": API, "kind": "DaskQueue", "metadata": {"name": name}}
    if ns:
        made["metadata"]["namespace"] = ns
    return {**made, "spec": spec} if spec else made


@dataclass(frozen=True)
class Queues:
    """The DaskQueues of one namespace."""

    kube: object
    namespace: str

    def apply(self, name, spec=None):
        """Apply a DaskQueue and return it as the API server has it."""
        self.kube.apply(manifest(name, self.namespace, spec))
        return self.get(name)

    def get(self, name):
        """Return a DaskQueue."""
        return self.kube.get("daskqueue", name, self.namespace)

    def change(self, name, spec):
        """Merge something into a DaskQueue's spec."""
        self.kube.patch("daskqueue", name, self.namespace, {"spec": spec})

    def until(self, name, holds, timeout=60, what=None):
        """Watch a DaskQueue until something holds for it; return it as it then was."""

        def looked(found):
            return found[0] if found and holds(found[0]) else None

        return self.kube.until(
            "daskqueues", self.namespace, looked, name=name, timeout=timeout, what=what or f"{name}'s turn"
        )

    def ready(self, name, timeout=60):
        """Wait until a DaskQueue says that it is ready as it was last applied."""
        return self.until(name, is_ready, timeout, f"Ready of {name}")

    def not_ready(self, name, reason, timeout=60):
        """Wait until a DaskQueue is not ready for a reason; return the condition."""
        found = self.until(
            name,
            lambda queue: (
                condition(queue, "Ready").get("reason") == reason and not holds_true(queue, "Ready")
            ),
            timeout,
            f"Ready=False of {name} with reason {reason}",
        )
        return condition(found, "Ready")

    def delete(self, name, cascade="background", timeout=60):
        """Delete a DaskQueue and wait until it and its pods are gone."""
        self.kube("delete", "daskqueue", name, "-n", self.namespace, f"--cascade={cascade}", "--wait=false")
        self.kube.gone("daskqueues", name, self.namespace, timeout)
        self.pods_until(name, lambda pods: not pods, timeout, f"the end of {name}'s pods")

    def pods(self, name, component=None):
        """Return the pods of a DaskQueue, those of a component (`scheduler`, `shard`, `consumer`)."""
        return self.kube.list("pods", self.namespace, chosen(name, component))

    def pods_until(self, name, holds, timeout=60, what=None, component=None):
        """Watch the pods of a DaskQueue until something holds for the list of them."""
        selector = chosen(name, component)
        return self.kube.until(
            "pods",
            self.namespace,
            holds,
            selector=selector,
            timeout=timeout,
            what=what or f"{name}'s pods' turn",
        )


def chosen(name, component=None):
    """Return the label selector of a DaskQueue's objects."""
    part = f",app.kubernetes.io/component={component}" if component else ""
    return f"daskqueue.dev/queue={name}{part}"


def is_ready(found):
    """Return whether a DaskQueue is ready, and says so about the spec that it has now."""
    status = found.get("status", {})
    return holds_true(found, "Ready") and status.get("observedGeneration") == found["metadata"]["generation"]


def runs(pod):
    """Return whether a pod is Ready and not on its way out."""
    return holds_true(pod, "Ready") and "deletionTimestamp" not in pod["metadata"]
