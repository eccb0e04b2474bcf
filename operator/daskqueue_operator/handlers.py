"""What kopf runs: watches that fill indexes and wake one task for each DaskQueue. Nothing here decides anything.

``kopf run -m daskqueue_operator.handlers --standalone --all-namespaces --liveness=http://0.0.0.0:8081/healthz``
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import httpx2
import kopf
from lightkube.core.async_client import AsyncClient
from prometheus_client import start_http_server

from daskqueue_operator import labels as lb
from daskqueue_operator import sweeping
from daskqueue_operator.apply import Cluster
from daskqueue_operator.cache import Key, key_of
from daskqueue_operator.kinds import DASK_CLUSTER, DASK_QUEUE, WATCHED, Kind, Manifest
from daskqueue_operator.site import Site
from daskqueue_operator.tasks import Tasks

log = logging.getLogger("daskqueue_operator")

LIST_SECONDS = 0.5  # between two looks whether the API server lists DaskQueues


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Configure kopf, and open what all DaskQueues share."""
    settings.posting.enabled = False  # our own events, on transitions
    # kopf takes its finalizer off whatever it watches and needs no finalizer: with the default name that would be
    # the one of dask-kubernetes on its DaskClusters, which puts it back, for ever.
    settings.persistence.finalizer = "daskqueue.dev/never-set"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="kopf.daskqueue.dev")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix="kopf.daskqueue.dev")
    for kind in WATCHED:
        settings.watching.label_selectors[kopf_name(kind)] = (
            lb.SELECTOR
        )  # else all pods and secrets of the cluster come
    for chatty in (
        "kopf.objects",
        "kopf.activities.probe",
        "aiohttp.access",
        "httpx2",
    ):  # each event, each request
        logging.getLogger(chatty).setLevel(logging.WARNING)
    memo.site = Site(Cluster(AsyncClient(field_manager=lb.MANAGER)))
    memo.tasks = Tasks(memo.site)
    if (port := memo.site.settings.metrics_port) >= 0:
        server, _thread = start_http_server(port)
        log.info("metrics are on port %s", server.server_port)
    await until_listed(memo.site.cluster)


async def until_listed(cluster: Cluster) -> None:
    """Return when kopf will find DaskQueues: it looks once, and what it does not find then it may never watch.

    In a new cluster the definition and the operator are made in the same moment.
    """
    told = False
    while not await _listed(cluster):
        if not told:
            log.info(
                "waiting until the API server lists %s, as it does soon after helm has made it",
                DASK_QUEUE.resource,
            )
            told = True
        await asyncio.sleep(LIST_SECONDS)


async def _listed(cluster: Cluster) -> bool:
    try:
        return await cluster.lists(DASK_QUEUE)
    except httpx2.HTTPError as error:
        log.warning("the API server does not answer: %s", error)
        return False


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """End all tasks and connections."""
    await memo.tasks.close()
    await memo.site.close()


@kopf.on.probe(id="reconciling")
async def alive(memo: kopf.Memo, **_: Any) -> str:
    """Fail when a task is stuck or the watches are deaf: a restart mends both."""
    if trouble := await memo.tasks.trouble():
        raise kopf.PermanentError(trouble)
    return "ok"


def index(body: kopf.Body, **_: Any) -> dict[Key, Manifest]:
    """Return what the indexes keep of an object."""
    return {key_of(body): dict(body)}


async def wake(body: kopf.Body, memo: kopf.Memo, **known: Any) -> None:
    """Wake the task of the DaskQueue that an object belongs to."""
    memo.site.cache.attach(known)
    memo.tasks.wake(key_of(body))


async def wake_self(body: kopf.Body, memo: kopf.Memo, **known: Any) -> None:
    """Wake the task of a DaskQueue, unless only its status has changed: that was us."""
    memo.site.cache.attach(known)
    memo.tasks.wake_self(key_of(body), body)


async def sweep(body: kopf.Body, memo: kopf.Memo, event: Mapping[str, Any], **_: Any) -> None:
    """Look after a DaskCluster that is being deleted."""
    if event["type"] != "DELETED" and sweeping.is_held(body):
        memo.tasks.sweep(dict(body))


def kopf_name(kind: Kind) -> tuple[str, str, str] | tuple[str, str]:
    """Return how kopf selects a kind."""
    version = kind.api_version.rpartition("/")[2]
    return (kind.group, version, kind.plural) if kind.group else (version, kind.plural)


for _kind in (DASK_QUEUE, *WATCHED):
    kopf.index(*kopf_name(_kind), id=_kind.plural)(index)
for _kind in WATCHED:
    kopf.on.event(*kopf_name(_kind), id=f"wake-{_kind.plural}")(wake)
kopf.on.event(*kopf_name(DASK_QUEUE), id="wake-self")(wake_self)
kopf.on.event(*kopf_name(DASK_CLUSTER), id="sweep")(sweep)
