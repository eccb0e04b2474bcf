"""Appending, syncing, rolling, dropping and reading a log."""

from __future__ import annotations

import errno
import threading

import pytest

from daskqueue.errors import CorruptionError, QueueFailedError, StorageError
from daskqueue.storage.log import Position, Stretch
from daskqueue.storage.readers import MAX_OPEN

from .conftest import BATCH, FACT, QUEUE_ID, payloads
from .faults import FaultyFileSystem


def test_a_new_log_begins_with_segment_zero_and_costs_little(place):
    log = place.start()
    assert place.fs.names(place.folder) == ["00000000000000000000.log"]
    assert log.size_bytes == len(place.bytes_of(0)) < 200
    assert (log.epoch, log.queue_id, log.tail.segment) == (1, QUEUE_ID, 0)
    assert log.synced == log.tail


def test_nothing_is_written_before_the_start(place):
    log = place.open()
    assert payloads(log.replay()) == []
    assert log.segments == []
    assert place.fs.names(place.folder) == []
    for attempt in (log.sync, lambda: log.append([]), lambda: log.roll(0), lambda: log.tail):
        with pytest.raises(StorageError, match="not started"):
            attempt()


def test_a_log_is_started_once(place):
    log = place.start()
    with pytest.raises(ValueError, match="started already"):
        log.start()


def test_frames_are_read_where_append_says_they_lie(place):
    log = place.start()
    stretches = log.append([(BATCH, [b"x" * 50_000, b"y"]), (FACT, [b"fact"]), (FACT, [])])
    assert [[bytes(frame.payload) for frame in log.read(stretch)] for stretch in stretches] == [
        [b"x" * 50_000 + b"y"],
        [b"fact"],
        [b""],
    ]
    assert log.tail == Position(0, stretches[-1].offset + stretches[-1].length)


def test_a_stretch_over_several_frames_gives_all_of_them(place):
    log = place.start()
    first, _, last = log.append([(BATCH, [b"one"]), (FACT, [b"between"]), (BATCH, [b"two"])])
    joint = Stretch(0, first.offset, last.offset + last.length - first.offset)
    assert [(frame.kind, bytes(frame.payload)) for frame in log.read(joint)] == [
        (BATCH, b"one"),
        (FACT, b"between"),
        (BATCH, b"two"),
    ]


def test_an_append_of_nothing_changes_nothing(place):
    log = place.start()
    tail = log.tail
    assert log.append([]) == []
    assert log.tail == tail


def test_many_small_frames_go_in_one_append(place):
    log = place.start()
    expected = [str(number).encode() for number in range(3000)]
    log.append([(FACT, [payload]) for payload in expected])
    log.close()
    assert payloads(place.open().replay()) == expected


@pytest.mark.parametrize("kind", [0, 1, 15, 256])
def test_kinds_of_storage_are_not_the_callers(place, kind):
    log = place.start()
    with pytest.raises(ValueError, match="kind"):
        log.append([(kind, [b""])])
    with pytest.raises(ValueError, match="kind"):
        log.roll(0, [(kind, [b""])])
    log.append([(FACT, [b"still usable"])])


def test_a_frame_that_cannot_be_written_leaves_no_new_segment(place):
    log = place.start()
    with pytest.raises(ValueError, match="plain bytes"):
        log.roll(0, [(FACT, [memoryview(bytes(8)).cast("I")])])
    assert place.fs.names(place.folder) == ["00000000000000000000.log"]
    log.append([(FACT, [b"still usable"])])


def test_sync_covers_what_was_appended_before_it(place):
    log = place.start()
    begin = log.synced
    log.append([(FACT, [b"fact"])])
    assert log.synced == begin
    assert log.sync() == log.tail == log.synced


def test_a_sync_with_nothing_to_do_does_nothing(tmp_path, disk):
    fs = FaultyFileSystem()
    log = disk.start(fs=fs)
    log.append([(FACT, [b"fact"])])
    log.sync()
    fs.calls.clear()
    log.sync()
    assert fs.calls == []


def test_appends_go_on_while_another_thread_syncs(disk):
    syncing, go_on = threading.Event(), threading.Event()

    class SlowFileSystem(FaultyFileSystem):
        def sync(self, handle):
            if syncing is not None and self.calls[-1] == "write":
                syncing.set()
                go_on.wait(10)
            super().sync(handle)

    fs = SlowFileSystem()
    go_on.set()
    log = disk.start(fs=fs)
    syncing.clear()
    go_on.clear()
    log.append([(FACT, [b"before"])])
    covered = log.tail
    results = []
    thread = threading.Thread(target=lambda: results.append(log.sync()))
    thread.start()
    assert syncing.wait(10)
    log.append([(FACT, [b"meanwhile"])])
    go_on.set()
    thread.join()
    assert results == [covered]
    assert covered < log.tail
    assert log.sync() == log.tail


