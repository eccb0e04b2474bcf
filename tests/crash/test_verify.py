"""Folders looked at from outside: what is said of them is true, nothing changes, and what is whole is saved."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tracemalloc
from contextlib import closing
from pathlib import Path
from random import Random
from zlib import crc32

import pytest
from engine.bench import ALICE, BOB, Bench

from daskqueue.batch import encode_items
from daskqueue.errors import FolderError, FolderInUseError, FormatError, StorageError
from daskqueue.inspecting.agreement import live
from daskqueue.inspecting.dumping import frames
from daskqueue.inspecting.findings import SOUND, UNUSABLE, WRONG
from daskqueue.inspecting.folding import replay_queue
from daskqueue.inspecting.repairing import repair
from daskqueue.inspecting.verifying import verify, verify_queue
from daskqueue.message import PutOptions, Run
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.memory import MemoryFileSystem

from .disk import ModelDisk
from .folders import BIG, NAME, busy, copied, exported, flipped, sequences, tree, waiting, words
from .injected import ROUNDS, injected, seeds
from .rig import HandLoop, Rig, small
from .story import Story, settings_of

TESTS = Path(__file__).parents[1]
MEMORY = Path("/queues")
ASKED = 11  # it is to be cancelled, so it never runs again; unless that very fact is damaged


@pytest.fixture(scope="module")
def image():
    """A folder in memory with one of everything, left by a process that was killed; to be copied and damaged."""
    bench = busy(MEMORY, MemoryFileSystem())
    bench.clear_away()
    return bench.fs


@pytest.fixture
def folder(image, tmp_path):
    """The same on the disk."""
    exported(image, MEMORY / NAME, tmp_path / NAME)
    return tmp_path / NAME


@pytest.fixture
def opened():
    """Opens folders, and clears them away."""
    benches = []

    def open_folder(path, fs=None):
        bench = Bench(fs or LocalFileSystem(), path, max_losses=2)
        benches.append(bench)
        return bench.open(create=False)

    yield open_folder
    for bench in benches:
        bench.clear_away()


def damage(path, offset=None):
    """Flip a bit in the middle of a file, or at a byte."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if offset is None else offset] ^= 0x10
    path.write_bytes(data)


# Nothing changes


def look_at_everything(path, target):
    """Use everything that only looks; return the exit code of the verification."""
    report = verify(path)
    for queue in report.queues:
        place = path if queue.name == path.name else path / queue.name
        for suffix in (".log", ".results"):
            assert list(frames(LocalFileSystem(), place, suffix, payloads=True))
        assert replay_queue(place, LocalFileSystem())["agree"]
    repair(path, target)
    return report.exit_code


def test_a_folder_that_is_looked_at_and_repaired_is_as_it_was(folder, tmp_path):
    before = tree(folder)
    assert look_at_everything(folder, tmp_path / "new") == SOUND
    assert tree(folder) == before


def test_a_folder_on_a_read_only_file_system_is_looked_at_all_the_same(folder, tmp_path):
    code = "from daskqueue.cli.main import app; app()"
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
    script = f'{mount} && exec {sys.executable} -c "{code}" verify "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "permitted" in done.stderr:
        pytest.skip("only root may mount")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (SOUND, f"{folder}: sound")
    injected["a read-only file system"] += 1


def test_a_queue_that_is_open_is_not_disturbed(tmp_path):
    bench = busy(tmp_path)
    with closing(bench.loop):
        for _ in range(3):
            (report,) = verify(bench.folder).queues
            assert report.in_use["pid"] == 1
            assert report.exit_code == SOUND
            assert "in use by pid 1" in report.findings[0].what
            bench.put("and on")
            bench.let_it_work()
        before = tree(bench.folder)
        verify(bench.folder)
        assert tree(bench.folder) == before
        with pytest.raises(FolderInUseError, match="stop the queue"):
            repair(bench.folder, tmp_path / "new")
        assert not (tmp_path / "new").exists()
        assert len(waiting(bench)) == 15
        bench.close()


