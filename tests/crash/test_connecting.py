"""A scheduler that is lost while somebody connects to it."""

from __future__ import annotations

import json

import pytest
from clusters import until
from distributed.comm import CommClosedError
from hosts.processes import free_port

from daskqueue import QueuePool, connect
from daskqueue.clients import PatientClient, close_client, open_client
from daskqueue.errors import ConnectionFailedError

from .injected import injected
from .ledger.play import MODULES
from .ledger.theatre import Theatre


@pytest.fixture
def lost_while_greeted(monkeypatch):
    """Let the scheduler go away in the middle of connections; as many of them as the test says."""
    greeted = PatientClient._update_scheduler_info
    left = []

    async def update_scheduler_info(client, *args, **kwargs):
        if left:
            left.pop()
            injected["scheduler lost while it is connected to"] += 1
            raise CommClosedError("in <TCP>: Stream is closed")
        return await greeted(client, *args, **kwargs)

    monkeypatch.setattr(PatientClient, "_update_scheduler_info", update_scheduler_info)
    return left


def test_a_scheduler_lost_while_it_is_connected_to_is_waited_for(cluster, lost_while_greeted):
    lost_while_greeted += range(3)
    client = open_client(cluster.scheduler_address, 20.0)
    try:
        assert lost_while_greeted == []
        assert client.status == "running"
        assert len(client.ncores()) == 2
    finally:
        close_client(client)


def test_a_scheduler_that_is_lost_again_and_again_is_an_error_in_time(cluster, lost_while_greeted):
    lost_while_greeted += range(10_000)
    with pytest.raises(ConnectionFailedError, match="within 1 s"):
        open_client(cluster.scheduler_address, 1.0)


@pytest.fixture
def two_shards(tmp_path):
    """A scheduler and two shards with a volume each, which know of each other; and how to start more."""
    port = free_port()
    volumes = [tmp_path / "volume-0", tmp_path / "volume-1"]

    def start(part, *args):
        return theatre.start(f"{MODULES[0]}:{part}", *args, log=tmp_path / f"{part}.log")

    def know_each_other():
        records = [volume / "pool.json" for volume in volumes]
        return all(path.exists() and json.loads(path.read_text())["queues"] == 2 for path in records)

    with Theatre(*MODULES) as theatre:
        scheduler = start("scheduler", port)
        shards = [start("queue", "orders", port, shard, str(volumes[shard]), None) for shard in (0, 1)]
        until(know_each_other, 30)
        yield port, start, scheduler, shards


def test_who_connects_to_a_new_scheduler_knows_of_shards_that_have_not_joined_it_yet(two_shards):
    """Or keys and groups would be looked for in the wrong places."""
    port, start, scheduler, shards = two_shards
    shards[1].kill()
    scheduler.kill()
    start("scheduler", port)
    with connect("orders", f"tcp://127.0.0.1:{port}") as pool:
        assert pool.n_queues == 2
    injected["scheduler and a shard killed at once"] += 1


@pytest.fixture
def lost_while_asked(client, monkeypatch):
    """Let workers go away while they run a short function of the client; as many of them as the test says."""
    run, left = client.run, []

    async def lose():
        injected["worker lost while it looks at a folder"] += 1
        raise CommClosedError("in <TCP>: Stream is closed")

    def run_or_lose(*args, **kwargs):
        return (left.pop() and lose()) if left else run(*args, **kwargs)

    monkeypatch.setattr(client, "run", run_or_lose)
    return left


def test_a_pool_is_opened_although_the_worker_is_lost_that_looks_at_its_folder(
    client, lost_while_asked, name, tmp_path
):
    lost_while_asked += [True] * 3
    pool = QueuePool(client, n_queues=1, durability="durable", dirpath=tmp_path, name=name)
    assert lost_while_asked == []
    assert list(pool.get_queue_size().values()) == [0]
