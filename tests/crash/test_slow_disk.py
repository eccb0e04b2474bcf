"""A disk that takes its time holds up who waits for it, and nobody else: not the event loop, no other queue."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from clusters import Cluster, until
from engine.bench import ALICE, Bench

from daskqueue import ConsumerPool, QueuePool
from daskqueue.batch import encode_items
from daskqueue.core.tally import Receipt
from daskqueue.message import PutOptions, Run
from daskqueue.storage.fs import LocalFileSystem

from .injected import injected

# A disk that is held for so long was waited for by somebody who should not have.
GIVE_UP_SECONDS = 10.0


class SlowDisk(LocalFileSystem):
    """Its syncs wait while it is held; nobody who is in time ever waits for them to give up."""

    def __init__(self):
        self.reached = threading.Event()
        self.late = False
        self._go_on = threading.Event()
        self._go_on.set()

    def hold(self):
        self.reached.clear()
        self._go_on.clear()
        injected["sync held"] += 1

    def let_go(self):
        self._go_on.set()

    def _wait(self):
        self.reached.set()
        if not self._go_on.wait(GIVE_UP_SECONDS):
            self.late = True

    def sync(self, handle):
        self._wait()
        super().sync(handle)

    def sync_folder(self, path):
        self._wait()
        super().sync_folder(path)


class Shop:
    """One queue, used from within its loop."""

    def __init__(self, loop, fs, folder):
        self.bench = Bench.__new__(Bench)
        self.bench.new_loop = lambda: loop
        Bench.__init__(self.bench, fs, folder, segment_bytes=4000)
        self.engine = self.bench.open().engine
        self._numbers = itertools.count()

    @property
    def leases(self):
        return self.engine.leases

    async def put(self, value):
        batch = (next(self._numbers), encode_items([value]), PutOptions())
        return await self.engine.put(ALICE, [batch])

    async def lease(self):
        return await self.leases.lease("carol", "pool", next(self._numbers), 100, 1 << 20)

    async def ack(self, leased):
        runs = [Run(part.first, part.first + part.size) for part in leased.slices]
        await self.engine.writable()
        return self.leases.ack(Receipt(leased.lease, leased.epoch), runs, None)


class Pair:
    """Two queues of one worker, on one event loop: one on a slow disk, one on a good one."""

    def __init__(self, folder):
        self.loop = asyncio.new_event_loop()
        self.disk = SlowDisk()
        self.slow = Shop(self.loop, self.disk, folder / "slow-queue-0")
        self.other = Shop(self.loop, LocalFileSystem(), folder / "other-queue-0")

    async def held(self):
        """Return when a sync of the slow disk waits."""
        assert await asyncio.to_thread(self.disk.reached.wait, GIVE_UP_SECONDS)

    async def the_other_works(self):
        """Put, lease and ack at the other queue; a loop that is blocked would wait for the slow disk."""
        for _ in range(3):
            await self.other.put("value")
            await self.other.ack(await self.other.lease())
        assert not self.disk.late

    def hold_at(self, verb):
        """Hold the slow disk as soon as its queue's files are told to do something."""
        files = self.slow.engine._files
        meant = getattr(files, verb)

        def held(*args):
            self.disk.hold()
            return meant(*args)

        setattr(files, verb, held)

    def clear_away(self):
        self.disk.let_go()
        for shop in (self.slow, self.other):
            shop.bench.check()
            shop.bench.kill()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


@pytest.fixture
def pair(tmp_path):
    made = Pair(tmp_path)
    yield made
    made.clear_away()


def test_while_a_sync_waits_other_queues_put_lease_and_ack_and_its_own_consumers_stay_alive(pair):
    async def story():
        slow, disk = pair.slow, pair.disk
        await slow.put("first")
        leased = await slow.lease()
        disk.hold()
        putting = asyncio.ensure_future(slow.put("second"))
        await pair.held()
        assert slow.leases.extend("carol", [leased.lease]) == (leased.lease,)
        await slow.engine.writable()
        assert slow.leases.progress(Receipt(leased.lease, leased.epoch), 0, b"half")
        assert await slow.ack(leased) == 0
        await pair.the_other_works()
        assert not putting.done()
        disk.let_go()
        assert await putting == [1]

    pair.loop.run_until_complete(story())


