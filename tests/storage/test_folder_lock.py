"""One owner for each folder, known by name."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest

from daskqueue.errors import FolderError, FolderInUseError
from daskqueue.storage.folder import FolderLock, read_owner
from daskqueue.storage.fs import LocalFileSystem

from .faults import FaultyFileSystem

OWNER = {"host": "node-1", "pid": 77, "cluster": "tcp://10.0.0.1", "key": "q-g1", "epoch": None, "since": 1.5}

HOLDER = """
import os, sys
from pathlib import Path
from daskqueue.storage.folder import FolderLock
from daskqueue.storage.fs import LocalFileSystem
lock = FolderLock.take(LocalFileSystem(), Path(sys.argv[1]), {"host": "other", "pid": os.getpid()})
lock.record(epoch=4)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of ``tmp_path``."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_opener_is_refused_with_the_owner_named(place):
    lock = FolderLock.take(place.fs, place.folder, OWNER)
    lock.record(epoch=3)
    with pytest.raises(
        FolderInUseError, match=r"host node-1, pid 77, cluster .*, epoch 3, since 1.5"
    ) as caught:
        FolderLock.take(place.fs, place.folder, {"host": "node-2"})
    assert caught.value.owner == OWNER | {"epoch": 3}
    assert read_owner(place.fs, place.folder) == lock.owner == OWNER | {"epoch": 3}
    lock.release()


def test_the_owner_travels_with_the_error(place):
    lock = FolderLock.take(place.fs, place.folder, OWNER)
    with pytest.raises(FolderInUseError) as caught:
        FolderLock.take(place.fs, place.folder, {})
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.owner) == (str(caught.value), OWNER)
    lock.release()


def test_a_released_folder_can_be_taken_again(place):
    lock = FolderLock.take(place.fs, place.folder, OWNER)
    lock.release()
    lock.release()
    with pytest.raises(FolderError, match="was released"):
        lock.record(epoch=9)
    lock = FolderLock.take(place.fs, place.folder, {"host": "node-2"})
    assert read_owner(place.fs, place.folder) == {"host": "node-2"}
    lock.release()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe"])
def test_an_owner_that_cannot_be_read_is_unknown(place, text):
    handle = place.fs.lock(place.folder / "lock")
    place.fs.write(handle, [text])
    assert read_owner(place.fs, place.folder) is None
    with pytest.raises(FolderInUseError, match="in use by an unknown process") as caught:
        FolderLock.take(place.fs, place.folder, OWNER)
    assert caught.value.owner == {}
    place.fs.close(handle)
    FolderLock.take(place.fs, place.folder, OWNER).release()


def test_a_folder_that_is_not_there_cannot_be_locked(place):
    with pytest.raises(FolderError, match="cannot lock"):
        FolderLock.take(place.fs, place.folder / "missing", OWNER)
    assert read_owner(place.fs, place.folder / "missing") is None


@pytest.mark.parametrize("verb", ["truncate", "write"])
def test_an_owner_that_cannot_be_written_holds_nothing(tmp_path, verb):
    fs = FaultyFileSystem()
    fs.fail(verb)
    with pytest.raises(FolderError, match="cannot write"):
        FolderLock.take(fs, tmp_path, OWNER)
    FolderLock.take(fs, tmp_path, OWNER).release()


def test_another_process_is_refused_and_can_read_who_holds_it(tmp_path, holder):
    with pytest.raises(FolderInUseError, match=f"host other, pid {holder.pid}, epoch 4") as caught:
        FolderLock.take(LocalFileSystem(), tmp_path, OWNER)
    assert caught.value.owner == {"host": "other", "pid": holder.pid, "epoch": 4}


