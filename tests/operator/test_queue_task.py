"""The one task of a DaskQueue, against a cluster in memory."""

from __future__ import annotations

import asyncio

import pytest
from fake_site import KEY, FakeCluster, refusal, site
from made import body, find, wanted

from daskqueue_operator.apply import NameTakenError
from daskqueue_operator.kinds import SERVICE
from daskqueue_operator.plan import Action, Verb
from daskqueue_operator.queue_task import CALM_SECONDS, SOON_SECONDS, QueueTask
from daskqueue_operator.status_schema import unknown


@pytest.fixture
def cluster():
    made = FakeCluster()
    made.put(body())
    return made


class Passes:
    """Lets a task make a number of passes, and then takes its DaskQueue away."""

    def __init__(self, cluster, task):
        self.cluster, self.task = cluster, task

    async def make(self, number):
        for _ in range(number):
            (queue,) = self.cluster.store["daskqueues"][KEY]
            self.task.wake()
            await self.task._guarded(queue)


def passes(cluster, number=3, **options):
    """Return what is there after some passes over the queue."""
    task = QueueTask(site(cluster, **options), KEY)
    asyncio.run(Passes(cluster, task).make(number))
    return task


def ready(cluster):
    conditions = {each["type"]: each for each in cluster.statuses[-1]["conditions"]}
    return conditions["Ready"]["status"], conditions["Ready"]["reason"]


def test_a_new_queue_is_made_and_then_left_alone(cluster):
    passes(cluster, 3)
    made = [(action.kind.kind, action.name) for action in cluster.carried_out if action.verb is Verb.CREATE]
    assert made == [(each["kind"], each["metadata"]["name"]) for each in wanted()]
    assert {each["type"] for each in cluster.statuses[-1]["conditions"] if each["status"] != "True"} == {
        "Progressing"
    }

    before = len(cluster.carried_out), len(cluster.statuses)
    passes(cluster, 5)
    assert (len(cluster.carried_out), len(cluster.statuses)) == before


def test_a_status_is_what_the_schema_knows_and_about_what_was_carried_out(cluster):
    passes(cluster, 1)
    assert cluster.statuses[-1]["observedGeneration"] == 0  # the pass that makes things has not seen them yet
    passes(cluster, 2)
    assert cluster.statuses[-1]["observedGeneration"] == 1
    assert [path for status in cluster.statuses for path in unknown(status)] == []


def test_what_was_taken_away_comes_back_with_an_event(cluster):
    passes(cluster)
    cluster.remove(find(wanted(), "Secret", "inv-connection"))
    passes(cluster)
    assert [event["message"] for event in cluster.events if event["reason"] == "Repaired"] == [
        "Secret inv-connection: it is missing, or has lost its labels"
    ]


def test_an_apply_that_changes_nothing_is_made_once(cluster):
    passes(cluster)
    shard = find(cluster.store["statefulsets"][KEY], "StatefulSet", "inv-shard")
    shard["spec"]["template"]["spec"]["containers"][0]["image"] = "LOCALHOST/daskqueue:1"

    def stubborn(manifest):  # an API server that keeps writing it in its own way
        cluster.put(shard)
        return shard

    cluster.carried_out.clear()
    task = QueueTask(site(cluster), KEY)

    async def carry_out(action, _namespace):
        cluster.carried_out.append(action)
        return stubborn(action.manifest)

    cluster.carry_out = carry_out
    asyncio.run(Passes(cluster, task).make(4))
    assert [action.verb for action in cluster.carried_out] == [Verb.APPLY]


