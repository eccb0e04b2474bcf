"""The model disk keeps what POSIX promises, and a power cut leaves everything else that it may leave."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from random import Random

import pytest

from .disk import SECTOR, ModelDisk

FOLDER = Path("/f")
A, B = FOLDER / "a", FOLDER / "b"


@pytest.fixture
def disk():
    disk = ModelDisk()
    disk.make_folder(FOLDER)
    return disk


def write(disk, path, data, *, sync):
    """Make a file; with *sync* its bytes and its name are durable."""
    handle = disk.create(path)
    disk.write(handle, [data])
    if sync:
        disk.sync(handle)
        disk.sync_folder(path.parent)
    return handle


def content(disk, path):
    """Return the bytes of a file, None where there is none."""
    if not disk.exists(path):
        return None
    handle = disk.open(path)
    try:
        return disk.read(handle, 0, disk.size(handle))
    finally:
        disk.close(handle)


def outcomes(disk, look, n=None, rounds=300):
    """Return everything that power cuts may leave, as *look* sees it."""
    rng = Random(1)
    return {look(disk.power_cut(rng, n)) for _ in range(rounds)}


def test_what_was_synced_with_its_name_is_there_after_every_crash(disk):
    write(disk, A, b"kept", sync=True)
    assert outcomes(disk, lambda left: content(left, A)) == {b"kept"}
    assert content(disk.killed(), A) == b"kept"


def test_a_sync_of_a_file_does_not_keep_its_name(disk):
    disk.sync(write(disk, A, b"kept", sync=False))
    assert outcomes(disk, lambda left: content(left, A)) == {None, b"kept"}


def test_a_kill_loses_nothing_but_the_power_may_still_take_it(disk):
    write(disk, A, b"written", sync=False)
    left = disk.killed()
    assert content(left, A) == b"written"
    assert content(left.power_cut(Random(1), keep=0), A) is None
    left.sync(left.open(A))
    left.sync_folder(FOLDER)
    assert content(left.power_cut(Random(1), keep=0), A) == b"written"


@pytest.mark.parametrize("part", range(8))
def test_a_kill_in_a_write_leaves_its_first_bytes(disk, part):
    write(disk, A, b"together", sync=False)
    assert content(disk.killed(len(disk.calls) - 1, part), A) == b"together"[:part]


def test_of_what_was_not_synced_any_sectors_are_left_and_any_length(disk):
    handle = write(disk, A, b"a" * SECTOR, sync=True)
    disk.write(handle, [b"b" * SECTOR, b"c" * SECTOR])
    found = outcomes(disk, lambda left: content(left, A))
    assert all(data[:SECTOR] == b"a" * SECTOR for data in found)
    sectors = {(data[SECTOR : SECTOR + 1], data[2 * SECTOR : 2 * SECTOR + 1]) for data in found}
    assert {(b"b", b"c"), (b"b", b"\0"), (b"\0", b"c"), (b"\0", b"\0"), (b"", b"")} <= sectors
    assert len({len(data) for data in found}) > 50


def test_a_new_sector_may_have_what_another_file_left_there(disk):
    write(disk, A, b"old" * SECTOR, sync=True)
    disk.remove(A)
    write(disk, B, b"new" * SECTOR, sync=False)
    found = outcomes(disk, lambda left: content(left, B))
    assert any(b"old" in data for data in found if data)


def test_a_cut_that_was_not_synced_has_happened_or_not(disk):
    handle = write(disk, A, b"long", sync=True)
    disk.truncate(handle, 2)
    found = outcomes(disk, lambda left: content(left, A))
    assert {b"long", b"lo"} <= found
    assert all(data.startswith(b"lo") and len(data) <= 4 for data in found)


def test_a_rename_leaves_both_names_or_neither_or_one(disk):
    write(disk, A, b"x", sync=True)
    disk.rename(A, B)
    found = outcomes(disk, lambda left: (content(left, A), content(left, B)))
    assert found == {(b"x", b"x"), (b"x", None), (None, b"x"), (None, None)}
    disk.sync_folder(FOLDER)
    assert outcomes(disk, lambda left: (content(left, A), content(left, B))) == {(None, b"x")}


def test_a_rename_over_a_file_leaves_the_old_one_or_the_new_one(disk):
    write(disk, A, b"new", sync=True)
    write(disk, B, b"old", sync=True)
    disk.rename(A, B)
    assert outcomes(disk, lambda left: content(left, B)) == {b"old", b"new"}


def test_a_removed_name_may_be_there_again(disk):
    write(disk, A, b"x", sync=True)
    disk.remove(A)
    assert outcomes(disk, lambda left: content(left, A)) == {None, b"x"}


def test_both_names_of_a_file_have_the_same_bytes(disk):
    write(disk, A, b"x", sync=True)
    disk.link(A, B)
    handle = disk.open(A)
    disk.write(handle, [b"y"])
    found = outcomes(disk, lambda left: (content(left, A), content(left, B)))
    assert all(second in (None, first) for first, second in found)
    assert {None, b"x", b"xy"} <= set(chain.from_iterable(found))


def test_what_is_in_a_folder_goes_with_its_name(disk):
    inner = FOLDER / "inner"
    disk.make_folder(inner)
    before = next(n for n, call in enumerate(disk.calls, 1) if call.path == inner)
    write(disk, inner / "c", b"x", sync=True)
    assert outcomes(disk, lambda left: left.exists(inner), before) == {True, False}
    assert outcomes(disk, lambda left: content(left, inner / "c")) == {b"x"}


def test_a_call_that_is_skipped_does_nothing_and_is_not_noted():
    disk = ModelDisk(lambda call: call.verb == "sync")
    disk.make_folder(FOLDER)
    write(disk, A, b"x", sync=True)
    assert {call.verb for call in disk.calls} == {"mkdir", "sync_folder", "create", "write"}
    assert disk.power_cut(Random(1), keep=0)._files[A].data == b""
