"""A process that ends at any of its file calls, even in the middle of a write, leaves a queue that opens.

Killed, it leaves all that it wrote; with a power cut only what it synced.
"""

from __future__ import annotations

import errno
import itertools
from contextlib import suppress
from unittest.mock import patch

import pytest

from daskqueue.engine import engine, outcome_log
from daskqueue.errors import DaskQueueError
from daskqueue.storage.memory import MemoryFileSystem

from .bench import BOB, Bench
from .power import PowerCutFileSystem

SEGMENT = 1500


class DyingFileSystem(PowerCutFileSystem):
    """Does *calls* changes of the disk, and none after; of the last write, if it is one, *torn* bytes."""

    def __init__(self, calls, torn=0):
        super().__init__()
        self.left = calls
        self._torn = torn

    def _use_up(self):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.EIO, "the process is dead")

    def write(self, handle, buffers):
        if self.left == 0 and self._torn:
            super().write(handle, [b"".join(buffers)[: self._torn]])
        self._use_up()
        return super().write(handle, buffers)

    def create(self, path):
        self._use_up()
        return super().create(path)

    def truncate(self, handle, length):
        self._use_up()
        super().truncate(handle, length)

    def rename(self, old, new):
        self._use_up()
        super().rename(old, new)

    def remove(self, path):
        self._use_up()
        super().remove(path)

    def make_folder(self, path, mode=0o700):
        self._use_up()
        super().make_folder(path, mode)

    def sync(self, handle):
        self._use_up()
        super().sync(handle)

    def sync_folder(self, path):
        self._use_up()
        super().sync_folder(path)

    def after_kill(self):
        """Return what the next process finds: all that was written, nothing locked."""
        fs = MemoryFileSystem()
        fs._folders, fs._files = self._folders, self._files
        for file in fs._files.values():
            file.holder = None
        return fs


class Life:
    """What was promised before the end: which puts returned, which acks and failures were taken."""

    def __init__(self, fs):
        self.bench = Bench(fs, segment_bytes=SEGMENT, max_losses=9)
        self.put = set()
        self.tried = set()
        self.acked = set()
        self.dead = set()

    def live(self):
        """Put, lease, ack, fail, open again; long enough for segments to roll, move and go."""
        bench = self.bench
        bench.open()
        for turn in range(9):
            first = 4 * turn
            self.tried.update(range(first, first + 4))
            assert bench.put(*(f"message {first + step} {'x' * 40}" for step in range(4))) == first
            self.put.update(range(first, first + 4))
            hand = bench.lease(4)
            *acked, bad = sorted(hand.values)
            bench.ack(hand, acked)
            self.acked.update(acked)
            if turn % 5 == 0:
                bench.nack(hand, [bad], final=True)
                self.dead.add(bad)
            else:
                bench.ack(hand, [bad])
                self.acked.add(bad)
            if turn == 4:
                bench.reopen()
        bench.close()

    def look_at_what_is_left(self, fs, *, power_cut):
        """Open what the end has left, and look for everything that was promised."""
        bench = Bench(fs, self.bench.folder, segment_bytes=SEGMENT, max_losses=9)
        bench.clock.moment = self.bench.clock.moment
        try:
            bench.open()
            bench.check()
            known = {s for s in self.tried if bench.state(s) != "unknown"}
            assert self.put <= known
            settled = {s for s in known if bench.state(s) == "settled"}
            dead = {s for s in known if bench.state(s) == "dead"}
            if not power_cut:
                assert settled >= self.acked
                assert dead >= self.dead
            results = bench.results()
            assert {s for s in settled if not results[s][1].startswith(f"message {s} ")} == set()
            assert {s: bench.outcome(s) for s in dead} == {s: ("failed", f"no {s}") for s in dead}
            bench.clock.moment += 100
            bench.expire()
            rest = bench.drain()
            assert set(rest) == known - settled - dead
            assert all(value.startswith(f"message {sequence} ") for sequence, value in rest.items())
            assert bench.put("after", producer=BOB) > max(known, default=-1)
        finally:
            bench.clear_away()


@pytest.mark.parametrize(
    ("power_cut", "torn", "large"),
    [(False, 0, 0), (False, 1, 0), (False, 33, 0), (True, 0, 0), (False, 7, 100), (True, 0, 100)],
    ids=["killed", "1", "33", "cut", "large batches killed", "large batches cut"],
)
def test_wherever_it_ends_what_was_promised_is_kept(power_cut, torn, large):
    large_bytes = large or engine.LARGE_BYTES
    with (
        patch.object(outcome_log, "SEGMENT_BYTES", SEGMENT),
        patch.object(engine, "LARGE_BYTES", large_bytes),
    ):
        for calls in itertools.count():
            life = Life(DyingFileSystem(calls, torn))
            with suppress(DaskQueueError, OSError):
                life.live()
            life.bench.clear_away()
            fs = life.bench.fs
            try:
                left = fs.after_power_cut() if power_cut else fs.after_kill()
                life.look_at_what_is_left(left, power_cut=power_cut)
            except BaseException as error:
                error.add_note(f"it ended after {calls} calls")
                raise
            if fs.left >= 0:
                break
        assert calls > 100