def test_while_a_segment_is_sealed_who_writes_waits_and_the_loop_does_not(pair):
    async def story():
        slow = pair.slow
        for number in range(3):
            await slow.put(f"{number} {'x' * 1000}")
        leased = await slow.lease()
        pair.hold_at("roll")
        await slow.put("y" * 2000)  # the segment is full now
        await pair.held()
        waiting = [
            asyncio.ensure_future(each) for each in (slow.ack(leased), slow.put("z"), slow.leases.expire())
        ]
        assert slow.leases.extend("carol", [leased.lease]) == (leased.lease,)
        await pair.the_other_works()
        assert not any(task.done() for task in waiting)
        pair.disk.let_go()
        await asyncio.gather(*waiting)
        assert len(slow.engine._files.log.segments) == 2

    pair.loop.run_until_complete(story())


@pytest.mark.parametrize("command", ["cancel", "purge", "pause"])
def test_whoever_waits_for_a_slow_disk_waits_alone(pair, command):
    async def story():
        await pair.slow.put("first")
        pair.disk.hold()
        engine = pair.slow.engine
        verbs = {
            "cancel": partial(engine.cancel, [Run(0, 1)]),
            "purge": engine.purge,
            "pause": partial(engine.pause, True),
        }
        waiting = asyncio.ensure_future(verbs[command]())
        await pair.held()
        await pair.the_other_works()
        assert not waiting.done()
        pair.disk.let_go()
        await waiting

    pair.loop.run_until_complete(story())


def test_a_queue_that_closes_on_a_slow_disk_holds_up_no_other(pair):
    async def story():
        await pair.slow.put("first")
        pair.hold_at("write_checkpoint")
        closing = asyncio.ensure_future(pair.slow.engine.close())
        await pair.held()
        await pair.the_other_works()
        assert not closing.done()
        pair.disk.let_go()
        await closing

    pair.loop.run_until_complete(story())
    pair.slow.bench.engine = None
    pair.slow.bench._thread.shutdown()


# A real worker: hold and let_go run in its process.

_permit = threading.Event()
_sync = LocalFileSystem.sync


def hold(part):
    """Let the syncs of files wait whose path has *part* in it."""

    def wait(fs, handle):
        if part in str(Path(f"/proc/self/fd/{handle}").readlink()):
            _permit.wait(GIVE_UP_SECONDS)
        _sync(fs, handle)

    _permit.clear()
    LocalFileSystem.sync = wait


def let_go():
    _permit.set()
    LocalFileSystem.sync = _sync


def last_seen(dask_scheduler):
    return min(worker.last_seen for worker in dask_scheduler.workers.values())


def test_a_worker_with_a_slow_disk_answers_heartbeats_and_serves_its_other_queues(tmp_path):
    with Cluster(n_workers=1) as cluster, cluster.connect() as client, ThreadPoolExecutor(8) as threads:
        pool = QueuePool(client, 2, durability="durable", dirpath=tmp_path / "queues")
        consumers = ConsumerPool(client, pool, n_consumers=1)
        consumers.start()
        warm = [pool.submit(abs, -number) for number in range(4)]
        assert [job.result(timeout=30) for job in warm] == [0, 1, 2, 3]
        client.run(hold, "default-queue-0")
        injected["sync of a worker held"] += 1
        try:
            before = client.run_on_scheduler(last_seen)
            submits = [threads.submit(pool.submit, abs, -number) for number in range(8)]
            until(lambda: sum(submit.done() for submit in submits) == 4, seconds=5)
            served = [submit.result() for submit in submits if submit.done()]
            results = [job.result(timeout=5) for job in served]
            assert len(set(results)) == 4
            until(lambda: client.run_on_scheduler(last_seen) > before, seconds=5)
            assert sum(submit.done() for submit in submits) == 4
        finally:
            client.run(let_go)
        assert sorted(submit.result().result(timeout=30) for submit in submits) == list(range(8))
        consumers.cancel(timeout=0.0)
