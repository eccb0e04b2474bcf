"""Folders looked at from outside: what is said of them is true, nothing changes, and what is whole is saved."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import tracemalloc
from contextlib import closing
from pathlib import Path
from random import Random
from threading import Event, Thread
from zlib import crc32

import pytest
from engine.bench import ALICE, Bench

from daskqueue.actors import pool_folder
from daskqueue.batch import encode_items
from daskqueue.errors import FolderError, FolderInUseError, FormatError, StorageError
from daskqueue.inspecting.agreement import live
from daskqueue.inspecting.dumping import frames
from daskqueue.inspecting.findings import SOUND, UNUSABLE, WRONG
from daskqueue.inspecting.folding import replay_queue
from daskqueue.inspecting.repairing import repair
from daskqueue.inspecting.verifying import verify, verify_queue
from daskqueue.message import PutOptions
from daskqueue.storage.fs import LocalFileSystem

from .folders import (
    MEMORY,
    NAME,
    busy,
    copied,
    damage,
    flipped,
    mangled,
    pool_of,
    sequences,
    tree,
    waiting,
    words,
)
from .injected import ROUNDS, injected, seeds
from .story import told

TESTS = Path(__file__).parents[1]
ASKED = 11  # it is to be cancelled, so it never runs again; unless that very fact is damaged


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


def test_a_queue_that_removes_files_meanwhile_is_not_called_damaged(tmp_path):
    bench = Bench(LocalFileSystem(), tmp_path / NAME, segment_bytes=8000)
    rounds, enough, over = itertools.count(1), Event(), Event()

    def live():
        bench.open()
        while not over.is_set():
            bench.put(*["a message"] * 20)
            bench.ack(bench.lease(30))
            if next(rounds) == 30:
                enough.set()
        bench.clear_away()

    thread = Thread(target=live)
    thread.start()
    try:
        assert enough.wait(60)
        for _ in range(20):
            (report,) = verify(bench.folder).queues
            assert report.exit_code == SOUND, words(report)
    finally:
        over.set()
        thread.join()
    assert verify(bench.folder).queues[0].in_use is None


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


@pytest.mark.parametrize("seed", seeds(150))
def test_of_a_mangled_folder_verify_says_what_an_opening_then_finds(image, seed):
    fs = mangled(image, Random(seed))
    bench = Bench(fs, MEMORY / NAME, max_losses=2)
    try:
        predicted_and_found(fs, bench)
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
    finally:
        bench.clear_away()
    injected["a mangled folder, looked at from outside"] += 1


@pytest.mark.parametrize("seed", seeds(60))
def test_a_queue_that_has_gone_round_damage_leaves_a_folder_that_still_makes_sense(image, seed):
    rng = Random(seed)
    fs = mangled(image, rng)
    bench = Bench(fs, MEMORY / NAME, max_losses=2)
    try:
        bench.open(create=False)
        bench.put("after it", number=999)
        if hand := bench.lease(2):
            bench.ack(hand)
        bench.kill() if rng.random() < 0.5 else bench.close()
        report = verify_queue(MEMORY / NAME, fs)
        assert report.exit_code < UNUSABLE, f"seed {seed}: {words(report)}"
        assert "the checkpoint says other things" not in words(report), f"seed {seed}: {words(report)}"
    except StorageError:  # it does not open, which another test looks at
        assert verify_queue(MEMORY / NAME, fs).exit_code == UNUSABLE, f"seed {seed}"
    finally:
        bench.clear_away()
    injected["a mangled folder, opened, and then looked at from outside"] += 1


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
    with told(rng, 30) as (story, rig, disk):
        for calls in rng.sample(range(story.opened, len(disk.calls) + 1), 12):
            for left in (disk.killed(calls), disk.power_cut(rng, calls, 0)):
                report = verify_queue(rig.folder, left)
                assert report.exit_code == SOUND, f"seed {seed}, after {calls} calls: {words(report)}"
                injected["a crash, looked at from outside"] += 1


def test_the_folders_of_released_versions_are_sound_or_as_damaged_as_they_were_made():
    for golden in sorted((TESTS / "engine" / "golden").glob("v*")):
        for path in golden.glob("*-queue-*"):
            report = verify(path)
            expected = WRONG if "crash" in golden.name else SOUND
            assert report.exit_code == expected, words(report.queues[0])


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
    assert "2 files in large/ that nobody needs" in words(report)


@pytest.mark.parametrize("which", [0, 1])
def test_a_segment_that_was_deleted_is_missed(folder, which):
    deleted = sorted(folder.glob("*.log"))[which]
    deleted.unlink()
    (report,) = verify(folder).queues
    assert report.exit_code == WRONG
    assert f"{deleted.name} is gone" in words(report) or "the last segments were deleted" in words(report)
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
    assert "has lost its log" in words(report.queues[0])
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
    """Somebody else's files: those with a name that ends so, or folders of that name."""

    def __init__(self, what):
        self.what = what

    def names(self, path):
        self._refuse(path)
        return super().names(path)

    def open(self, path):
        self._refuse(path)
        return super().open(path)

    def _refuse(self, path):
        if path.name.endswith(self.what):
            raise PermissionError(13, "Permission denied", str(path))


def test_a_folder_that_may_not_be_read_is_refused_in_words(folder):
    with pytest.raises(FolderError, match="Permission denied; look at it as the user that the queue runs as"):
        verify(folder, Forbidding(NAME))
    injected["a folder that may not be read"] += 1


@pytest.mark.parametrize("what", [".log", ".results", "large", "quarantine"])
def test_what_may_not_be_read_in_a_folder_is_named(folder, tmp_path, what):
    (folder / "quarantine").mkdir()
    report = verify(folder, Forbidding(what))
    assert report.exit_code == UNUSABLE
    assert "Permission denied" in words(report.queues[0])
    injected["a folder that may not be read"] += 1


def test_a_disk_that_fails_under_the_eyes_is_told_with_the_file(folder):
    report = verify(folder, Failing())
    assert report.exit_code == UNUSABLE
    assert "Input/output error" in words(report.queues[0])
    injected["a disk that fails"] += 1


class Failing(LocalFileSystem):
    """A disk that fails where the records lie."""

    def read(self, handle, offset, length):
        if length > 500:
            raise OSError(5, "Input/output error")
        return super().read(handle, offset, length)


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
    assert pool_folder.read(str(tmp_path / "new")) == pool_folder.read(str(pool))
    assert opened(tmp_path / "new" / "busy-queue-0").counts["dead"] == 3
    assert set(tree(pool)) == set(before)


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