REFUSALS = {
    "what is asked for cannot be": (
        refusal(422, "spec.template: no such thing"),
        "Rejected",
        "no such thing",
    ),
    "a quota": (refusal(403, "exceeded quota"), "Forbidden", "exceeded quota"),
    "another's name": (
        NameTakenError(Action(Verb.CREATE, SERVICE, "inv-shard", "it is new")),
        "NameTaken",
        "Service inv-shard is there already",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_told_and_mended_when_it_is_lifted(cluster, case):
    cluster.refusals["inv-shard"], reason, words = REFUSALS[case]
    passes(cluster)
    assert ready(cluster) == ("False", reason)
    assert words in cluster.statuses[-1]["conditions"][0]["message"]
    assert [event["reason"] for event in cluster.events] == [reason]

    cluster.refusals.clear()
    passes(cluster)
    assert ready(cluster) == ("True", "Serving")


def test_a_dask_cluster_that_is_refused_stops_nothing(cluster):
    cluster.refusals["inv"] = refusal(422, "the DaskCluster is refused")
    passes(cluster)
    assert ready(cluster) == ("True", "Serving")


def test_a_server_that_is_not_well_is_tried_again_later_and_later(cluster):
    cluster.refusals["inv-scheduler"] = refusal(500, "etcd is away")
    task = QueueTask(site(cluster), KEY)

    async def tries():
        return [await task._guarded(body()) for _ in range(8)]

    assert asyncio.run(tries()) == [2, 4, 8, 16, 32, 60, 60, 60]
    assert cluster.statuses == []


def test_a_spec_that_cannot_be_is_told_and_whatever_runs_goes_on(cluster):
    passes(cluster)
    done = len(cluster.carried_out)
    cluster.put(body({"shards": {"replicas": 0}}, generation=2, status=cluster.statuses[-1]))
    passes(cluster)
    assert ready(cluster) == ("False", "InvalidSpec")
    assert "spec.shards.replicas" in cluster.statuses[-1]["conditions"][0]["message"]
    assert len(cluster.carried_out) == done


def test_without_any_image_the_queue_says_so(cluster):
    passes(cluster, image="")
    assert ready(cluster) == ("False", "InvalidSpec")
    assert "DASKQUEUE_OPERATOR_IMAGE" in cluster.statuses[-1]["conditions"][0]["message"]


def test_a_queue_that_is_being_deleted_is_left_alone_and_waited_for(cluster):
    leaving = body(deletionTimestamp="2026-11-23T12:00:00Z")
    cluster.put(leaving)
    task = QueueTask(site(cluster), KEY)

    async def scenario():
        running = asyncio.create_task(task.run())
        task.wake()
        for _ in range(100):
            await asyncio.sleep(0)
        waiting = not running.done()
        cluster.remove(leaving)
        task.wake()
        await asyncio.wait_for(running, 5)
        return waiting

    assert asyncio.run(scenario())
    assert cluster.carried_out == []


def test_another_queue_of_the_same_name_begins_with_nothing(cluster):
    task = passes(cluster)
    scaler = task._scaler
    cluster.put(body(uid="u-2"))
    asyncio.run(Passes(cluster, task).make(1))
    assert task._scaler is not scaler
    owners = {action.manifest["metadata"]["ownerReferences"][0]["uid"] for action in cluster.carried_out[-3:]}
    assert owners == {"u-2"}


def test_a_calm_queue_is_left_in_peace_and_an_unready_one_is_looked_at_soon(cluster):
    task = passes(cluster, 4)
    assert task._full_at - asyncio.run(now()) == pytest.approx(CALM_SECONDS, abs=1)
    shard = find(cluster.store["statefulsets"][KEY], "StatefulSet", "inv-shard")
    shard["status"]["readyReplicas"] = 0
    asyncio.run(Passes(cluster, task).make(2))
    assert task._full_at - asyncio.run(now()) == pytest.approx(SOON_SECONDS, abs=1)


async def now():
    return asyncio.get_running_loop().time()


def test_an_upgrade_replaces_the_pods_of_one_queue_at_a_time(cluster):
    both = [KEY, ("shop", "other")]
    cluster.put(body(name="other", uid="u-2"))
    shared = site(cluster)
    for key in both:
        asyncio.run(make(shared, cluster, key, 4))
    upgraded = site(cluster, image="localhost/daskqueue:2")
    cluster.carried_out.clear()

    first = asyncio.run(make(upgraded, cluster, both[0], 1))
    second = asyncio.run(make(upgraded, cluster, both[1], 1))
    assert images(cluster, "inv") == {"localhost/daskqueue:2"} | {"localhost/daskqueue:1"}  # shards come last
    assert images(cluster, "other") == {"localhost/daskqueue:1"}

    asyncio.run(again(first, cluster, both[0], 3))
    assert images(cluster, "inv") == {"localhost/daskqueue:2"}
    assert second._woken.is_set()  # it is its turn
    asyncio.run(again(second, cluster, both[1], 4))
    assert images(cluster, "other") == {"localhost/daskqueue:2"}


def test_two_operators_that_want_different_things_stop_fighting_and_say_so(cluster):
    ours, theirs = site(cluster), site(cluster, image="localhost/other:2")
    tasks = [QueueTask(ours, KEY), QueueTask(theirs, KEY)]

    async def both(number):
        for _ in range(number):
            for task in tasks:
                await again(task, cluster, KEY, 1)

    asyncio.run(both(10))
    assert "AnotherOperator" in {status["conditions"][0]["reason"] for status in cluster.statuses}
    done = len(cluster.carried_out), len(cluster.events), len(cluster.statuses)
    asyncio.run(both(10))
    assert (len(cluster.carried_out), len(cluster.events), len(cluster.statuses)) == done


async def make(shared, cluster, key, number):
    task = QueueTask(shared, key)
    await again(task, cluster, key, number)
    return task


async def again(task, cluster, key, number):
    for _ in range(number):
        (queue,) = cluster.store["daskqueues"][key]
        task.wake()
        await task._guarded(queue)


def images(cluster, name):
    workloads = [cluster.store[plural]["shop", name] for plural in ("deployments", "statefulsets")]
    pods = [each["spec"]["template"]["spec"] for bodies in workloads for each in bodies]
    return {pod["containers"][0]["image"] for pod in pods}
