"""The same promises on the local disk and in memory."""

from __future__ import annotations

import os
import threading

import pytest

from daskqueue.storage.fs import MAX_BUFFERS, LocalFileSystem


def test_folders_are_made_with_their_parents(place):
    deep = place.folder / "a" / "b"
    place.fs.make_folder(deep)
    place.fs.make_folder(deep)
    assert place.fs.exists(deep)
    assert place.fs.names(place.folder) == ["a"]


def test_what_is_written_is_appended_and_can_be_read(place):
    handle = place.fs.create(place.folder / "file")
    assert place.fs.write(handle, [b"one", b"", memoryview(b"two")]) == 6
    assert place.fs.write(handle, [bytearray(b"three")]) == 5
    assert place.fs.size(handle) == 11
    assert place.fs.read(handle, 3, 5) == b"twoth"
    assert place.fs.read(handle, 9, 100) == b"ee"
    assert place.fs.read(handle, 100, 1) == b""
    place.fs.sync(handle)
    place.fs.truncate(handle, 2)
    place.fs.write(handle, [b"!"])
    assert place.fs.read(handle, 0, 100) == b"on!"
    place.fs.close(handle)


@pytest.mark.parametrize("count", [MAX_BUFFERS, MAX_BUFFERS + 1, 3 * MAX_BUFFERS + 7])
def test_more_buffers_than_one_call_takes(place, count):
    buffers = [i.to_bytes(3, "big") for i in range(count)]
    handle = place.fs.create(place.folder / "file")
    assert place.fs.write(handle, buffers) == 3 * count
    assert place.fs.read(handle, 0, 4 * count) == b"".join(buffers)
    place.fs.close(handle)


def test_short_writes_are_continued(disk, monkeypatch):
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda handle, buffers: real(handle, [b"".join(buffers)[:7]]))
    buffers = [b"abc", b"defghijklmnopq", b"", b"rs", b"t"] * 500
    handle = disk.fs.create(disk.folder / "file")
    assert disk.fs.write(handle, buffers) == len(b"".join(buffers))
    assert disk.fs.read(handle, 0, 1 << 20) == b"".join(buffers)
    disk.fs.close(handle)


def test_short_reads_are_continued(disk, monkeypatch):
    handle = disk.fs.create(disk.folder / "file")
    disk.fs.write(handle, [b"0123456789"])
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda handle, length, offset: real(handle, min(length, 3), offset))
    assert disk.fs.read(handle, 1, 100) == b"123456789"
    assert disk.fs.read(handle, 1, 7) == b"1234567"
    disk.fs.close(handle)


def test_a_file_is_created_once(place):
    place.fs.close(place.fs.create(place.folder / "file"))
    with pytest.raises(FileExistsError):
        place.fs.create(place.folder / "file")


def test_what_is_missing_is_said_to_be_missing(place):
    for attempt in (
        lambda: place.fs.open(place.folder / "no"),
        lambda: place.fs.remove(place.folder / "no"),
        lambda: place.fs.rename(place.folder / "no", place.folder / "other"),
        lambda: place.fs.create(place.folder / "no" / "file"),
        lambda: place.fs.lock(place.folder / "no" / "file"),
        lambda: place.fs.names(place.folder / "no"),
        lambda: place.fs.sync_folder(place.folder / "no"),
        lambda: place.fs.volume(place.folder / "no"),
    ):
        with pytest.raises(FileNotFoundError):
            attempt()


def test_a_removed_file_is_still_read_by_its_handle(place):
    handle = place.fs.create(place.folder / "file")
    place.fs.write(handle, [b"data"])
    place.fs.remove(place.folder / "file")
    assert not place.fs.exists(place.folder / "file")
    assert place.fs.read(handle, 0, 4) == b"data"
    place.fs.close(handle)


def test_renaming_replaces(place):
    for name in ("old", "new"):
        handle = place.fs.create(place.folder / name)
        place.fs.write(handle, [name.encode()])
        place.fs.close(handle)
    place.fs.rename(place.folder / "old", place.folder / "new")
    place.fs.sync_folder(place.folder)
    assert place.fs.names(place.folder) == ["new"]
    handle = place.fs.open(place.folder / "new")
    assert place.fs.read(handle, 0, 10) == b"old"
    place.fs.close(handle)


def test_a_lock_is_held_until_its_handle_is_closed(place):
    first = place.fs.lock(place.folder / "lock")
    with pytest.raises(BlockingIOError):
        place.fs.lock(place.folder / "lock")
    place.fs.close(first)
    place.fs.close(place.fs.lock(place.folder / "lock"))


def test_a_volume_has_some_room(place):
    volume = place.fs.volume(place.folder)
    assert 0 < volume.free_bytes <= volume.size_bytes


def test_new_folders_are_synced_into_their_parents(tmp_path, monkeypatch):
    synced = []
    fs = LocalFileSystem()
    monkeypatch.setattr(fs, "sync_folder", synced.append)
    fs.make_folder(tmp_path / "a" / "b")
    # First the name of the folder that was there: whoever made it may have been killed before he synced it.
    assert synced == [tmp_path.parent, tmp_path, tmp_path / "a"]
    fs.make_folder(tmp_path / "a" / "b")
    assert synced[3:] == [tmp_path / "a"]


def test_files_are_private_to_the_user(tmp_path):
    fs = LocalFileSystem()
    fs.make_folder(tmp_path / "folder")
    fs.close(fs.create(tmp_path / "folder" / "file"))
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "folder" / "file").stat().st_mode & 0o777 == 0o600


def test_a_file_is_read_in_one_thread_while_another_appends(place):
    handle = place.fs.create(place.folder / "file")
    done = threading.Event()

    def read():
        while not done.is_set():
            place.fs.read(handle, 0, 1 << 20)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(2000):
        place.fs.write(handle, [b"x" * 100])
    done.set()
    reader.join()
    assert place.fs.size(handle) == 200_000
