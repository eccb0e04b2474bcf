"""Acks before execution are written only while nothing else is done to the log."""

from __future__ import annotations

import asyncio

from daskqueue.actors.queue import QueueService
from daskqueue.actors.queue_spec import QueueSpec
from daskqueue.batch import encode_items
from daskqueue.engine.batches import BatchReader
from daskqueue.engine.leases import Leases
from daskqueue.engine.settings import QueueSettings
from daskqueue.message import Durability, PutOptions

from .injected import injected

PLENTY = 1 << 30


class Nowhere:
    """A node without a scheduler."""

    scheduler = None
    address = "nowhere"


def spec_of(folder):
    return QueueSpec(
        pool_id="hosted:early",
        pool_name="early",
        index=0,
        key="early-queue-0",
        durability=Durability.DURABLE,
        dirpath=str(folder),
        former_incarnation=0,
        settings=QueueSettings(segment_bytes=1000),
        hosted=True,
        defaults={},
    )


async def lease_while_a_segment_is_sealed(folder, monkeypatch):
    """Return for each early ack whether the log was free for it, and how many rounds of upkeep came between."""
    service = QueueService(spec_of(folder), Nowhere(), asyncio.get_running_loop())
    await service.open(10)
    engine = service._engine
    read, ack = BatchReader.read, Leases.ack
    free, rounds = [], []

    def slow_read(reader, stretch):
        # Full segments are sealed as soon as the event loop runs again: before the lease goes on.
        loop.call_soon_threadsafe(engine._upkeep.start_if_due)
        found = read(reader, stretch)
        asyncio.run_coroutine_threadsafe(noted(), loop).result(10)
        return found

    async def noted():
        rounds.append(engine._upkeep._round is not None)

    def watched_ack(leases, *args):
        free.append(engine._upkeep._round is None)
        return ack(leases, *args)

    loop = asyncio.get_running_loop()
    try:
        options = tuple(PutOptions()._replace(terms=tuple(PutOptions().terms)))
        await service.put(b"p" * 16, [(0, encode_items(["x" * 300_000]), options)], 1.0)
        await engine.writable()
        engine._reader.forget({stretch.segment for stretch in list(engine._reader._cache)})
        monkeypatch.setattr(engine._files, "need_upkeep", lambda: True)
        monkeypatch.setattr(BatchReader, "read", slow_read)
        monkeypatch.setattr(Leases, "ack", watched_ack)
        leased = await service.exchange("c", "pool", [], 0, 1, 1, PLENTY, True)
        assert leased is not None
    finally:
        monkeypatch.undo()
        await service.close()
    return free, rounds


def test_an_early_ack_waits_while_a_segment_is_sealed(tmp_path, monkeypatch):
    free, rounds = asyncio.run(lease_while_a_segment_is_sealed(tmp_path, monkeypatch))
    assert rounds == [True]
    assert free == [True]
    injected["a segment sealed in the middle of a lease"] += 1
