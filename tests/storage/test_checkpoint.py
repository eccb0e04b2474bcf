"""A checkpoint is the last whole one, or none."""

from __future__ import annotations

import errno

import pytest

from daskqueue.errors import FormatError, StorageError
from daskqueue.storage import checkpoint
from daskqueue.storage.checkpoint import Checkpoint
from daskqueue.storage.log import Position

from .conftest import QUEUE_ID
from .faults import FaultyFileSystem

AT = Position(3, 640)


@pytest.fixture
def path(place):
    return place.folder / "q.index"


def contents(place, path):
    handle = place.fs.open(path)
    data = place.fs.read(handle, 0, place.fs.size(handle))
    place.fs.close(handle)
    return data


def overwrite(place, path, data):
    if place.fs.exists(path):
        place.fs.remove(path)
    handle = place.fs.create(path)
    place.fs.write(handle, [data])
    place.fs.close(handle)


def test_a_checkpoint_is_read_as_it_was_written(place, path):
    for payload in (b"", b"state", bytes(1 << 20)):
        checkpoint.write(place.fs, path, QUEUE_ID, AT, payload)
        assert checkpoint.read(place.fs, path, QUEUE_ID) == (Checkpoint(AT, payload), "")
    assert place.fs.names(place.folder) == ["q.index"]


def test_no_checkpoint_is_none_and_says_so(place, path):
    assert checkpoint.read(place.fs, path) == (None, "there is no checkpoint")


def test_a_checkpoint_cut_or_changed_anywhere_is_none(place, path):
    checkpoint.write(place.fs, path, QUEUE_ID, AT, b"some state")
    whole = contents(place, path)
    for length in range(len(whole)):
        overwrite(place, path, whole[:length])
        found, why = checkpoint.read(place.fs, path, QUEUE_ID)
        assert found is None
        assert why
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        overwrite(place, path, bytes(damaged))
        found, why = checkpoint.read(place.fs, path, QUEUE_ID)
        assert found is None
        assert why


def test_a_checkpoint_with_trailing_bytes_is_none(place, path):
    checkpoint.write(place.fs, path, QUEUE_ID, AT, b"state")
    overwrite(place, path, contents(place, path) + b"\0")
    assert checkpoint.read(place.fs, path) == (None, "the checkpoint has 6 bytes instead of 5")


def test_a_checkpoint_of_another_queue_is_none(place, path):
    checkpoint.write(place.fs, path, b"another queue id", AT, b"state")
    assert checkpoint.read(place.fs, path, QUEUE_ID)[0] is None
    assert checkpoint.read(place.fs, path)[0] == Checkpoint(AT, b"state")


def test_a_newer_checkpoint_is_refused_by_its_version(place, path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "VERSION", 2)
        checkpoint.write(place.fs, path, QUEUE_ID, AT, b"state")
    with pytest.raises(FormatError, match=r"q\.index has format version 2; this daskqueue knows 1"):
        checkpoint.read(place.fs, path)


def test_a_file_left_by_a_crash_does_not_matter(place, path):
    overwrite(place, path.with_name("q.index.tmp"), b"half a checkp")
    checkpoint.write(place.fs, path, QUEUE_ID, AT, b"state")
    assert checkpoint.read(place.fs, path)[0] == Checkpoint(AT, b"state")
    assert place.fs.names(place.folder) == ["q.index"]


def test_a_checkpoint_is_on_the_disk_before_it_gets_its_name(tmp_path):
    fs = FaultyFileSystem()
    checkpoint.write(fs, tmp_path / "q.index", QUEUE_ID, AT, b"state")
    assert fs.calls == ["create", "write", "sync", "rename", "sync_folder"]


@pytest.mark.parametrize("verb", ["create", "write", "sync", "rename"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_the_old_checkpoint_counts_when_the_new_one_cannot_be_written(tmp_path, verb, number):
    fs, path = FaultyFileSystem(), tmp_path / "q.index"
    checkpoint.write(fs, path, QUEUE_ID, AT, b"old")
    fs.fail(verb, number, after=10)
    with pytest.raises(StorageError, match="cannot write the checkpoint"):
        checkpoint.write(fs, path, QUEUE_ID, AT, b"new")
    assert checkpoint.read(fs, path)[0] == Checkpoint(AT, b"old")
    assert fs.names(tmp_path) == ["q.index"]


def test_a_disk_that_fails_to_read_gives_no_checkpoint(tmp_path):
    fs, path = FaultyFileSystem(), tmp_path / "q.index"
    checkpoint.write(fs, path, QUEUE_ID, AT, b"state")
    fs.fail("read")
    found, why = checkpoint.read(fs, path)
    assert found is None
    assert "cannot be read" in why
