"""What is asked of a queue while its host ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from daskqueue.actors.caller import Caller
from daskqueue.actors.directory import ActorRef
from daskqueue.actors.queue import QueueService
from daskqueue.actors.queue_spec import QueueSpec
from daskqueue.batch import encode_items
from daskqueue.errors import QueueLostError
from daskqueue.message import Durability, PutOptions

PRODUCER = bytes(16)


def test_a_call_to_a_closed_queue_is_told_to_look_elsewhere_and_touches_no_file(tmp_path, name):
    async def close_and_call():
        service = QueueService(spec(tmp_path, name), SimpleNamespace(address="", scheduler=None), loop())
        assert await service.open(10)
        assert await service.put(PRODUCER, [(0, encode_items([1]), PutOptions())], 0.0) == [0]
        await service.close()
        with (tmp_path / "another").open("w") as other:
            # Had the descriptors of the log been closed twice, this file's would be among them.
            for _ in range(2):
                with pytest.raises(QueueLostError, match="is closing"):
                    await service.put(PRODUCER, [(1, encode_items([2]), PutOptions())], 0.0)
                with pytest.raises(QueueLostError, match="is closing"):
                    await service.open(10)
            other.write("still open")

    asyncio.run(close_and_call())
    assert (tmp_path / "another").read_text() == "still open"


def test_a_call_while_a_host_closes_its_own_connections_finds_the_queue_lost():
    def connect(address):
        raise RuntimeError("ConnectionPool is closed")

    async def alive(addresses):
        return set(addresses)

    async def call():
        with pytest.raises(QueueLostError, match="ConnectionPool is closed"):
            await Caller(connect, alive).call(ActorRef("queue", "tcp://127.0.0.1:9"), "ping")

    asyncio.run(call())


def loop():
    return asyncio.get_running_loop()


def spec(folder, name):
    return QueueSpec(
        pool_id=f"hosted:{name}",
        pool_name=name,
        index=0,
        key=name,
        durability=Durability.DURABLE,
        dirpath=str(folder / "queues"),
        former_incarnation=0,
        hosted=True,
    )
