"""One step after the other: look, decide, drain, mark, lower; with pods that answer over real sockets."""

from __future__ import annotations

import asyncio

import pytest
from fake_pods import Stage
from lightkube import ApiError
from lightkube.models.meta_v1 import Status

from daskqueue_operator.consumer_pods import COST, DRAINED_AT
from daskqueue_operator.scaling import Backlog


def run(play, **spec):
    async def played():
        async with Stage(**spec) as stage:
            await play(stage)

    asyncio.run(played())


def fixed(replicas, **consumers):
    return {"consumers": {"replicas": replicas, "autoscaling": {"mode": "Fixed"}, **consumers}}


def annotations(stage, name):
    return stage.manifests[f"q-consumer-{name}"]["metadata"]["annotations"]


def test_a_queue_without_work_has_no_consumers_and_is_looked_at_each_second():
    async def play(stage):
        result = await stage.step()
        assert (result.desired, result.limited_by, result.again_seconds) == (0, "None", 1.0)
        assert result.backlog == Backlog(0, 0, 3, 2, None)
        assert stage.numbers == []

    run(play)


def test_the_first_message_brings_a_consumer_at_the_next_look():
    async def play(stage):
        await stage.step()
        stage.hosts["q-shard-0"].shard(ready=1, enqueued=1, oldest=0.2)
        result = await stage.step()
        assert stage.numbers == [1]
        assert (result.scaled.before, result.scaled.after, result.scaled.cause) == (0, 1, "backlog")
        assert result.last_scale_at == stage.now

    run(play)


def test_a_queue_that_is_paused_has_no_work_for_consumers_until_it_is_resumed():
    async def play(stage):
        shard = stage.hosts["q-shard-0"]
        await stage.step()
        shard.shard(ready=5000, enqueued=5000, oldest=0.2, paused=True)
        result = await stage.step()
        assert (result.desired, result.paused, result.backlog.ready) == (0, True, 5000)
        shard.shard(ready=5000, enqueued=5000, oldest=0.2)
        result = await stage.step()
        assert (result.desired > 0, result.paused) == (True, False)

    run(play)


def test_a_shard_that_does_not_answer_holds_the_number_and_is_named():
    async def play(stage):
        await stage.consumers("a", "b")
        stage.hosts["q-shard-0"].silent = True
        result = await stage.step()
        assert (result.desired, result.limited_by, result.active) == (2, "MissingMetrics", False)
        assert "q-shard-0 does not answer" in result.message
        assert result.backlog is None
        assert stage.numbers == []

    run(play)


def test_a_shard_without_a_pod_is_missing_too():
    async def play(stage):
        await stage.consumers("a")
        result = await stage.step(after=10_000.0)
        assert result.limited_by == "MissingMetrics"
        assert list(result.shards) == ["q-shard-0", "q-shard-1"]

    run(play, shards={"replicas": 2})


def test_all_go_when_there_was_nothing_to_do_for_long_enough():
    async def play(stage):
        await stage.consumers("a", "b")
        await stage.step()
        assert (await stage.step(after=59.0)).desired == 2
        assert (await stage.step(after=2.0)).desired == 0
        await stage.step(after=0.1)
        assert stage.numbers == [0]
        assert all(stage.hosts[f"q-consumer-{name}"].stats["draining"] for name in "ab")

    run(play)


def test_removal_drains_marks_and_then_lowers():
    async def play(stage):
        a, b = await stage.consumers("a", "b")
        a.consumer(busy=1, held=3)
        first = await stage.step()
        assert (first.draining, stage.numbers) == (1, [])
        assert b.calls[-1] == "POST /drain"
        assert annotations(stage, "b")[COST] == "-2000"
        assert annotations(stage, "a") == {}
        second = await stage.step(after=0.1)
        assert stage.numbers == [1]
        assert second.scaled.cause == "replicas"

    run(play, **fixed(1))


def test_a_task_that_runs_is_waited_for_and_not_beyond_the_bound():
    async def play(stage):
        (a,) = await stage.consumers("a")
        a.consumer(busy=1, held=3)
        await stage.step()
        assert annotations(stage, "a")[COST] == "-1000"
        for _ in range(29):
            await stage.step()
        assert stage.numbers == []
        result = await stage.step(after=1.5)
        assert annotations(stage, "a")[COST] == "-2000"
        assert result.draining == 1
        await stage.step(after=0.1)
        assert stage.numbers == [0]

    run(play, **fixed(0, drainSeconds=30))


def test_a_task_that_ends_lets_its_consumer_go_at_once():
    async def play(stage):
        (a,) = await stage.consumers("a")
        a.consumer(busy=1)
        await stage.step()
        a.consumer(busy=0)
        await stage.step()
        await stage.step(after=0.1)
        assert stage.numbers == [0]

    run(play, **fixed(0, drainSeconds=3600))


def test_a_change_of_mind_makes_those_that_drain_take_messages_again():
    async def play(stage):
        a, b = await stage.consumers("a", "b")
        a.consumer(busy=1)
        b.consumer(busy=1)
        await stage.step()
        assert [host.stats["draining"] for host in (a, b)] == [True, True]
        stage.body["spec"]["consumers"]["replicas"] = 2
        await stage.step()
        assert [host.stats["draining"] for host in (a, b)] == [False, False]
        assert [annotations(stage, name) for name in "ab"] == [{}, {}]
        assert stage.numbers == []

    run(play, **fixed(0))


