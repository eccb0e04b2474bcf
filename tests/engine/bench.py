"""An engine on a bench: its own event loop and thread, a clock that the test moves, and ways to break it."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from daskqueue.batch import Batch, encode_items
from daskqueue.clock import Clock
from daskqueue.core.invariants import check
from daskqueue.core.tally import Receipt
from daskqueue.engine.engine import Engine
from daskqueue.engine.opening import open_files
from daskqueue.engine.settings import QueueSettings
from daskqueue.message import PutOptions, Run
from daskqueue.results import decode_results, encode_failure, encode_results
from daskqueue.storage.memory import MemoryFileSystem

ALICE = b"alice".ljust(16)
BOB = b"bob".ljust(16)
PLENTY = 1 << 20


class HandClock(Clock):
    """Stands still until it is moved."""

    def __init__(self, moment=1_000_000.0):
        self.moment = moment

    def now(self):
        return self.moment

    def not_before(self, moment):
        self.moment = max(self.moment, moment)


class Hand:
    """What a consumer holds of one lease: the receipt, and the values by sequence."""

    def __init__(self, leased):
        self.receipt = Receipt(leased.lease, leased.epoch)
        self.values = {}
        for part in leased.slices:
            for step, value in enumerate(Batch.parse(part.data).items()):
                self.values[part.first + step] = value

    @property
    def runs(self):
        return [Run(sequence, sequence + 1) for sequence in self.values]


class Bench:
    """One queue that is opened, used, killed and opened again. Everything is called from outside of its loop."""

    new_loop = staticmethod(asyncio.new_event_loop)
    new_thread = staticmethod(partial(ThreadPoolExecutor, 1))

    def __init__(self, fs=None, folder=None, **settings):
        self.fs = fs if fs is not None else MemoryFileSystem()
        self.folder = folder if folder is not None else Path("/queues/test-queue-0")
        self.settings = QueueSettings(
            **{"backoff_seconds": 1.0, "lease_seconds": 10.0, "grace_seconds": 5.0, **settings}
        )
        self.clock = HandClock()
        self.loop = self.new_loop()
        self.engine = None
        self.heard = []
        self._numbers = itertools.count()
        self._requests = itertools.count()
        self._thread = None

    # Life

    def open(self, *, create=True):
        self._thread = self.new_thread()
        try:
            files = open_files(
                self.fs, self.folder, {"pid": 1, "epoch": None}, self.settings, self.clock, create=create
            )
        except BaseException:
            self._thread.shutdown()
            raise
        self.engine = Engine(
            files,
            self.settings,
            self.clock,
            self._thread,
            on_ready=lambda: self.heard.append("ready"),
            on_settled=lambda: self.heard.append("settled"),
        )
        return self

    def close(self):
        """End as a pool does that is not needed any more."""
        if self.engine is not None:
            engine, self.engine = self.engine, None
            self.run(engine.close())
            self._thread.shutdown()

    def kill(self):
        """End as a killed process does: nothing more is written, the lock is free."""
        if self.engine is not None:
            engine, self.engine = self.engine, None
            self._end_tasks()
            self._thread.shutdown()
            engine.abandon()

    def reopen(self, *, kill=False):
        self.kill() if kill else self.close()
        return self.open(create=False)

    def clear_away(self):
        self.kill()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def let_it_work(self):
        """Return when upkeep and syncs that have begun are over."""
        self.run(self.engine.writable())
        self.run(self.engine._commit.flush())
        self.run(self.engine.writable())
        self.run(self.engine._sweeper.wait())

    def _end_tasks(self):
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks))

    # Verbs

    def put(self, *values, number=None, producer=ALICE, **options):
        """Put values as one record batch; return the first sequence."""
        number = next(self._numbers) if number is None else number
        put = (number, encode_items(values), PutOptions(**options))
        (first,) = self.run(self.engine.put(producer, [put]))
        return first

    def lease(self, want=1000, consumer="carol", pool="pool", request=None, max_bytes=PLENTY):
        """Lease; return the hand, or None."""
        request = next(self._requests) if request is None else request
        leased = self.run(self.engine.leases.lease(consumer, pool, request, want, max_bytes))
        return None if leased is None else Hand(leased)

    def ack(self, hand, sequences=None, results=None):
        """Ack all or some of a hand; each result is ``("done", value)`` unless it is given."""
        sequences = sorted(hand.values) if sequences is None else sequences
        results = (
            [("done", hand.values.get(sequence)) for sequence in sequences] if results is None else results
        )
        blob, _ = encode_results(results)
        return self._soon(self.engine.leases.ack, hand.receipt, [Run(s, s + 1) for s in sequences], blob)

    def nack(self, hand, sequences=None, reason="raised", final=False):
        """Nack all or some of a hand; each failure is ``ValueError("no <sequence>")``."""
        sequences = sorted(hand.values) if sequences is None else sequences
        for sequence in sequences:
            blob = encode_failure(ValueError(f"no {sequence}"))
            self._soon(
                lambda s=sequence, b=blob: self.engine.leases.nack(
                    hand.receipt, [Run(s, s + 1)], b, reason, final=final
                )
            )

    def release(self, hand, sequences):
        return self._soon(self.engine.leases.release, hand.receipt, [Run(s, s + 1) for s in sequences])

    def expire(self):
        self.run(self.engine.leases.expire())

    def lose(self, *consumers):
        self.run(self.engine.leases.lose(consumers))

    def cancel(self, *sequences):
        return self.run(self.engine.cancel([Run(s, s + 1) for s in sequences]))

    def purge(self):
        return self.run(self.engine.purge())

    def _soon(self, verb, *args):
        async def on_the_loop():
            await self.engine.writable()
            return verb(*args)

        return self.run(on_the_loop())

    # Looks

    @property
    def counts(self):
        return dict(self.engine.counts()._asdict())

    def state(self, sequence):
        found = self.engine.states(Run(sequence, sequence + 1))
        return str(found[0][1]) if found else "unknown"

    def outcome(self, sequence):
        """Return how a message ended: its state and what was kept."""
        found = self.run(self.engine.endings.outcomes(Run(sequence, sequence + 1)))
        if not found:
            return None
        (ended,) = found
        assert ended.runs == (Run(sequence, sequence + 1),)
        if not len(ended.blob):
            return ended.state, ended.reason
        (value,) = decode_results(ended.blob)
        return ended.state, str(value.exception()) if ended.state == "failed" else value

    def results(self, pool="pool", max_bytes=PLENTY):
        """Return all results of a consumer pool by sequence, page by page."""
        found, after, pages = {}, None, 0
        while True:
            page = self.run(self.engine.endings.page(pool, after, max_bytes))
            pages += 1
            for part in page.outcomes:
                sequences = [s for run in part.runs for s in range(run.first, run.last)]
                found.update(zip(sequences, decode_results(part.blob), strict=True))
            after = page.after
            if after is None:
                self.pages = pages
                return found

    def drain(self, consumer="carol", want=1000):
        """Lease and ack until nothing is left; return all values by sequence."""
        seen = {}
        while (hand := self.lease(want, consumer)) is not None:
            seen.update(hand.values)
            self.ack(hand)
        return seen

    def check(self):
        """Check the invariants of the state, if there is one that counts."""
        if self.engine is not None and self.engine.failure is None:
            check(self.engine._queue)

    def disk_bytes(self):
        """Return how much the queue takes on its file system, without its reserve, which has a size of its own."""
        size = 0
        for name in set(self.fs.names(self.folder)) - {"reserve"}:
            handle = self.fs.open(self.folder / name)
            size += self.fs.size(handle)
            self.fs.close(handle)
        return size