def test_a_segments_number_is_at_least_its_first_sequence(place):
    log = place.start(first_sequence=0)
    log.roll(1000)
    log.roll(1000)
    log.roll(500)
    log.roll(5000)
    assert [(s.number, s.first_sequence) for s in log.segments] == [
        (0, 0),
        (1000, 1000),
        (1001, 1000),
        (1002, 500),
        (5000, 5000),
    ]


def test_a_roll_seals_the_segment_and_carries_frames_over(place):
    log = place.start()
    log.append([(FACT, [b"old"])])
    (carried,) = log.roll(10, [(FACT, [b"carry"])])
    log.append([(FACT, [b"new"])])
    assert carried.segment == 10
    assert bytes(log.read(carried)[0].payload) == b"carry"
    assert payloads(log.replay()) == [b"old", b"carry", b"new"]
    assert log.size_bytes == len(place.bytes_of(0)) + len(place.bytes_of(10))
    assert log.synced.segment == 10


def test_a_roll_syncs_the_old_segment_before_it_makes_the_new_one(disk):
    fs = FaultyFileSystem()
    log = disk.start(fs=fs)
    log.append([(FACT, [b"unsynced"])])
    fs.calls.clear()
    log.roll(10)
    assert fs.calls == ["sync", "create", "write", "write", "sync", "sync_folder"]


def test_old_segments_are_dropped_from_the_front_only(place):
    log = place.start()
    log.roll(10)
    log.roll(20)
    for number in (10, 20, 30):
        with pytest.raises(ValueError, match="oldest"):
            log.drop(number)
    log.drop(0)
    assert sorted(place.fs.names(place.folder)) == ["00000000000000000010.log", "00000000000000000020.log"]
    log.drop(10)
    with pytest.raises(ValueError, match="oldest"):
        log.drop(20)
    assert [segment.number for segment in log.segments] == [20]


def test_a_drop_is_made_durable(disk):
    fs = FaultyFileSystem()
    log = disk.start(fs=fs)
    log.roll(10)
    fs.calls.clear()
    log.drop(0)
    assert fs.calls == ["remove", "sync_folder"]


def test_a_drop_that_the_disk_refuses_is_a_storage_error(disk):
    fs = FaultyFileSystem()
    log = disk.start(fs=fs)
    log.roll(10)
    fs.fail("remove")
    with pytest.raises(StorageError, match="cannot remove segment 0"):
        log.drop(0)
    log.drop(0)
    log.append([(FACT, [b"goes on"])])


def test_what_was_dropped_cannot_be_read(place):
    log = place.start()
    (stretch,) = log.append([(FACT, [b"fact"])])
    log.roll(10)
    log.read(stretch)
    log.drop(0)
    with pytest.raises(StorageError, match="is gone"):
        log.read(stretch)
    with pytest.raises(StorageError, match="no segment 0"):
        log.scan(0)


def test_damage_is_found_when_it_is_read(place):
    log = place.start()
    good, bad, also_good = log.append([(FACT, [b"good"]), (FACT, [b"bad"]), (FACT, [b"also good"])])
    log.sync()
    place.flip(0, bad.offset + 16)
    log = place.open()
    assert bytes(log.read(good)[0].payload) == b"good"
    with pytest.raises(CorruptionError, match=f"damaged at byte {bad.offset}"):
        log.read(bad)
    frames, damaged = log.salvage(Stretch(0, good.offset, also_good.offset + also_good.length - good.offset))
    assert [bytes(frame.payload) for frame in frames] == [b"good", b"also good"]
    assert damaged == [bad]


def test_a_stretch_that_is_none_is_corruption(place):
    log = place.start()
    (stretch,) = log.append([(FACT, [b"fact"])])
    for wrong in (stretch._replace(offset=stretch.offset + 8), stretch._replace(length=stretch.length - 8)):
        with pytest.raises(CorruptionError):
            log.read(wrong)
    with pytest.raises(CorruptionError):
        log.read(stretch._replace(offset=1 << 20))


