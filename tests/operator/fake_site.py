"""A cluster in memory: what is applied is there at once, as a watch would tell."""

from __future__ import annotations

from collections import defaultdict

import httpx2
from lightkube.core.exceptions import ApiError
from made import IMAGE, pod, served

from daskqueue_operator import labels as lb
from daskqueue_operator.cache import Cache, key_of
from daskqueue_operator.kinds import DASK_QUEUE, WATCHED
from daskqueue_operator.plan import Verb
from daskqueue_operator.scrape import ShardReading
from daskqueue_operator.site import Settings, Site
from daskqueue_operator.turns import Turns

KEY = ("shop", "inv")
QUIET = ShardReading(0, 0, 0, 0, None, 0.0, 0.0, None)


class FakeCluster:
    """Keeps what it is told, and refuses what a test wants refused."""

    def __init__(self):
        self.store = {kind.plural: defaultdict(list) for kind in (DASK_QUEUE, *WATCHED)}
        self.carried_out, self.events, self.statuses = [], [], []
        self.refusals = {}
        self.version = 100

    def put(self, body):
        """Have an object there."""
        self.remove(body)
        self._folder(body).append(body)

    def remove(self, body):
        """Take an object away."""
        name = body["metadata"]["name"]
        folder = self._folder(body)
        folder[:] = [each for each in folder if each["metadata"]["name"] != name]

    def _folder(self, body):
        plural = next(kind.plural for kind in (DASK_QUEUE, *WATCHED) if kind.kind == body["kind"])
        return self.store[plural][key_of(body)]

    async def carry_out(self, action, _namespace):
        self.carried_out.append(action)
        if action.name in self.refusals:
            raise self.refusals[action.name]
        if action.verb not in (Verb.CREATE, Verb.APPLY):
            return None
        made = served(action.manifest)
        self.version += 1
        made["metadata"]["resourceVersion"] = str(self.version)
        self.put(made)
        if made["kind"] == "StatefulSet":
            self.put(pod(f"{made['metadata']['name']}-0", queue=made["metadata"]["labels"][lb.QUEUE]))
        return made

    async def write_status(self, namespace, name, status):
        self.statuses.append(status)
        self.version += 1
        (body,) = self.store[DASK_QUEUE.plural][namespace, name]
        self.put(
            {**body, "metadata": body["metadata"] | {"resourceVersion": str(self.version)}, "status": status}
        )
        return self.version

    async def write_event(self, event):
        self.events.append(event)

    async def scale_consumers(self, namespace, name, replicas):
        for body in self.store["deployments"][namespace, name]:
            if body["metadata"]["name"].endswith("-consumer"):
                body["spec"]["replicas"] = replicas
                body["status"] |= dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), replicas)

    async def has(self, _kind, _namespace):
        return True

    async def storage_classes(self):
        return {"standard": True}


class FakeScraper:
    """All shards answer that there is nothing to do."""

    async def shards(self, pods):
        return {pod.name: QUIET for pod in pods}

    async def consumers(self, _pods):
        return {}

    drain = undrain = consumers


def refusal(code, message):
    """Return what lightkube raises when the API server refuses something."""
    request = httpx2.Request("PATCH", "https://cluster/api")
    status = {"kind": "Status", "code": code, "message": message}
    return ApiError(request, httpx2.Response(code, json=status, request=request))


def site(cluster, image=IMAGE, clock=lambda: 0.0):
    """Return a site of one cluster."""
    cache = Cache()
    cache.attach(cluster.store)
    return Site(cluster, Settings(image, "IfNotPresent", -1), cache, FakeScraper(), Turns(clock))
