"""What kopf is told: to look at our objects only, and to leave no trace on any."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import kopf
import pytest
from kopf._cogs.configs.configuration import OperatorSettings
from kopf._cogs.structs.references import Resource

from daskqueue_operator import handlers
from daskqueue_operator.kinds import DASK_QUEUE, WATCHED


class NoClient:
    """Stands for lightkube's client, which wants a cluster."""

    def __init__(self, **_):
        pass

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
