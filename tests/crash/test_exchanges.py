"""What goes wrong between a queue and a consumer: a reply that is lost, an ack while a segment is sealed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from daskqueue.actors.consumer import ConsumerService
from daskqueue.actors.queue import QueueService
from daskqueue.actors.queue_spec import QueueSpec
from daskqueue.batch import encode_items
from daskqueue.engine.batches import BatchReader
from daskqueue.engine.leases import Leases
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import QueueLostError
from daskqueue.message import Durability, PutOptions

from .injected import injected

PLENTY = 1 << 30
PLAIN = tuple(PutOptions()._replace(terms=tuple(PutOptions().terms)))


class Nowhere:
    """A node without a scheduler."""

    scheduler = None
    address = "nowhere"


async def opened(folder):
    """Return a queue as a host serves it, with segments that are full at once."""
    spec = QueueSpec(
        pool_id="hosted:exchanges",
        pool_name="exchanges",
        index=0,
        key="exchanges-queue-0",
        durability=Durability.DURABLE,
        dirpath=str(folder),
        former_incarnation=0,
        settings=QueueSettings(segment_bytes=1000),
        hosted=True,
        defaults={},
    )
    service = QueueService(spec, Nowhere(), asyncio.get_running_loop())
    await service.open(10)
    return service


# Acks before execution


async def lease_while_a_segment_is_sealed(folder, monkeypatch):
    """Return for each early ack whether the log was free for it, and whether upkeep had come between before."""
    service = await opened(folder)
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
        await service.put(b"p" * 16, [(0, encode_items(["x" * 300_000]), PLAIN)], 1.0)
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


# Replies that are lost


class DeafSource:
    """A queue as a consumer sees it whose replies are lost as often as *deaf* says."""

    def __init__(self, service, deaf):
        self.request = 0
        self.outbox = []
        self.may_have_work = True
        self._service = service
        self._deaf = deaf

    async def call(self, _, *args):
        reply = await self._service.exchange(*args)
        if self._deaf:
            self._deaf -= 1
            raise QueueLostError("the queue was lost before its reply came")
        return reply

    def look_for_it(self):
        """It is there again at once."""

    def heard(self):
        """Nobody rests here."""


async def what_is_taken(folder, wants):
    """Return the messages that a consumer takes whose first reply is lost, by what it wants from then on."""
    service = await opened(folder)
    taken = []
    consumer = SimpleNamespace(
        id="c",
        _runner="any",
        _spec=SimpleNamespace(pool_id="pool", batch_size=10, early_ack=False),
        _in_hand=SimpleNamespace(take=lambda _runner, _position, reply: taken.append(reply)),
    )
    source = DeafSource(service, 1)
    try:
        await service.put(b"p" * 16, [(0, encode_items(["the only one"]), PLAIN)], 1.0)
        for want in wants:
            await ConsumerService._exchange(consumer, 0, source, want)
    finally:
        await service.close()
    return [(first, count) for reply in taken for first, count, _ in reply[2]]


def test_a_lease_whose_reply_was_lost_is_had_at_the_next_request(tmp_path):
    assert asyncio.run(what_is_taken(tmp_path, [5, 5])) == [(0, 1)]
    injected["a reply with a lease lost"] += 1


def test_a_lease_whose_reply_was_lost_is_had_after_acks_without_a_request(tmp_path):
    """Or its messages would wait, and with them their groups, until the lease ends that nobody knows of."""
    assert asyncio.run(what_is_taken(tmp_path, [5, 0, 0, 5])) == [(0, 1)]
    injected["a reply with a lease lost"] += 1
