"""A damaged folder is written anew: all that is whole of it, under the same numbers, and the old one untouched."""

from __future__ import annotations

from random import Random

import pytest
from engine.bench import BOB

from daskqueue.errors import FolderError, StorageError
from daskqueue.inspecting.findings import SOUND
from daskqueue.inspecting.repairing import repair
from daskqueue.inspecting.verifying import verify, verify_queue
from daskqueue.message import Run
from daskqueue.storage.fs import LocalFileSystem

from .folders import BIG, NAME, damage, exported, sequences, tree, waiting
from .injected import injected, seeds
from .story import told


def test_a_repaired_queue_goes_on_as_the_old_one_would_have(folder, tmp_path, opened):
    repair(folder, tmp_path / "new" / NAME)
    old, new = opened(folder), opened(tmp_path / "new" / NAME)
    for bench in (old, new):
        assert bench.engine._queue.paused
        assert bench.outcome(0) == ("returned", ("done", "zero"))
        assert bench.outcome(3) == ("cancelled", "")
        assert bench.outcome(5) == ("failed", "no 5")
        assert bench.outcome(6) == ("failed", "crash_loop")
        assert bench.results() == {s: ("done", v) for s, v in enumerate(["zero", "one", "two"])} | {
            4: ("done", "keyed")
        }
        assert bench.put("zero", "one", "two", number=100, producer=BOB) == 0, "a put that was sent twice"
        assert bench.engine._queue.keys.holder("kept", bench.clock.now()) == 4
        assert bench.engine._queue.keys.holder("taken", bench.clock.now()) == 14
        assert bench.engine.notes(Run(0, 100)) == [(8, b"half")]
        assert {lease.consumer for lease in bench.engine._queue.leases.values()} == {"carol", "dora"}
        assert bench.put("new", number=999) == 18
        bench.check()
    assert new.engine._queue.counters.numbers() == old.engine._queue.counters.numbers()
    assert new.engine.epoch > 2
    assert waiting(old) == waiting(new)
    assert waiting(new) == {}


def test_a_repaired_queue_survives_another_crash(folder, tmp_path, opened):
    repair(folder, tmp_path / "new" / NAME)
    new = opened(tmp_path / "new" / NAME)
    (tmp_path / "new" / NAME / f"{NAME}.index").unlink()
    new.reopen(kill=True)
    assert new.counts["dead"] == 3
    assert len(waiting(new)) == 12
    assert verify_queue(new.folder, LocalFileSystem()).exit_code == SOUND


@pytest.mark.parametrize("seed", seeds(24))
def test_what_is_whole_of_a_damaged_folder_is_saved(folder, tmp_path, opened, seed):
    rng = Random(seed)
    path = rng.choice(
        [each for each in folder.rglob("*") if each.suffix in (".log", ".results", ".index", ".batch")]
    )
    offset = rng.randrange(path.stat().st_size)
    damage(path, offset)
    before = tree(folder)
    (report,) = verify(folder).queues
    done = repair(folder, tmp_path / "new")
    assert tree(folder) == before
    left = sequences(report.unreadable) | sequences(report.lost)
    assert sequences(done.queues[NAME].left_behind) == left, f"seed {seed}: {path.name}, byte {offset}"
    assert verify(tmp_path / "new").exit_code == SOUND
    old, new = opened(folder), opened(tmp_path / "new")
    assert waiting(new) == waiting(old), f"seed {seed}: {path.name}, byte {offset}"
    assert all(new.outcome(sequence) == ("failed", "damaged") for sequence in left)
    assert new.put("new", number=999) >= 18
    injected["a damaged folder, repaired"] += 1


@pytest.mark.parametrize("seed", seeds(8))
def test_what_a_crash_leaves_of_any_history_is_repaired_to_the_same(tmp_path, opened, seed):
    rng = Random(seed)
    with told(rng, 40) as (story, rig, disk):
        left = disk.killed(rng.randint(story.opened, len(disk.calls)))
        exported(left, rig.folder, tmp_path / "old")
    (tmp_path / "old" / f"{rig.folder.name}.index").rename(tmp_path / "old" / "old.index")
    assert repair(tmp_path / "old", tmp_path / "new").left_behind == 0, f"seed {seed}"
    old, new = opened(tmp_path / "old"), opened(tmp_path / "new")
    new.check()
    assert new.counts == old.counts
    assert waiting(new) == waiting(old)
    assert [new.outcome(s) for s in range(200)] == [old.outcome(s) for s in range(200)], f"seed {seed}"
    injected["a crash, and a repair of what it left"] += 1


