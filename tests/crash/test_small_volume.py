"""A real small volume that is really full: a queue on it, and a pool of a real cluster with its consumers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from clusters import Cluster, until
from engine.bench import Bench
from gates import Gate

from daskqueue import ConsumerPool, QueuePool
from daskqueue.errors import DiskFullError
from daskqueue.storage.fs import LocalFileSystem

from .injected import injected

SIZE = "2m"


@pytest.fixture
def volume(tmp_path):
    """A tmpfs of 2 MiB."""
    if os.geteuid():
        pytest.skip("only root can mount a tmpfs")
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Filler:
    """Somebody else's file, which takes all the room there is."""

    def __init__(self, folder):
        self._path = folder / "somebody-else"

    def fill(self):
        with self._path.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                injected["volume filled"] += 1

    def give_back(self):
        self._path.unlink()


def test_a_queue_fills_a_volume_is_worked_off_and_filled_again(volume):
    bench = Bench(LocalFileSystem(), volume / "queue", results="none", segment_bytes=256 << 10).open()
    try:
        for _ in range(2):
            accepted = {}
            with pytest.raises(DiskFullError, match="bytes are free"):  # noqa: PT012  as many as there is room for
                while True:
                    value = f"{len(accepted)} {'x' * 3000}"
                    accepted[bench.put(value)] = value
            injected["volume full"] += 1
            assert len(accepted) > 200
            bench.reopen(kill=True)
            assert bench.drain(want=7) == accepted
            until(lambda: not _full(bench))
    finally:
        bench.clear_away()


def _full(bench):
    bench.let_it_work()
    return bench.engine.reading().full


def test_a_queue_on_a_volume_that_others_have_filled_opens_leases_acks_and_keeps_results(volume):
    bench = Bench(LocalFileSystem(), volume / "queue").open()
    filler = Filler(volume)
    try:
        for number in range(20):
            bench.put(f"message {number}")
        filler.fill()
        with pytest.raises(DiskFullError):
            bench.put("x" * 10_000)
        bench.reopen(kill=True)
        hand = bench.lease(8)
        bench.ack(hand, [0, 1, 2])
        bench.nack(hand, [3], final=True)
        bench.reopen(kill=True)
        assert set(bench.results()) == {0, 1, 2}
        assert bench.outcome(3) == ("failed", "no 3")
        filler.give_back()
        assert bench.put("there is room again") == 20
        bench.clock.moment += 100
        bench.expire()
        assert set(bench.drain()) == set(range(4, 21))
    finally:
        bench.clear_away()


# A pool


class Marked:
    """A task that leaves a mark whenever it runs, then waits for the test; its result takes some room."""

    def __init__(self, folder, gate, size=0):
        self.folder, self.gate, self.size = str(folder), gate, size

    def __call__(self, number):
        fd = os.open(f"{self.folder}/{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, b".")
        os.close(fd)
        return self.gate.wait((number, bytes(self.size)))


def runs_of(folder):
    return {int(path.name): path.stat().st_size for path in Path(folder).iterdir()}


def test_a_pool_on_a_full_volume_refuses_says_why_finishes_its_jobs_and_goes_on(volume, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    filler = Filler(volume)
    with Gate(tmp_path / "gate") as gate, Cluster(n_workers=1) as cluster, cluster.connect() as client:
        pool = QueuePool(client, 1, durability="durable", dirpath=volume / "queues", put_timeout=0.2)
        consumers = ConsumerPool(client, pool, n_consumers=1)
        consumers.start()
        jobs = [pool.submit(Marked(marks, gate, 60_000 * (n // 2)), n) for n in range(4)]
        gate.expect()
        filler.fill()
        with pytest.raises(DiskFullError, match=r"default-queue-0 is full .*Delete something"):
            pool.submit(abs, "x" * 20_000)
        gate.let(2)
        assert [job.result(timeout=30) for job in jobs[:2]] == [(0, b""), (1, b"")]

        # What is left of the reserve goes, too: now nobody can be told how a task ended.
        gate.expect(2)
        _take_reserve(volume / "queues" / "default-queue-0")
        filler.fill()
        gate.let(1)
        with pytest.raises(TimeoutError):
            jobs[2].result(timeout=2)
        filler.give_back()
        gate.let(1)
        assert [job.result(timeout=30)[0] for job in jobs[2:]] == [2, 3]
        assert runs_of(marks) == dict.fromkeys(range(4), 1)
        until(lambda: _accepted(pool))
        consumers.cancel(timeout=0.0)


def _take_reserve(folder):
    os.truncate(folder / "reserve", 0)
    injected["reserve taken away"] += 1


def _accepted(pool):
    try:
        return pool.submit(abs, -1).result(timeout=30) == 1
    except DiskFullError:
        return False
