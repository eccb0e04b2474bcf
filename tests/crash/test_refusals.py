"""What a queue refuses for a while is said again, and nobody else is held up by it."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from clusters import Cluster, until
from engine.bench import HandClock

from daskqueue import ConsumerPool, QueuePool
from daskqueue.actors import lease_watch
from daskqueue.actors.lease_watch import LeaseWatch
from daskqueue.engine.leases import Leases
from daskqueue.errors import DiskFullError

from .injected import injected


class Lender:
    """An engine whose disk refuses the first times that a lease is to end."""

    def __init__(self, refusals):
        self.refusals = refusals
        self.expired = asyncio.Event()
        self.leases = self

    async def expire(self):
        if self.refusals:
            self.refusals -= 1
            injected["end of a lease refused"] += 1
            raise DiskFullError("no room")
        self.expired.set()

    def consumers(self):
        return set()

    def seconds_to_next_event(self):
        return None if self.expired.is_set() else 0.0


class Nobody:
    consumers = frozenset()


def test_leases_end_although_the_disk_has_refused_it_before(monkeypatch, caplog):
    monkeypatch.setattr(lease_watch, "REFUSED_SECONDS", 0.0)

    async def story():
        lender = Lender(refusals=3)
        watch = LeaseWatch(lender, Nobody(), None, HandClock())
        await asyncio.wait_for(lender.expired.wait(), 10)
        watch.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert "could not be taken back" in caplog.text


# A worker whose queue 0 refuses acks; these run in its process.

_ack = Leases.ack


def refuse(part):
    """Let a queue refuse acks as on a full disk whose reserve is used up."""

    def refused(leases, *args):
        if part in str(leases._ledger.files.log._place.path):
            raise DiskFullError("no room")
        return _ack(leases, *args)

    Leases.ack = refused


def hear_again():
    Leases.ack = _ack


class Mark:
    """A task that leaves a mark each time it runs."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __call__(self, number):
        fd = os.open(f"{self.folder}/{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, b".")
        os.close(fd)
        return number


def test_one_queue_that_refuses_acks_holds_up_no_other_and_hears_of_all_that_was_done(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    with Cluster(n_workers=1) as cluster, cluster.connect() as client:
        pool = QueuePool(client, 2, durability="durable", dirpath=tmp_path / "queues")
        client.run(refuse, "default-queue-0")
        injected["acks refused"] += 1
        consumers = ConsumerPool(client, pool, n_consumers=1)
        consumers.start()
        jobs = [pool.submit(Mark(marks), number) for number in range(40)]
        until(lambda: sum(job.status == "finished" for job in jobs) == 20, seconds=20)
        client.run(hear_again)
        assert [job.result(timeout=30) for job in jobs] == list(range(40))
        assert {path.stat().st_size for path in Path(marks).iterdir()} == {1}
        consumers.cancel(timeout=0.0)
