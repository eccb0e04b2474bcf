"""Failures on pods: retried tasks end well, the others are dead letters that a person can see, mend and run again."""

from __future__ import annotations

import pytest

from .conftest import new_namespace
from .jobs import Runner, story
from .kubectl import condition
from .loading import facts
from .queues import Queues, runs

LUCKY, BROKEN = 20, 5
ROOM = 100
DEAD = {"raised": BROKEN, "crash_loop": 1}
SPEC = {
    "queue": {
        "retries": 2,
        "backoffMaxSeconds": 1,
        "maxDeliveries": 2,
        "maxMessages": ROOM,
        "overflow": "Raise",
    },
    "shards": {"replicas": 2, "storage": {"emptyDir": {}}},
    "consumers": {
        "replicas": 1,
        "slots": 2,
        "executor": "Processes",
        "drainSeconds": 5,
        "autoscaling": {"mode": "Fixed"},
        "pod": {"env": [{"name": "MENDED", "value": "no"}]},
    },
}


FILL = """
import json, daskqueue
from daskqueue.errors import QueueFullError

with daskqueue.connect() as pool:
    taken = []
    try:
        while True:
            taken.append(pool.submit(abs, -len(taken)))
    except QueueFullError:
        print(json.dumps({"event": "taken", "tasks": len(taken)}), flush=True)
    assert pool.gather(taken, timeout=120) == list(range(len(taken)))
"""


@pytest.fixture(scope="module")
def namespace(kube, request):
    """One for both tests."""
    with new_namespace(kube, request) as name:
        yield name


@pytest.fixture(scope="module")
def queues(kube, release, namespace):
    found = Queues(kube, namespace)
    found.apply("bad", SPEC)
    found.ready("bad", timeout=90)
    return found


@pytest.fixture(scope="module")
def runner(kube, namespace, image):
    return Runner(kube, namespace, image)


@pytest.fixture
def failed(queues, runner):
    """What a script told whose tasks have failed for good."""
    return run(runner, "fail", LUCKY, BROKEN)


def run(runner, name, *args, handles=""):
    """Run a script of the story to its end."""
    files = {"telling.py": story("telling.py"), "handles.txt": handles}
    runner.start(name, story(f"{name}.py"), *args, connection="bad", files=files)
    return runner.finished(name, timeout=180)


def command(kube, namespace, *arguments):
    """Run the command in the pod of a shard, as a person does who was called."""
    return kube("exec", "-n", namespace, "bad-shard-0", "--", "daskqueue", *arguments)


def counted(kube, namespace, metric):
    """Return a counter of all shards by reason; those that are 0 are left out."""
    found = {}
    for number in range(2):
        port = "127.0.0.1:9090/metrics"
        ask = f"import urllib.request as u; print(u.urlopen('http://{port}').read().decode())"
        text = kube("exec", "-n", namespace, f"bad-shard-{number}", "--", "python", "-S", "-c", ask)
        for line in text.splitlines():
            if line.startswith(metric + "{") and (value := float(line.rsplit(" ", 1)[1])):
                reason = line.partition('reason="')[2].partition('"')[0]
                found[reason] = found.get(reason, 0) + value
    return found


def dead(number):
    return lambda queue: queue["status"].get("backlog", {}).get("deadLettered") == number


def about_dead_letters(events):
    return [event for event in events if event["reason"] == "DeadLetters"]


def test_what_fails_for_good_is_seen_mended_and_run_again(kube, queues, namespace, runner, failed):
    assert facts(failed, "retried") == {"event": "retried", "tasks": LUCKY, "wrong": 0}
    assert facts(failed, "died")["errors"] == {"LookupError": BROKEN, "JobFailedError": 1}

    # The person is called: the status counts them, an event says what to do, metrics say why.
    queues.until("bad", dead(sum(DEAD.values())), 60, "dead letters in the status")
    (event,) = kube.until("events", namespace, about_dead_letters, what="an event about dead letters")
    assert f"kubectl exec -n {namespace} bad-shard-0 -- daskqueue dead list" in event["message"]
    assert counted(kube, namespace, "daskqueue_dead_lettered_total") == DEAD
    assert counted(kube, namespace, "daskqueue_nacked_total") == {"raised": 2 * LUCKY + 3 * BROKEN}

    # And looks.
    listed = command(kube, namespace, "dead", "list")
    assert listed.count("LookupError: no such customer") == BROKEN
    assert "crash_loop" in listed
    told = command(kube, namespace, "dead", "list", "--reason", "raised", "--traceback")
    assert told.count("in cube") == BROKEN

    # What was wrong is mended, and only those are run again that this mends.
    queues.change("bad", {"consumers": {"pod": {"env": [{"name": "MENDED", "value": "yes"}]}}})
    queues.pods_until("bad", mended, 120, "mended consumers only", "consumer")
    assert command(kube, namespace, "dead", "redrive", "--reason", "raised") == f"{BROKEN} run again\n"
    fetched = facts(run(runner, "fetch", handles=facts(failed, "left")["handles"]), "fetched")
    assert (fetched["tasks"], fetched["wrong"]) == (BROKEN, 0)

    queues.until("bad", dead(1), 60, "the poison in the status")
    assert command(kube, namespace, "dead", "purge", "--yes") == "1 dropped\n"
    queues.until("bad", dead(0), 60, "no dead letter in the status")


def mended(pods):
    """Return whether all consumers that are there serve with what was mended."""
    environments = [pod["spec"]["containers"][0]["env"] for pod in pods]
    return (
        pods
        and all(map(runs, pods))
        and all({"name": "MENDED", "value": "yes"} in env for env in environments)
    )


def test_a_paused_queue_takes_what_it_has_room_for_and_hands_it_out_later(kube, queues, namespace, runner):
    command(kube, namespace, "queue", "pause")
    queues.until("bad", lambda queue: condition(queue, "Ready")["reason"] == "Paused", 60, "Paused")
    runner.start("fill", FILL, connection="bad")
    with runner.follow("fill") as told:
        assert told.until("taken", timeout=120)[1]["tasks"] == 2 * ROOM
    queues.until("bad", lambda queue: queue["status"]["backlog"]["ready"] == 2 * ROOM, 60, "a full queue")
    assert command(kube, namespace, "queue", "resume") == "resumed\n"
    runner.finished("fill", timeout=180)
