"""All tasks of an operator: one for each DaskQueue, and what a liveness probe asks of them."""

from __future__ import annotations

import asyncio
import time

import httpx2
import pytest
from fake_site import KEY, FakeCluster, site
from made import body, find, served, wanted

from daskqueue_operator import site as site_module
from daskqueue_operator import sweeping, tasks
from daskqueue_operator.tasks import Tasks

GONE = "2026-11-23T12:00:00Z"


class Listing(FakeCluster):
    """A cluster that can also be listed, and that keeps a DaskCluster in deletion."""

    listed, unwell, gone = None, False, False

    def __init__(self):
        super().__init__()
        self.merged, self.held = [], None

    async def generations(self, _namespace):
        if self.unwell:
            raise httpx2.ConnectError("no route")
        return self.listed or {key: 1 for key, found in self.store["daskqueues"].items() if found}

    async def write_status(self, namespace, name, status):
        return None if self.gone else await super().write_status(namespace, name, status)

    async def get(self, _kind, _namespace, _name):
        return self.held

    async def merge(self, kind, _namespace, name, patch):
        self.merged.append((kind.kind, name, patch))


class Blind(Listing):
    """A cluster whose watches do not tell of PodMonitors."""

    async def carry_out(self, action, namespace):
        if action.kind.kind == "PodMonitor":
            self.carried_out.append(action)
            first = [each.kind.kind for each in self.carried_out].count("PodMonitor") == 1
            return served(action.manifest) if first else None
        return await super().carry_out(action, namespace)


@pytest.fixture
def cluster():
    made = Listing()
    made.put(body())
    return made


def run(cluster, scenario):
    async def whole():
        running = Tasks(site(cluster))
        try:
            return await scenario(running)
        finally:
            await running.close()

    return asyncio.run(asyncio.wait_for(whole(), 20))


async def until(holds):
    while not holds():
        await asyncio.sleep(0)


def test_a_queue_has_one_task_from_its_first_event_to_its_end(cluster):
    async def scenario(running):
        running.wake_self(KEY, body())
        (first,) = running._queues.values()
        running.wake(KEY)
        assert [*running._queues.values()] == [first]
        await until(lambda: cluster.statuses)
        cluster.remove(body())
        running.wake_self(KEY, body(deletionTimestamp=GONE))
        await until(lambda: not running._queues)
        running.wake(KEY)
        assert not running._queues

    run(cluster, scenario)


def test_a_queue_that_comes_back_while_its_task_ends_gets_another(cluster):
    async def scenario(running):
        running.wake(KEY)
        await until(lambda: cluster.statuses)
        (first,) = running._queues.values()
        cluster.remove(body())
        running.wake(KEY)
        await until(first[1].done)
        cluster.put(body(uid="u-2"))
        running.wake_self(KEY, body(uid="u-2"))
        await until(lambda: running._queues and [*running._queues.values()] != [first])

    run(cluster, scenario)


def test_a_queue_that_went_with_its_namespace_is_forgotten_although_nobody_tells(cluster):
    async def scenario(running):
        running.wake(KEY)
        await until(lambda: cluster.statuses)
        cluster.gone = True
        cluster.remove(find(wanted(), "Secret", "inv-connection"))
        running.wake(KEY)
        await until(lambda: not running._queues)
        running.wake(KEY)
        assert not running._queues

    run(cluster, scenario)


def test_our_own_status_wakes_nobody(cluster):
    async def scenario(running):
        running.wake_self(KEY, body())
        task = running._queues[KEY][0]
        await until(lambda: len(cluster.statuses) >= 1)
        await until(lambda: not task._woken.is_set())
        running.wake_self(KEY, body(status={"observedGeneration": 1}))
        assert not task._woken.is_set()
        running.wake_self(KEY, body(generation=2))
        assert task._woken.is_set()

    run(cluster, scenario)


def test_a_task_that_is_stuck_is_found_by_the_probe(cluster):
    async def scenario(running):
        running.wake(KEY)
        await until(lambda: cluster.statuses)
        assert await running.trouble() == ""
        running._queues[KEY][0].due_at = time.monotonic() - tasks.OVERDUE_SECONDS - 1
        return await running.trouble()

    assert "the task of DaskQueue shop/inv is stuck" in run(cluster, scenario)


def test_deaf_watches_are_found_by_the_probe_but_not_at_once(cluster, monkeypatch):
    async def scenario(running):
        running.wake(KEY)
        cluster.listed = {KEY: 2}
        first = await running.trouble()
        monkeypatch.setattr(tasks, "DEAF_SECONDS", -1.0)
        return first, await running.trouble()

    first, later = run(cluster, scenario)
    assert first == ""
    assert "the watches are deaf" in later


def test_what_the_watches_never_tell_of_is_made_once_and_found_by_the_probe(cluster, monkeypatch):
    blind = Blind()
    blind.put(body())

    async def scenario(running):
        running.wake(KEY)
        await until(lambda: blind.statuses)
        for _ in range(3):
            running.wake(KEY)
            await until(lambda: not running._queues[KEY][0]._woken.is_set())
        first = await running.trouble()
        monkeypatch.setattr(site_module, "UNSEEN_SECONDS", 0.0)
        running.wake(KEY)
        await until(lambda: running._site.unwatched)
        return first, await running.trouble()

    first, later = run(blind, scenario)
    assert first == ""
    assert later == "the watches do not tell of podmonitors, whose API came after the operator"
    assert [action.kind.kind for action in blind.carried_out].count("PodMonitor") == 2


def test_a_server_that_is_away_is_no_reason_to_be_restarted(cluster):
    async def scenario(running):
        cluster.unwell = True
        return await running.trouble()

    assert run(cluster, scenario) == ""


def held(finalizers=(sweeping.FINALIZER, "other"), **metadata):
    whose = {"name": "inv", "namespace": "shop", "uid": "c-1", "resourceVersion": "9", **metadata}
    return {
        "kind": "DaskCluster",
        "metadata": whose | {"finalizers": list(finalizers), "deletionTimestamp": GONE},
    }


def test_a_dask_cluster_that_nobody_lets_go_of_loses_the_finalizer_of_dask_kubernetes_only(
    cluster, monkeypatch
):
    monkeypatch.setattr(sweeping, "PATIENCE_SECONDS", 0.0)
    cluster.held = held()

    async def scenario(running):
        running.sweep(held())
        await until(lambda: cluster.merged)

    run(cluster, scenario)
    patch = {"metadata": {"finalizers": ["other"], "resourceVersion": "9"}}
    assert cluster.merged == [("DaskCluster", "inv", patch)]


@pytest.mark.parametrize("there", [None, held(uid="c-2"), held(finalizers=["other"])])
def test_a_dask_cluster_that_is_gone_new_or_let_go_of_is_not_touched(cluster, monkeypatch, there):
    monkeypatch.setattr(sweeping, "PATIENCE_SECONDS", 0.0)
    cluster.held = there
    asyncio.run(sweeping.sweep(cluster, held()))
    assert cluster.merged == []


def test_what_is_not_being_deleted_is_not_held():
    alive = held()
    del alive["metadata"]["deletionTimestamp"]
    assert sweeping.is_held(held())
    assert not sweeping.is_held(alive)
    assert not sweeping.is_held(held(finalizers=["other"]))
