"""Bytes that were good once: found out, put aside, and never run; the rest is served."""

from __future__ import annotations

import pytest

from daskqueue.batch import encode_items
from daskqueue.errors import FolderError, StorageError
from daskqueue.message import PutOptions, Run
from daskqueue.storage.fs import LocalFileSystem

from .bench import ALICE, Bench


@pytest.fixture
def disk(make_bench):
    """An open queue on the local disk."""
    return make_bench(LocalFileSystem())


def logs(bench):
    return sorted(bench.folder.glob("*.log"))


def flip(path, what):
    """Flip a bit of the first place in a file that reads *what*."""
    data = bytearray(path.read_bytes())
    data[data.index(what)] ^= 0x01
    path.write_bytes(data)


@pytest.mark.parametrize("cold", [False, True], ids=["while it is open", "before it is opened"])
def test_a_damaged_batch_becomes_dead_letters_instead_of_a_loop(disk, cold):
    disk.put("good 0", "good 1")
    disk.put("marked for damage", "its neighbour")
    disk.put("good 4")
    disk.reopen()
    if cold:
        disk.close()
    flip(logs(disk)[0], b"marked for damage")
    if cold:
        disk.open(create=False)
    seen = {}
    for _ in range(10):
        hand = disk.lease()
        if hand is not None:
            seen.update(hand.values)
            disk.ack(hand)
    assert seen == {0: "good 0", 1: "good 1", 4: "good 4"}
    assert disk.counts["ready"] == disk.counts["leased"] == 0


def test_damaged_messages_are_dead_letters_that_say_so(disk):
    disk.put("marked for damage")
    disk.reopen()
    flip(logs(disk)[0], b"marked for damage")
    hand = disk.lease()
    assert hand is None or hand.values == {}
    assert disk.state(0) == "dead"
    assert disk.outcome(0) == ("failed", "damaged")
    disk.reopen(kill=True)
    assert disk.state(0) == "dead"
    assert disk.lease() is None


@pytest.mark.parametrize("lost", range(1, 60, 7))
def test_a_torn_tail_loses_only_what_was_torn(disk, lost):
    disk.put("a")
    disk.put("b")
    size = logs(disk)[-1].stat().st_size
    disk.put("c" * 100)
    disk.kill()
    path = logs(disk)[-1]
    with path.open("r+b") as file:
        file.truncate(size + lost)
    disk.open(create=False)
    assert disk.engine._files.recovered.torn_bytes == lost
    assert disk.drain() == {0: "a", 1: "b"}


def test_zeros_at_the_end_are_a_torn_tail(disk):
    disk.put("a")
    disk.kill()
    with logs(disk)[-1].open("ab") as file:
        file.write(bytes(8192))
    disk.open(create=False)
    assert disk.drain() == {0: "a"}


def test_a_log_of_another_queue_is_refused(disk, make_bench, tmp_path):
    disk.put("a")
    disk.close()
    other = Bench(LocalFileSystem(), tmp_path / "other").open()
    other.put("b")
    other.close()
    (tmp_path / "other" / logs(disk)[0].name).rename(disk.folder / "00000000000000000007.log")
    with pytest.raises(FolderError, match="queue"):
        disk.open(create=False)
    other.clear_away()


def test_rubbish_instead_of_a_log_is_refused_and_left_alone(disk):
    disk.close()
    for path in disk.folder.iterdir():
        path.unlink()
    rubbish = disk.folder / "00000000000000000000.log"
    rubbish.write_bytes(b"not a log at all " * 100)
    with pytest.raises(StorageError):
        disk.open(create=False)
    assert rubbish.read_bytes() == b"not a log at all " * 100


class Trap:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self):
        return _spring, ()


SPRUNG = []


def _spring():
    SPRUNG.append(True)
    return "sprung"


def test_the_engine_unpickles_nothing(disk):
    data = encode_items([Trap()])
    disk.run(disk.engine.put(ALICE, [(1, data, PutOptions())]))
    leased = disk.run(disk.engine.leases.lease("carol", "pool", 1, 10, 1 << 20))
    disk.run(disk.engine.leases.lose(["carol"]))
    disk.reopen(kill=True)
    disk.run(disk.engine.endings.outcomes(Run(0, 1)))
    assert leased.slices[0].data
    assert SPRUNG == []