def test_who_takes_the_lock_is_told_of_those_who_look_by_nothing(folder, opened):
    opened(folder).close()
    assert verify(folder).queues[0].in_use is None
    assert opened(folder).counts["dead"] == 3


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    bench = busy(tmp_path)
    bench.run(bench.engine.put(ALICE, [(900, encode_items([Trap()]), PutOptions())]))
    bench.clear_away()
    monkeypatch.setattr(pickle, "loads", forbidden)
    monkeypatch.setattr(pickle, "Unpickler", forbidden)
    assert look_at_everything(bench.folder, tmp_path / "new") == SOUND
    assert SPRUNG == []
    injected["a payload that would run when it is unpickled"] += 1


SPRUNG: list[str] = []


def forbidden(*_args, **_kwargs):
    raise AssertionError("something was unpickled")


class Trap:
    def __reduce__(self):
        return SPRUNG.append, ("sprung",)


# What is said is true


def predicted_and_found(fs, bench):
    """Return what verify says of a folder in memory, and what its opening then finds; both must be the same."""
    before = {path: bytes(file.data) for path, file in fs._files.items()}
    report = verify_queue(MEMORY / NAME, fs)
    assert {path: bytes(file.data) for path, file in fs._files.items()} == before
    if report.exit_code == UNUSABLE:
        with pytest.raises(StorageError):
            bench.open(create=False)
        return report
    bench.open(create=False)
    lost, said = sequences(report.lost), report.messages
    counts = bench.counts
    expected = {**said, "ready": said["ready"] - len(lost), "dead": said["dead"] + len(lost)}
    assert counts == {state: expected[state] for state in counts}
    there = sequences(live(bench.engine._queue))
    gone = sequences(report.unreadable) | lost
    assert set(waiting(bench)) - {ASKED} == there - gone - {ASKED}
    return report


