"""What kopf is told: to look at our objects only, and to leave no trace on any."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import httpx2
import kopf
import pytest
from kopf._cogs.configs.configuration import OperatorSettings
from kopf._cogs.structs.references import Resource

from daskqueue_operator import handlers
from daskqueue_operator.apply import Cluster
from daskqueue_operator.kinds import DASK_QUEUE, WATCHED

NOTHING = {"/apis": {"groups": []}}
HALF = {"/apis": {"groups": [{"name": "daskqueue.dev"}]}}
EMPTY = {**HALF, "/apis/daskqueue.dev/v1alpha1": {"resources": []}}
LISTED = {**HALF, "/apis/daskqueue.dev/v1alpha1": {"resources": [{"name": "daskqueues"}]}}


class NoClient:
    """Stands for lightkube's client, which wants a cluster: one whose lists of APIs grow with each look."""

    def __init__(self, *looks, **_):
        self.looks = list(looks) or [LISTED]
        self._client = SimpleNamespace(_client=self)

    async def get(self, path):
        if path == "/apis" and len(self.looks) > 1:
            self.look = self.looks.pop(0)
        elif path == "/apis":
            self.look = self.looks[0]
        if self.look == "away":
            raise httpx2.ConnectError("refused")
        found = self.look.get(path)
        request = httpx2.Request("GET", f"https://kubernetes{path}")
        return httpx2.Response(404 if found is None else 200, json=found, request=request)

    async def close(self):
        pass


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setattr(handlers, "AsyncClient", NoClient)
    monkeypatch.setenv("DASKQUEUE_OPERATOR_METRICS_PORT", "-1")
    made, memo = OperatorSettings(), SimpleNamespace()

    async def whole():
        await handlers.start(settings=made, memo=memo)
        await handlers.stop(memo=memo)

    asyncio.run(whole())
    return made


def resource(kind):
    version = kind.api_version.rpartition("/")[2]
    return Resource(
        kind.group, version, kind.plural, kind.kind, kind.kind.lower(), frozenset(), preferred=True
    )


def test_the_operator_starts_to_watch_when_the_api_server_lists_its_queues(monkeypatch, caplog):
    """kopf looks once; with a definition that was made a moment ago it found nothing, and was deaf for ever."""
    monkeypatch.setattr(handlers, "LIST_SECONDS", 0.0)
    client = NoClient(NOTHING, "away", HALF, EMPTY, LISTED)
    with caplog.at_level("INFO", "daskqueue_operator"):
        asyncio.run(handlers.until_listed(Cluster(client)))
    assert client.looks == [LISTED]
    said = [record.getMessage() for record in caplog.records]
    assert sum("waiting until the API server lists daskqueues.daskqueue.dev" in text for text in said) == 1
    assert sum("does not answer" in text for text in said) == 1


@pytest.mark.parametrize("kind", WATCHED, ids=lambda kind: kind.kind)
def test_only_our_own_objects_are_asked_for(settings, kind):
    assert list(settings.watching.label_selectors.collect(resource(kind))) == [
        "app.kubernetes.io/managed-by=daskqueue-operator,daskqueue.dev/queue"
    ]


def test_the_queues_themselves_are_all_asked_for(settings):
    assert list(settings.watching.label_selectors.collect(resource(DASK_QUEUE))) == []


def test_the_finalizer_of_other_operators_made_with_kopf_is_not_ours_to_remove(settings):
    assert settings.persistence.finalizer != OperatorSettings().persistence.finalizer


@pytest.mark.parametrize("kind", [DASK_QUEUE, *WATCHED], ids=lambda kind: kind.kind)
def test_every_kind_is_indexed_and_watched_and_nothing_needs_a_finalizer(kind):
    registry = kopf.get_default_registry()
    assert registry._indexing.has_handlers(resource(kind))
    assert registry._watching.has_handlers(resource(kind))
    assert not registry._spawning.has_handlers(resource(kind))
    assert not registry._changing.has_handlers(resource(kind))