def test_of_damaged_messages_the_jobs_hear_that_they_failed(folder, tmp_path, opened):
    path = max(folder.glob("*.log"))
    damage(path, path.read_bytes().index(b"plain, too"))
    done = repair(folder, tmp_path / "new")
    assert done.left_behind == 3
    new = opened(tmp_path / "new")
    assert [new.outcome(s) for s in (11, 12, 13)] == [("failed", "damaged")] * 3
    assert {11, 12, 13}.isdisjoint(waiting(new))
    new.check()
    injected["a damaged folder, repaired"] += 1


def test_records_of_a_later_version_are_kept(folder, tmp_path, opened):
    bench = opened(folder)
    bench.engine._files.log.append([(99, [b"what nobody knows yet"])])
    bench.kill()
    (report,) = verify(folder).queues
    assert (report.exit_code, report.log.unknown_kinds) == (SOUND, {99: 1})
    assert repair(folder, tmp_path / "new").queues[NAME].unknown == 1
    (report,) = verify(tmp_path / "new").queues
    assert report.log.unknown_kinds == {99: 1}
    assert list(opened(tmp_path / "new").engine._book.unknown.values()) == [{99}]


def test_a_folder_that_somebody_opens_meanwhile_is_not_taken_for_repaired(folder, tmp_path, opened):
    class Busy(LocalFileSystem):
        """A disk on which a queue opens the old folder when the new one is nearly done."""

        def rename(self, old, new):
            if new.suffix == ".index" and old.is_relative_to(tmp_path / "new.unfinished"):
                opened(folder).close()
            super().rename(old, new)

    with pytest.raises(StorageError, match="opened by a queue while it was repaired"):
        repair(folder, tmp_path / "new", Busy())
    assert not (tmp_path / "new").exists()


def test_a_repair_into_a_folder_that_is_not_empty_is_refused(folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "holiday.jpg").write_bytes(b"jpg")
    before = tree(tmp_path)
    with pytest.raises(FolderError, match="not empty"):
        repair(folder, tmp_path / "full")
    with pytest.raises(FolderError, match="is a file"):
        repair(folder, tmp_path / "full" / "holiday.jpg")
    with pytest.raises(FolderError, match="must not be touched"):
        repair(folder, folder / "new")
    assert tree(tmp_path) == before


class Full(LocalFileSystem):
    """A disk that is full after some bytes, outside of the old folder."""

    def __init__(self, left):
        self.left = left

    def write(self, handle, buffers):
        self.left -= sum(map(len, buffers))
        if self.left < 0:
            raise OSError(28, "No space left on device")
        return super().write(handle, buffers)


@pytest.mark.parametrize("room", [0, 100, 1000, 3000])
def test_a_repair_that_finds_no_room_leaves_nothing_that_could_be_served(folder, tmp_path, room):
    before = tree(folder)
    with pytest.raises(StorageError, match="No space left"):
        repair(folder, tmp_path / "new", Full(room))
    assert tree(folder) == before
    assert not (tmp_path / "new").exists()
    with pytest.raises(FolderError, match="was interrupted; delete it"):
        repair(folder, tmp_path / "new")
    injected["a full disk in a repair"] += 1


def test_a_repair_writes_into_an_empty_folder_as_well(folder, tmp_path):
    (tmp_path / "new").mkdir()
    assert repair(folder, tmp_path / "new").left_behind == 0
    assert verify(tmp_path / "new").exit_code == SOUND


def test_big_batches_are_saved_with_the_others(folder, tmp_path, opened):
    repair(folder, tmp_path / "new")
    assert waiting(opened(tmp_path / "new"))[15] == BIG
