"""One owner for each folder, known by name."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

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