def test_the_lock_of_a_killed_process_is_taken(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert read_owner(LocalFileSystem(), tmp_path)["pid"] == holder.pid
    lock = FolderLock.take(LocalFileSystem(), tmp_path, OWNER)
    assert read_owner(LocalFileSystem(), tmp_path) == OWNER
    lock.release()


# The fence


def words_of(place):
    handle = place.fs.open(place.folder / "lock")
    text = place.fs.read(handle, 0, 10_000)
    place.fs.close(handle)
    return text


def rewrite_lock(place, text):
    """Write into the file as another machine does whose file system knows of no lock."""
    if hasattr(place.fs, "_files"):
        place.fs._files[place.folder / "lock"].data[:] = text
    else:
        (place.folder / "lock").write_bytes(text)


def test_an_owner_finds_its_word_again(place):
    lock = FolderLock.take(place.fs, place.folder, OWNER | {"token": "first"})
    lock.verify()
    lock.record(epoch=3)
    lock.verify()
    assert b"first" in words_of(place)
    assert read_owner(place.fs, place.folder) == lock.owner == OWNER | {"epoch": 3}
    lock.release()
    with pytest.raises(FolderError, match="was released"):
        lock.verify()


def test_an_owner_whose_folder_was_taken_over_is_told_by_whom(place):
    lock = FolderLock.take(place.fs, place.folder, OWNER | {"token": "first"})
    place.fs.remove(place.folder / "lock")
    other = FolderLock.take(place.fs, place.folder, {"host": "node-2", "token": "second"})
    with pytest.raises(FolderInUseError, match=r"was taken over by host node-2 while this process") as caught:
        lock.verify()
    assert caught.value.owner == {"host": "node-2"}
    other.verify()
    other.release()
    with pytest.raises(FolderInUseError):
        lock.verify()
    lock.release()


def test_an_owner_whose_word_was_written_over_is_fenced(place):
    lock = FolderLock.take(place.fs, place.folder, OWNER | {"token": "first"})
    rewrite_lock(place, words_of(place).replace(b"first", b"other"))
    with pytest.raises(FolderInUseError, match="was taken over by host node-1, pid 77"):
        lock.verify()
    lock.release()


def test_what_a_former_owner_still_says_of_itself_hides_nobody(place):
    lock = FolderLock.take(place.fs, place.folder, {"host": "node-1", "token": "first"})
    others = b'{"host": "node-2", "token": "second"}\n'
    rewrite_lock(place, others)
    lock.record(epoch=7)
    assert read_owner(place.fs, place.folder) == {"host": "node-2"}
    assert words_of(place).startswith(others)
    lock.release()


def test_an_owner_whose_lock_was_removed_says_so(place):
    lock = FolderLock.take(place.fs, place.folder, OWNER)
    place.fs.remove(place.folder / "lock")
    with pytest.raises(
        FolderError, match=r"somebody has removed .*lock while its queue was open.* open it again"
    ):
        lock.verify()
    lock.release()


class WithoutDescriptors(LocalFileSystem):
    """Opens nothing while it is short of descriptors."""

    short = False

    def open(self, path):
        if self.short:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().open(path)


def test_an_owner_that_has_no_descriptor_left_still_knows_whether_it_is_one(tmp_path):
    fs = WithoutDescriptors()
    lock = FolderLock.take(fs, tmp_path, OWNER | {"token": "first"})
    fs.short = True
    lock.verify()
    word = (tmp_path / "lock").read_bytes()
    (tmp_path / "lock").write_bytes(word.replace(b"first", b"other"))
    with pytest.raises(FolderInUseError):
        lock.verify()
    (tmp_path / "lock").write_bytes(word)
    lock.verify()
    (tmp_path / "lock").rename(tmp_path / "another")
    with pytest.raises(FolderInUseError):
        lock.verify()
    (tmp_path / "lock").write_bytes(word)
    with pytest.raises(FolderInUseError):
        lock.verify()
    lock.release()


def test_an_owner_that_cannot_read_its_lock_does_not_go_on(tmp_path):
    fs = FaultyFileSystem()
    lock = FolderLock.take(fs, tmp_path, OWNER)
    fs.fail("read")
    with pytest.raises(FolderError, match=r"cannot read .*lock, and another process may own it"):
        lock.verify()
    lock.release()


def test_nobody_is_refused_because_of_somebody_who_only_looks(tmp_path):
    fs, over = LocalFileSystem(), threading.Event()
    FolderLock.take(fs, tmp_path, OWNER).release()

    def look():
        while not over.is_set():
            fs.is_locked(tmp_path / "lock")

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(300):
            FolderLock.take(fs, tmp_path, OWNER).release()
    finally:
        over.set()
        looking.join()