def test_many_segments_are_read_with_few_open_files(disk):
    log = disk.start()
    stretches = []
    for number in range(1, MAX_OPEN * 3):
        stretches += log.append([(FACT, [str(number).encode()])])
        log.roll(number)
    for _ in range(2):
        assert [bytes(log.read(s)[0].payload) for s in stretches] == [
            str(number).encode() for number in range(1, MAX_OPEN * 3)
        ]
    assert len(log._reader._readers._readers) == MAX_OPEN


@pytest.mark.parametrize("written", [0, 5, 30])
def test_a_full_disk_refuses_the_append_and_the_log_goes_on(disk, written):
    fs = FaultyFileSystem()
    log = disk.start(fs=fs)
    log.append([(FACT, [b"before"])])
    tail = log.tail
    fs.fail("write", errno.ENOSPC, after=written)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        log.append([(FACT, [b"too much"])])
    assert not isinstance(caught.value, QueueFailedError)
    assert log.tail == tail
    log.append([(FACT, [b"after"])])
    log.sync()
    assert payloads(disk.open().replay()) == [b"before", b"after"]


def test_a_full_disk_that_cannot_be_cut_fails_the_log(disk):
    fs = FaultyFileSystem()
    log = disk.start(fs=fs)
    fs.fail("write", errno.ENOSPC, after=5)
    fs.fail("truncate")
    with pytest.raises(QueueFailedError):
        log.append([(FACT, [b"too much"])])
    with pytest.raises(QueueFailedError):
        log.append([(FACT, [b"never again"])])


@pytest.mark.parametrize("verb", ["write", "sync"])
def test_a_failed_write_or_sync_fails_the_log_for_ever(disk, verb):
    fs = FaultyFileSystem()
    log = disk.start(fs=fs)
    log.append([(FACT, [b"not synced yet"])])
    fs.fail(verb, errno.EIO, after=9)
    attempt = log.sync if verb == "sync" else lambda: log.append([(FACT, [b"lost"])])
    with pytest.raises(QueueFailedError, match=f"a {verb} failed"):
        attempt()
    assert f"a {verb} failed" in log.failure
    for attempt in (lambda: log.append([(FACT, [b"no"])]), log.sync, lambda: log.roll(10)):
        with pytest.raises(QueueFailedError):
            attempt()


@pytest.mark.parametrize("verb", ["create", "write", "sync", "sync_folder"])
def test_a_roll_without_room_leaves_the_old_segment_in_use(disk, verb):
    fs = FaultyFileSystem()
    log = disk.start(fs=fs)
    log.append([(FACT, [b"old"])])
    log.sync()
    fs.fail(verb, errno.ENOSPC, after=100)
    with pytest.raises(StorageError, match="no room") as caught:
        log.roll(10, [(FACT, [b"carry"])])
    assert not isinstance(caught.value, QueueFailedError)
    log.append([(FACT, [b"goes on"])])
    log.sync()
    assert payloads(disk.open().replay()) == [b"old", b"goes on"]
    log.roll(10)


@pytest.mark.parametrize("verb", ["create", "write", "sync", "sync_folder"])
def test_a_roll_that_fails_fails_the_log(disk, verb):
    fs = FaultyFileSystem()
    log = disk.start(fs=fs)
    log.append([(FACT, [b"old"])])
    log.sync()
    fs.fail(verb, errno.EIO, after=100)
    with pytest.raises(QueueFailedError):
        log.roll(10)
    with pytest.raises(QueueFailedError):
        log.append([(FACT, [b"no"])])
    assert payloads(disk.open().replay()) == [b"old"]


def test_a_new_segment_that_cannot_be_removed_again_fails_the_log(disk):
    fs = FaultyFileSystem()
    log = disk.start(fs=fs)
    fs.fail("sync", errno.ENOSPC)
    fs.fail("remove")
    with pytest.raises(QueueFailedError):
        log.roll(10)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("verb", ["create", "write", "sync", "sync_folder"])
def test_a_start_that_fails_can_be_tried_again(disk, verb, number):
    fs = FaultyFileSystem()
    log = disk.open(fs)
    fs.fail(verb, number)
    with pytest.raises(StorageError):
        log.start(0, [(FACT, [b"carry"])])
    log.start(0, [(FACT, [b"carry"])])
    assert payloads(disk.open().replay()) == [b"carry"]


def test_a_closed_log_accepts_nothing(place):
    log = place.start()
    log.close()
    with pytest.raises(QueueFailedError, match="it was closed"):
        log.append([(FACT, [b"late"])])
