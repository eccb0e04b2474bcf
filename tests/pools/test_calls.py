"""Calls of actors: an answer, the method's own error, or a typed error in time; never silence."""

from __future__ import annotations

import asyncio
import time

import pytest
from clusters import kill, pids, worker_of_queue

from daskqueue.actors.cluster import Cluster
from daskqueue.actors.directory import ActorRef
from daskqueue.batch import encode_one
from daskqueue.errors import BatchError, QueueLostError
from daskqueue.message import PutOptions


def ref_of(pool, index=0):
    return dict(pool.queues.refs)[index]


def call(client, *args, **kwargs):
    """Call an actor from the client's event loop; return a future."""
    coroutine = Cluster(client).caller.call(*args, **kwargs)
    return asyncio.run_coroutine_threadsafe(coroutine, client.loop.asyncio_loop)


def test_a_call_brings_the_answer(make):
    pool = make.queues()
    pool.submit(abs, 1)
    status = call(make.client, ref_of(pool), "status").result(timeout=10)
    assert (status["ready"], status["leased"]) == (1, 0)


def test_a_methods_own_error_comes_as_itself(make):
    pool = make.queues()
    with pytest.raises(BatchError):
        call(make.client, ref_of(pool), "put", bytes(16), [(0, b"no batch", PutOptions())], 0.0).result(
            timeout=10
        )


def test_an_actor_that_is_not_there_is_said_to_be_lost_at_once(make):
    pool = make.queues()
    gone = ref_of(pool)._replace(key="no-such-actor")
    began = time.monotonic()
    with pytest.raises(QueueLostError, match="no-such-actor"):
        call(make.client, gone, "status").result(timeout=10)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://127.0.0.1:9"])
def test_a_worker_that_is_not_there_is_said_to_be_lost_soon(client, address):
    began = time.monotonic()
    with pytest.raises(QueueLostError):
        call(client, ActorRef("key", address), "status").result(timeout=15)
    assert time.monotonic() - began < 6


def test_a_deadline_ends_a_call(make):
    pool = make.queues()
    with pytest.raises(QueueLostError, match="does not answer"):
        call(make.client, ref_of(pool), "park", False, 20.0, deadline=0.1).result(timeout=10)


def test_a_parked_call_is_ended_when_its_worker_is_killed(make_fragile):
    make = make_fragile
    pool = make.queues()
    parked = call(make.client, ref_of(pool), "park", False, 30.0, deadline=40.0)
    with pytest.raises(TimeoutError):
        parked.result(timeout=0.2)  # it is parked now
    began = time.monotonic()
    kill(pids(make.client)[worker_of_queue(pool)])
    with pytest.raises(QueueLostError):
        parked.result(timeout=20)
    assert time.monotonic() - began < 5


def test_a_repeated_put_is_one(make):
    """Dask may send a call twice; so may we."""
    pool = make.queues()
    put = (ref_of(pool), "put", bytes(16), [(0, encode_one(abs, (1,)), PutOptions())], 0.0)
    first = call(make.client, *put).result(timeout=10)
    assert call(make.client, *put).result(timeout=10) == first
    assert pool[0].qsize() == 1


def test_many_parked_calls_do_not_hold_up_others(make):
    pool = make.queues()
    parked = [call(make.client, ref_of(pool), "park", False, 30.0, deadline=40.0) for _ in range(100)]
    began = time.monotonic()
    assert call(make.client, ref_of(pool), "status").result(timeout=10)["ready"] == 0
    assert time.monotonic() - began < 2
    for waiting in parked:
        waiting.cancel()
