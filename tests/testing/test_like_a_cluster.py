"""Whatever a task does, a pool of the test kit tells of it what a pool on a cluster tells."""

from __future__ import annotations

import asyncio
import threading
from operator import add, truediv
from typing import NamedTuple

import pytest

from daskqueue import ConsumerPool, QueuePool, Reject, Snooze, current, testing
from daskqueue.errors import JobCancelledError

DRAIN_SECONDS = 60


class Place(NamedTuple):
    """A pool, and how to run all that is in it."""

    pool: QueuePool
    run: object


@pytest.fixture(params=["in process", "on a cluster"])
def place(request):
    """A pool whose messages wait until they are told to run; in this process and on a cluster."""
    settings = {"backoff": "10ms"}
    if request.param == "in process":
        with testing.pool(2, **settings) as pool:
            yield Place(pool, lambda: pool.run_all(delayed=True))
        return
    client, name = request.getfixturevalue("client"), request.getfixturevalue("name")
    pool = QueuePool(client, 2, name=name, **settings)
    consumers = ConsumerPool(client, pool, n_consumers=2)

    def run():
        consumers.start()
        pool.drain(timeout=DRAIN_SECONDS)

    yield Place(pool, run)
    consumers.cancel(timeout=0.0)


def told(job):
    """Return all that a handle tells of a job that has ended."""
    error = job.exception()
    return job.status, type(error), None if error is not None else job.result()


def snoozes():
    """Come again twice, then say how often it came, and which attempt it is."""
    times = (current().state or 0) + 1
    current().progress(times, state=times)
    if times < 3:
        raise Snooze("10ms")
    return current().attempt, times


def rejects():
    """Say that this will never do."""
    raise Reject("never")


def until_third():
    """Fail twice."""
    if current().attempt < 3:
        raise ConnectionError("not yet")
    return current().attempt


def unpicklable():
    """Return what cannot travel."""
    return threading.Lock()


async def awaits(value):
    """Return after a turn of the event loop."""
    await asyncio.sleep(0)
    return value


def says_how_far():
    """Say how far it is, and fail once."""
    before = current().last_progress
    current().progress(1, 2, state="half")
    if current().attempt == 1:
        raise ConnectionError("once")
    return before.done, before.total, before.state


@pytest.mark.parametrize(
    ("options", "call", "expected"),
    [
        ({}, (add, 1, 2), ("finished", type(None), 3)),
        ({}, (awaits, 3), ("finished", type(None), 3)),
        ({}, (truediv, 1, 0), ("error", ZeroDivisionError, None)),
        ({"retries": 2}, (truediv, 1, 0), ("error", ZeroDivisionError, None)),
        ({"retries": 2}, (until_third,), ("finished", type(None), 3)),
        ({"retries": 2, "retry_on": OSError}, (until_third,), ("finished", type(None), 3)),
        ({"retries": 2, "no_retry_on": OSError}, (until_third,), ("error", ConnectionError, None)),
        ({}, (snoozes,), ("finished", type(None), (1, 3))),
        ({"retries": 2}, (rejects,), ("error", Reject, None)),
        ({"retries": 1}, (says_how_far,), ("finished", type(None), (1, 2, "half"))),
        (
            {"delay": "20ms", "priority": 3, "group": "g", "expires": "1h"},
            (add, 1, 2),
            ("finished", type(None), 3),
        ),
    ],
)
def test_a_handle_tells_the_same(place, options, call, expected):
    job = place.pool.options(**options).submit(*call)
    place.run()
    assert told(job) == expected


def test_the_same_dead_letters_are_kept(place):
    place.pool.options(retries=1).submit(truediv, 1, 0)
    place.pool.submit(rejects)
    place.pool.submit(unpicklable)
    place.run()
    letters = place.pool.dead.list()
    kept = sorted((letter.reason, letter.attempts) for letter in letters)
    assert kept == [("cannot_pickle_result", 1), ("raised", 2), ("rejected", 1)]


def test_a_second_submit_with_a_key_is_the_first_job(place):
    keyed = place.pool.options(key="once")
    first, second = keyed.submit(add, 1, 2), keyed.submit(add, 3, 4)
    place.run()
    assert (first == second, second.result()) == (True, 3)


def test_what_is_cancelled_does_not_run(place):
    job = place.pool.submit(add, 1, 2)
    assert job.cancel() is True
    place.run()
    with pytest.raises(JobCancelledError):
        job.result()
    assert job.status == "cancelled"


def test_the_counts_are_the_same(place):
    place.pool.map(add, range(5), range(5), batch_size=2)
    place.pool.submit(truediv, 1, 0)
    assert sum(place.pool.get_queue_size().values()) == 6
    place.run()
    assert sum(place.pool.get_queue_size().values()) == 0
    assert place.pool.dead.count() == 1


def test_a_group_runs_to_its_end(place):
    jobs = place.pool.options(group="one").map(abs, range(30), batch_size=7)
    place.run()
    assert place.pool.gather(jobs) == list(range(30))