@pytest.mark.parametrize(("name", "every"), [(".log", 13), (".results", 7), (".index", 5), (".batch", 101)])
def test_of_every_flipped_bit_verify_says_what_an_opening_then_finds(image, name, every):
    files = [path for path in image._files if path.name.endswith(name)]
    for path in files:
        for offset in range(0, len(image._files[path].data), max(every // ROUNDS, 1)):
            fs = flipped(image, path, offset)
            bench = Bench(fs, MEMORY / NAME, max_losses=2)
            try:
                report = predicted_and_found(fs, bench)
                assert report.exit_code >= WRONG, "the flipped bit was not seen"
            except BaseException as error:
                error.add_note(f"{path}, byte {offset}")
                raise
            finally:
                bench.clear_away()
            injected["a flipped bit, looked at from outside"] += 1


@pytest.mark.parametrize("suffix", [".log", ".results"])
def test_a_torn_tail_is_nothing_to_worry_about(image, suffix):
    newest = max(path for path in image._files if path.name.endswith(suffix))
    size = len(image._files[newest].data)
    for cut in range(1, 40):
        fs = copied(image)
        del fs._files[newest].data[size - cut :]
        report = verify_queue(MEMORY / NAME, fs)
        assert report.exit_code == SOUND, words(report)
        injected["a torn tail, looked at from outside"] += 1


@pytest.mark.parametrize("seed", seeds(6))
def test_whatever_a_crash_leaves_is_sound_and_says_the_same_with_and_without_its_checkpoint(seed):
    rng = Random(seed)
    settings, sizes = settings_of(rng)
    with small(**sizes), closing(HandLoop()) as loop:
        disk = ModelDisk()
        rig = Rig(loop, disk, **settings).open()
        story = Story(rig, rng)
        story.tell(30)
        for calls in rng.sample(range(story.opened, len(disk.calls) + 1), 12):
            for left in (disk.killed(calls), disk.power_cut(rng, calls, 0)):
                report = verify_queue(rig.folder, left)
                assert report.exit_code == SOUND, f"seed {seed}, after {calls} calls: {words(report)}"
                injected["a crash, looked at from outside"] += 1
        rig.clear_away()


def test_the_folders_of_released_versions_are_sound():
    for golden in sorted((TESTS / "engine" / "golden").glob("v*")):
        for path in golden.glob("*-queue-*"):
            report = verify(path)
            assert report.exit_code == SOUND, words(report.queues[0])


# What is wrong is said in words


def test_a_large_file_that_is_gone_or_damaged_is_named_with_its_messages(folder):
    (large,) = (folder / "large").iterdir()
    damage(large)
    (report,) = verify(folder).queues
    assert report.unreadable == [(15, 17)]
    assert "15 to 16" in words(report)
    large.unlink()
    (report,) = verify(folder).queues
    assert report.unreadable == [(15, 17)]
    assert f"large/{large.name} is gone" in words(report)
    assert report.exit_code == WRONG
    injected["a large file damaged or gone"] += 2


def test_files_that_nobody_needs_are_told_and_harmless(folder):
    (folder / "large" / ("0" * 32 + ".batch")).write_bytes(b"left behind")
    (folder / "large" / ("1" * 32 + ".batch.tmp")).write_bytes(b"half")
    stray = folder / "00000000000000000003.log"
    stray.write_bytes(min(folder.glob("*.log")).read_bytes()[:40])
    (report,) = verify(folder).queues
    assert report.exit_code == SOUND
    assert "2 files in large/ are not needed" in words(report)


@pytest.mark.parametrize("which", [0, 1])
def test_a_segment_that_was_deleted_is_missed(folder, which):
    sorted(folder.glob("*.log"))[which].unlink()
    (report,) = verify(folder).queues
    assert report.exit_code == WRONG
    assert report.unreadable or "the last segments were deleted" in words(report)
    injected["a deleted segment"] += 1


def test_a_checkpoint_that_is_gone_costs_time_and_nothing_else(folder):
    (folder / f"{NAME}.index").unlink()
    (report,) = verify(folder).queues
    assert (report.exit_code, report.checked) == (SOUND, 13)
    assert "reads the whole log" in words(report)


def test_a_folder_of_another_name_does_not_find_its_checkpoint_and_says_so(folder):
    renamed = folder.rename(folder.with_name("copy-of-it"))
    report = verify(renamed)
    assert report.exit_code == WRONG
    assert f"{NAME}.index is its own" in words(report.queues[0])


def test_a_log_that_is_gone_is_no_new_queue(folder, tmp_path):
    for path in folder.glob("*.log"):
        path.unlink()
    report = verify(folder)
    assert report.exit_code == UNUSABLE
    assert "its log is gone" in words(report.queues[0])
    with pytest.raises(FolderError, match="lost its log"):
        repair(folder, tmp_path / "new")


def test_a_folder_whose_first_opening_was_interrupted_holds_no_queue_yet(tmp_path):
    (tmp_path / "lock").write_bytes(b"{}")
    report = verify(tmp_path)
    assert report.exit_code == SOUND
    assert "holds no queue yet" in words(report.queues[0])


def test_a_log_of_a_newer_version_is_left_to_it(folder):
    path = min(folder.glob("*.log"))
    path.write_bytes(newer(path.read_bytes()))
    report = verify(folder)
    assert report.exit_code == UNUSABLE
    assert "version" in words(report.queues[0])


def newer(data):
    """Return a segment as version 99 of the format might begin it."""
    head = bytearray(data[:64])
    head[8:10] = (99).to_bytes(2, "little")
    head[60:64] = crc32(head[:60]).to_bytes(4, "little")
    return bytes(head) + data[64:]


def test_a_huge_sparse_tail_is_read_in_little_memory(folder):
    newest = max(folder.glob("*.log"))
    with newest.open("r+b") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    report = verify(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.exit_code == SOUND
    assert report.queues[0].log.torn_bytes > 60 << 20
    assert peak < 16 << 20
    injected["a huge sparse tail"] += 1


# Whatever is no folder of queues


def test_other_folders_are_refused_in_words(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "holiday.jpg").write_bytes(b"jpg")
    for name, sentence in {
        "missing": "there is no folder",
        "file": "is a file",
        "empty": "it is empty",
        "other": "it holds 1 other files",
    }.items():
        with pytest.raises(FolderError, match=sentence):
            verify(tmp_path / name)


class Forbidding(LocalFileSystem):
    """A folder of somebody else's."""

    def names(self, path):
        raise PermissionError(13, "Permission denied", str(path))


def test_a_folder_that_may_not_be_read_is_refused_in_words(folder):
    with pytest.raises(FolderError, match="Permission denied; look at it as the user that the queue runs as"):
        verify(folder, Forbidding())
    injected["a folder that may not be read"] += 1


def pool_of(image, tmp_path, *names):
    parent = tmp_path / "pool"
    parent.mkdir()
    for name in names:
        exported(image, MEMORY / NAME, parent / name)
        (parent / name / f"{NAME}.index").rename(parent / name / f"{name}.index")
    (parent / "pool.json").write_text('{"format": 1, "pool": "an id", "name": "busy", "queues": 2}')
    return parent


def test_a_pool_is_its_queues(image, tmp_path, opened):
    pool = pool_of(image, tmp_path, "busy-queue-0", "busy-queue-1")
    before = tree(pool)
    report = verify(pool)
    assert (report.pool, report.exit_code) == ("busy", SOUND)
    assert [queue.name for queue in report.queues] == ["busy-queue-0", "busy-queue-1"]
    damage(max((pool / "busy-queue-1").glob("*.log")))
    assert [queue.exit_code for queue in verify(pool).queues] == [SOUND, WRONG]
    repair(pool, tmp_path / "new")
    assert verify(tmp_path / "new").exit_code == SOUND
    assert (tmp_path / "new" / "pool.json").read_text() == json_of(pool)
    assert opened(tmp_path / "new" / "busy-queue-0").counts["dead"] == 3
    assert set(tree(pool)) == set(before)


def json_of(pool):
    return json.dumps(json.loads((pool / "pool.json").read_text()), indent=2)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"format": 1}'])
def test_a_damaged_pool_json_is_told_and_written_anew(image, tmp_path, content):
    pool = pool_of(image, tmp_path, "busy-queue-0", "busy-queue-1")
    if content is None:
        (pool / "pool.json").unlink()
    else:
        (pool / "pool.json").write_text(content)
    report = verify(pool)
    assert report.exit_code == UNUSABLE
    assert [queue.exit_code for queue in report.queues] == [SOUND, SOUND]
    done = repair(pool, tmp_path / "new")
    assert "written anew" in done.notes[0]
    assert (verify(tmp_path / "new").pool, verify(tmp_path / "new").exit_code) == ("busy", SOUND)
    injected["a damaged pool.json"] += 1


def test_a_pool_json_of_a_newer_version_is_left_to_it(image, tmp_path):
    pool = pool_of(image, tmp_path, "busy-queue-0")
    (pool / "pool.json").write_text('{"format": 9, "pool": "an id", "name": "busy", "queues": 1}')
    with pytest.raises(FormatError, match="9"):
        verify(pool)


# What is repaired is what there was


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
    settings, sizes = settings_of(rng)
    with small(**sizes), closing(HandLoop()) as loop:
        disk = ModelDisk()
        rig = Rig(loop, disk, **settings).open()
        story = Story(rig, rng)
        story.tell(40)
        left = disk.killed(rng.randint(story.opened, len(disk.calls)))
        exported(left, rig.folder, tmp_path / "old")
        rig.clear_away()
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