def test_one_that_cannot_be_told_to_go_on_stays_marked_until_it_can():
    async def play(stage):
        (a,) = await stage.consumers("a")
        a.consumer(busy=1)
        await stage.step()
        stage.body["spec"]["consumers"]["replicas"] = 1
        a.silent = True
        await stage.step()
        assert DRAINED_AT in annotations(stage, "a")
        a.silent = False
        await stage.step()
        assert annotations(stage, "a") == {}
        assert not a.stats["draining"]

    run(play, **fixed(0))


def test_another_operator_takes_up_the_removal_where_it_was_left():
    async def play(stage):
        a, b = await stage.consumers("a", "b")
        b.consumer(busy=1)
        a.consumer(busy=1, held=10)
        await stage.step()
        assert annotations(stage, "b")[COST] == "-1000"
        stage.restart_operator()
        a.consumer()  # idle now, and yet it is b that goes
        await stage.step(after=59.5)
        assert annotations(stage, "a") == {}
        await stage.step(after=1.0)
        await stage.step(after=0.1)
        assert annotations(stage, "b")[COST] == "-2000"
        assert stage.numbers == [1]

    run(play, **fixed(1))


def test_another_operator_lets_go_on_what_the_last_one_had_told_to_drain():
    async def play(stage):
        (a,) = await stage.consumers("a")
        a.stats["draining"] = True  # told, and the operator was gone before it could mark the pod
        stage.restart_operator()
        await stage.step()
        assert not a.stats["draining"]

    run(play, **fixed(1))


def test_another_operator_goes_on_with_the_number_that_was_wanted():
    async def play(stage):
        await stage.consumers("a", "b", "c")
        for host in stage.hosts.values():
            host.consumer(busy=1) if "consumer" in host.name else host.shard(ready=1)
        stage.body["status"] = {
            "consumers": {"desiredReplicas": 1},
            "autoscaling": {"lastScaleTime": "2026-01-01T00:00:00Z"},
        }
        result = await stage.step()
        assert (result.desired, result.draining) == (1, 2)
        assert result.last_scale_at == 1767225600.0

    run(play)


def test_suspend_drains_and_ends_at_none_and_comes_back():
    async def play(stage):
        (a,) = await stage.consumers("a")
        a.consumer(busy=1)
        stage.hosts["q-shard-0"].shard(ready=5)
        result = await stage.step()
        assert (result.desired, result.reason, result.draining) == (0, "Suspended", 1)
        a.consumer()
        await stage.step()
        await stage.step(after=0.1)
        assert stage.numbers == [0]
        await stage.remove("q-consumer-a")
        assert (await stage.step()).again_seconds > 1.0  # nobody waits for it
        stage.body["spec"]["suspend"] = False
        assert (await stage.step()).desired == 1
        assert stage.numbers == [0, 1]

    run(play, suspend=True)


@pytest.mark.parametrize("mode", ["Fixed", "External"])
def test_a_number_that_is_given_is_followed(mode):
    async def play(stage):
        stage.hosts["q-shard-0"].shard(ready=100_000)
        result = await stage.step()
        assert (result.desired, result.reason, stage.numbers) == (7, "ReplicasAreGiven", [7])

    run(play, consumers={"replicas": 7, "autoscaling": {"mode": mode}})


def test_somebody_who_scales_the_deployment_is_overruled():
    async def play(stage):
        stage.hosts["q-shard-0"].shard(ready=1)
        await stage.step()
        stage.replicas = 0
        await stage.step()
        assert stage.numbers == [1, 1]

    run(play)


def test_nothing_is_written_before_there_is_a_deployment():
    async def play(stage):
        stage.replicas = None
        stage.hosts["q-shard-0"].shard(ready=1)
        result = await stage.step()
        assert (result.desired, result.scaled, stage.numbers) == (1, None, [])

    run(play)


def test_a_ready_consumer_that_does_not_answer_is_taken_for_busy():
    async def play(stage):
        a, b, c = await stage.consumers("a", "b", "c")
        stage.hosts["q-shard-0"].shard(ready=1)
        a.silent = b.silent = True
        stage.body["status"] = {"consumers": {"desiredReplicas": 3}}
        for _ in range(100):
            result = await stage.step(after=10.0)
            if result.desired < 3:
                break
        assert (result.desired, result.limited_by) == (2, "BusyConsumers")
        assert c.calls[-1] == "POST /drain"

    run(play)


def test_a_pod_that_is_gone_when_it_is_marked_stops_nothing():
    async def play(stage):
        await stage.consumers("a", "b")
        merge = stage.merge
        gone = []

        async def raced(kind, namespace, name, patch):
            if not gone:
                gone.append(name)
                raise not_found()
            return await merge(kind, namespace, name, patch)

        stage.merge = raced
        await stage.step()
        await stage.step(after=0.1)
        assert len(gone) == 1

    run(play, **fixed(0))


def not_found():
    return ApiError(status=Status(code=404, message="no such pod"))
