"""A process that is killed at any of its file calls, even in the middle of a write, leaves a queue that opens."""

from __future__ import annotations

import errno
from unittest.mock import patch

import pytest

from daskqueue.core.invariants import check
from daskqueue.engine import outcomes
from daskqueue.errors import DaskQueueError
from daskqueue.storage.memory import MemoryFileSystem

from .bench import BOB, Bench

SEGMENT = 1500


class DyingFileSystem(MemoryFileSystem):
    """Does *calls* changes of the disk, and none after; of the last write, if it is one, *torn* bytes."""

    def __init__(self, calls, torn):
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

    def revived(self):
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
        for turn in range(14):
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
            if turn == 6:
                bench.reopen()
        bench.close()

    def check_what_is_left(self):
        """Open what the end has left, and look for everything that was promised."""
        bench = Bench(self.bench.fs.revived(), self.bench.folder, segment_bytes=SEGMENT, max_losses=9)
        bench.clock.moment = self.bench.clock.moment
        try:
            bench.open()
            check(bench.engine._queue)
            known = {s for s in self.tried if bench.state(s) != "unknown"}
            assert self.put <= known
            assert {s for s in known if bench.state(s) == "settled"} >= self.acked
            results = bench.results()
            assert {s: results.get(s, (0, ""))[1][:7] for s in self.acked} == dict.fromkeys(
                self.acked, "message"
            )
            assert {s: bench.outcome(s) for s in self.dead} == {s: ("failed", f"no {s}") for s in self.dead}
            bench.clock.moment += 100
            bench.expire()
            rest = bench.drain()
            assert set(rest).isdisjoint(self.acked | self.dead)
            assert all(value.startswith(f"message {sequence} ") for sequence, value in rest.items())
            assert bench.counts["ready"] == bench.counts["leased"] == 0
            assert bench.put("after", producer=BOB) > max(known, default=-1)
        finally:
            bench.clear_away()


@pytest.mark.parametrize("torn", [0, 1, 33])
def test_wherever_a_process_is_killed_what_it_promised_is_kept(torn):
    with patch.object(outcomes, "SEGMENT_BYTES", SEGMENT):
        calls = 0
        while True:
            life = Life(DyingFileSystem(calls, torn))
            try:
                life.live()
            except (DaskQueueError, OSError):
                finished = False
            else:
                finished = life.bench.fs.left >= 0
            finally:
                life.bench.clear_away()
            try:
                life.check_what_is_left()
            except BaseException as error:
                error.add_note(f"killed after {calls} calls")
                raise
            if finished:
                break
            calls += 1
        assert calls > 100
