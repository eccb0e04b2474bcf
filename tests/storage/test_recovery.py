"""What is found after a crash, after damage, and after a former owner went on."""

from __future__ import annotations

import pytest

from daskqueue.errors import FolderError, FormatError, StorageError
from daskqueue.storage import scan as scan_module
from daskqueue.storage.log import Log, Position, Segment, Stretch
from daskqueue.storage.segment import HEADER_BYTES, Header, decode_header, encode_header

from .conftest import BATCH, FACT, QUEUE_ID, payloads
from .faults import FaultyFileSystem

OPENING_BYTES = 16 + 16  # the first frame of a first segment: header, epoch, first sequence


def three(place):
    """Return where three frames lie that a killed owner wrote."""
    log = place.start()
    return log.append([(FACT, [b"first"]), (BATCH, [b"second" * 5]), (FACT, [b"third"])])


def test_a_whole_log_is_replayed_without_complaint(place):
    stretches = three(place)
    replay = place.open().replay()
    found = [(bytes(frame.payload), stretch) for frame, stretch in replay]
    assert found == list(zip([b"first", b"second" * 5, b"third"], stretches, strict=True))
    report = replay.report
    assert (report.frames, report.torn_bytes, report.damaged, report.strays) == (3, 0, [], [])
    assert not replay.relocated


def test_a_tail_torn_at_any_byte_is_cut_and_reported(place):
    stretches = three(place)
    whole = place.bytes_of(0)
    for length in range(HEADER_BYTES + OPENING_BYTES, len(whole) + 1):
        place.rewrite(0, whole[:length])
        replay = place.open().replay()
        kept = [s for s in stretches if s.offset + s.length <= length]
        assert [stretch for _, stretch in replay] == kept
        end = kept[-1].offset + kept[-1].length if kept else HEADER_BYTES + OPENING_BYTES
        assert replay.report.torn_bytes == length - end
        assert replay.report.damaged == []


@pytest.mark.parametrize("tail", [bytes(8), bytes(5000), b"\xff" * 20, b"\xff" * 4096 + bytes(3)])
def test_rubbish_at_the_tail_is_cut_and_reported(place, tail):
    three(place)
    place.rewrite(0, place.bytes_of(0) + tail)
    replay = place.open().replay()
    assert len(payloads(replay)) == 3
    assert (replay.report.torn_bytes, replay.report.damaged) == (len(tail), [])


def test_a_torn_tail_is_reported_once_and_never_rewritten(place):
    three(place)
    place.rewrite(0, place.bytes_of(0)[:-3])
    torn = place.bytes_of(0)
    log = place.start()
    log.append([(FACT, [b"after"])])
    assert place.bytes_of(0) == torn
    replay = place.open().replay()
    assert payloads(replay) == [b"first", b"second" * 5, b"after"]
    assert (replay.report.torn_bytes, replay.report.damaged) == (0, [])


def test_a_crash_while_the_first_segment_is_made_loses_nothing(place):
    place.start()
    whole = place.bytes_of(0)
    for length in range(len(whole)):
        for name in place.fs.names(place.folder):
            place.fs.remove(place.folder / name)
        place.fs.close(place.fs.create(place.file(0)))
        place.rewrite(0, whole[:length])
        log = place.start()
        log.append([(FACT, [b"fact"])])
        assert log.tail.segment == 1
        assert payloads(place.open().replay()) == [b"fact"]


def test_a_crash_while_the_next_segment_is_made_loses_nothing(place):
    log = place.start()
    log.append([(FACT, [b"old"])])
    log.roll(10, [(FACT, [b"carry"])])
    whole = place.bytes_of(10)
    for length in range(len(whole)):
        place.rewrite(10, whole[:length])
        replay = place.open().replay()
        assert payloads(replay) == [b"old"]
        assert replay.report.damaged == []
    place.rewrite(10, bytes(len(whole)))
    assert payloads(place.open().replay()) == [b"old"]
    log = place.start()
    assert log.tail.segment == 11


@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_frame_in_the_middle_is_counted_and_the_rest_served(place, which):
    stretches = three(place)
    for byte in range(stretches[which].length):
        place.flip(0, stretches[which].offset + byte)
        replay = place.open().replay()
        assert [stretch for _, stretch in replay] == [s for s in stretches if s != stretches[which]]
        assert replay.report.damaged == [stretches[which]]
        assert replay.report.damaged_frames == 1
        assert (replay.report.frames, replay.report.torn_bytes) == (2, 0)
        place.flip(0, stretches[which].offset + byte)


def test_a_zeroed_sector_hides_only_what_lay_in_it(place):
    log = place.start()
    stretches = log.append([(FACT, [bytes([number]) * 100]) for number in range(1, 50)])
    data = bytearray(place.bytes_of(0))
    data[1024:1536] = bytes(512)
    place.rewrite(0, bytes(data))
    replay = place.open().replay()
    found = [stretch for _, stretch in replay]
    assert found == [s for s in stretches if s.offset + s.length <= 1024 or s.offset >= 1536]
    assert len(replay.report.damaged) == 1
    assert replay.report.torn_bytes == 0


def test_damage_at_the_end_of_a_sealed_segment_is_damage_and_no_torn_tail(place):
    *_, last = three(place)
    place.logs[-1].roll(10)
    place.flip(0, last.offset + 17)
    replay = place.open().replay()
    assert len(payloads(replay)) == 2
    assert (replay.report.torn_bytes, replay.report.damaged) == (0, [last])


def test_frames_inside_a_damaged_payload_are_not_served(place):
    log = place.start()
    log.append([(FACT, [b"secret"])])
    copy = place.bytes_of(0)[HEADER_BYTES:]
    (outer,) = log.append([(BATCH, [bytes(4), copy, copy, copy])])
    log.append([(FACT, [b"after"])])
    place.flip(0, outer.offset + 17)
    replay = place.open().replay()
    assert payloads(replay) == [b"secret", b"after"]
    assert replay.report.damaged == [outer]


def test_a_damaged_length_does_not_swallow_what_follows(place):
    first, *_ = three(place)
    for bit in range(32):
        data = bytearray(place.bytes_of(0))
        data[first.offset + 4 + bit // 8] ^= 1 << bit % 8
        place.rewrite(0, bytes(data))
        assert payloads(place.open().replay()) == [b"second" * 5, b"third"]
        data[first.offset + 4 + bit // 8] ^= 1 << bit % 8
        place.rewrite(0, bytes(data))


@pytest.mark.parametrize("newest", [True, False])
def test_a_segment_with_a_damaged_header_is_still_served(place, newest):
    log = place.start()
    log.append([(FACT, [b"old"])])
    log.roll(10)
    log.append([(FACT, [b"new"])])
    number = 10 if newest else 0
    for offset in range(8, HEADER_BYTES):
        place.flip(number, offset)
        log = place.open()
        assert log.epoch == 2
        assert [s.first_sequence for s in log.segments] == [0, 10]
        replay = log.replay()
        assert payloads(replay) == [b"old", b"new"]
        assert replay.report.damaged == [Stretch(number, 0, HEADER_BYTES)]
        place.flip(number, offset)


@pytest.mark.parametrize("number", [0, 10, 20])
def test_a_segment_with_a_damaged_first_frame_is_still_served(place, number):
    log = place.start()
    for first_sequence in (10, 20):
        log.append([(FACT, [b"fact"])])
        log.roll(first_sequence)
    log.append([(FACT, [b"fact"])])
    place.flip(number, HEADER_BYTES + 20)
    replay = place.open().replay()
    assert payloads(replay) == [b"fact"] * 3
    assert [stretch.segment for stretch in replay.report.damaged] == [number]


@pytest.mark.parametrize("number", [0, 10, 20])
def test_a_segment_whose_first_page_is_zeroed_gives_what_is_behind(place, number):
    log = place.start()
    for first_sequence in (10, 20, 30):
        log.append([(BATCH, [b"x" * 600]), (FACT, [b"fact"])])
        if first_sequence != 30:
            log.roll(first_sequence)
    place.rewrite(number, bytes(512) + place.bytes_of(number)[512:])
    replay = place.open().replay()
    assert payloads(replay).count(b"fact") == 3
    assert replay.report.damaged
    assert replay.report.strays == []


def test_a_sealed_segment_that_became_shorter_is_reported(place):
    *_, last = three(place)
    place.logs[-1].roll(10)
    place.rewrite(0, place.bytes_of(0)[: last.offset])
    replay = place.open().replay()
    assert len(payloads(replay)) == 2
    assert replay.report.damaged == [last]


def test_a_missing_segment_in_the_middle_is_reported(place):
    log = place.start()
    for first_sequence in (10, 20, 30):
        log.append([(FACT, [str(first_sequence).encode()])])
        log.roll(first_sequence)
    log.drop(0)
    missing = len(place.bytes_of(20))
    place.fs.remove(place.file(20))
    replay = place.open().replay()
    assert payloads(replay) == [b"20"]
    assert replay.report.damaged == [Stretch(20, 0, missing)]


def test_frames_larger_than_a_window_and_across_windows_are_found(place, monkeypatch):
    monkeypatch.setattr(scan_module, "WINDOW_BYTES", 64)
    log = place.start()
    sizes = [0, 1, 40, 48, 50, 63, 64, 65, 200, 500, 3]
    stretches = log.append([(FACT, [bytes([index + 1]) * size]) for index, size in enumerate(sizes)])
    assert [stretch for _, stretch in place.open().replay()] == stretches
    for bad in stretches[:-1]:
        place.flip(0, bad.offset)
        replay = place.open().replay()
        assert [stretch for _, stretch in replay] == [s for s in stretches if s != bad]
        assert replay.report.damaged == [bad]
        place.flip(0, bad.offset)


def test_reads_are_bounded_however_long_the_log_is(disk):
    class MeasuringFileSystem(FaultyFileSystem):
        largest = 0

        def read(self, handle, offset, length):
            self.largest = max(self.largest, length)
            return super().read(handle, offset, length)

    log = disk.start()
    for _ in range(100):
        log.append([(BATCH, [b"x" * 50_000])])
    fs = MeasuringFileSystem()
    assert len(payloads(disk.open(fs).replay())) == 100
    assert fs.largest == 1 << 20


def test_each_opening_starts_a_segment_of_its_own_with_a_new_epoch(place):
    for opening in range(1, 4):
        log = place.open()
        assert log.epoch == opening
        payloads(log.replay())
        log.start(7)
        log.close()
    found = [(s.number, s.first_sequence, s.epoch) for s in place.open().segments]
    assert found == [(7, 7, 1), (8, 7, 2), (9, 7, 3)]


def test_a_former_owners_late_bytes_do_not_count(place):
    former = place.start()
    former.append([(FACT, [b"before"])])
    current = place.start(10)
    former.append([(FACT, [b"late"])])
    former.sync()
    current.append([(FACT, [b"current"])])
    replay = place.open().replay()
    assert payloads(replay) == [b"before", b"current"]
    assert (replay.report.torn_bytes, replay.report.damaged) == (0, [])


@pytest.mark.parametrize("rolled_to", [5, 15, 1000])
def test_a_former_owners_late_segment_does_not_count(place, rolled_to):
    former = place.start()
    former.append([(FACT, [b"before"])])
    current = place.start(10)
    former.roll(rolled_to, [(FACT, [b"carry"])])
    former.append([(FACT, [b"late"])])
    current.append([(FACT, [b"current"])])
    log = place.open()
    replay = log.replay()
    assert payloads(replay) == [b"before", b"current"]
    assert replay.report.strays == log.strays == [rolled_to]
    log.start()
    assert log.tail.segment == max(rolled_to, 10) + 1
    assert payloads(place.open().replay()) == [b"before", b"current"]


def test_strays_go_with_the_segments_around_them(place):
    former = place.start()
    current = place.start(10)
    former.roll(5)
    current.roll(20)
    log = place.start(30)
    log.drop(0)
    assert place.fs.exists(place.file(5))
    log.drop(10)
    assert not place.fs.exists(place.file(5))
    assert log.strays == []


def test_a_start_syncs_what_a_killed_owner_left_in_the_page_cache(disk):
    three(disk)
    fs = FaultyFileSystem()
    log = disk.open(fs)
    payloads(log.replay())
    fs.calls.clear()
    log.start(10)
    assert fs.calls == ["sync", "create", "write", "write", "sync", "sync_folder"]


def test_replay_from_a_position_gives_what_follows(place):
    first, _, third = three(place)
    place.logs[-1].roll(10, [(FACT, [b"carry"])])
    log = place.open()
    for position, expected in (
        (Position(0, first.offset), [b"first", b"second" * 5, b"third", b"carry"]),
        (Position(0, third.offset), [b"third", b"carry"]),
        (Position(0, third.offset + third.length), [b"carry"]),
        (place.logs[0].tail, []),
    ):
        replay = log.replay(position)
        assert payloads(replay) == expected
        assert not replay.relocated


@pytest.mark.parametrize("position", [Position(5, 64), Position(0, 1 << 20), Position(0, 77), Position(0, 0)])
def test_replay_from_a_position_that_is_gone_begins_at_the_oldest_and_says_so(place, position):
    three(place)
    replay = place.open().replay(position)
    assert replay.relocated
    assert len(payloads(replay)) == 3


def test_replay_from_a_dropped_segment_begins_at_the_oldest(place):
    first, *_ = three(place)
    log = place.logs[-1]
    log.roll(10, [(FACT, [b"carry"])])
    log.drop(0)
    replay = place.open().replay(Position(0, first.offset))
    assert replay.relocated
    assert payloads(replay) == [b"carry"]


def test_a_running_log_can_be_replayed_up_to_its_tail(place):
    log = place.start()
    log.append([(FACT, [b"one"])])
    replay = log.replay()
    log.append([(FACT, [b"two"])])
    assert payloads(replay) == [b"one"]
    assert payloads(log.replay()) == [b"one", b"two"]


def test_results_are_not_read_at_start_up(disk):
    log = disk.open(suffix=".results")
    log.start()
    log.append([(BATCH, [b"result" * 1000])] * 100)
    log.close()
    fs = FaultyFileSystem()
    log = disk.open(fs, suffix=".results")
    assert fs.calls.count("read") == 3  # the header, and the header and the rest of the first frame
    log.start()
    assert fs.calls.count("read") == 3
    assert log.segments[0].length == len((disk.folder / "00000000000000000000.results").read_bytes())


def test_a_torn_tail_of_results_is_found_when_they_are_first_scanned(disk):
    log = disk.open(suffix=".results")
    log.start()
    stretches = log.append([(BATCH, [b"one"]), (BATCH, [b"two"])])
    log.close()
    path = disk.file(0, ".results")
    path.write_bytes(path.read_bytes()[:-1])
    for opening in range(3):
        log = disk.open(suffix=".results")
        log.start()
        log.append([(BATCH, [b"newer"])])
        replay = log.scan(0)
        assert [stretch for _, stretch in replay] == stretches[:1]
        assert replay.report.damaged == []
        assert replay.report.torn_bytes == stretches[1].length - 1
        assert log.segments[0] == Segment(0, 0, stretches[1].offset, 1)
        assert len(log.segments) == opening + 2


def test_two_logs_share_a_folder(place):
    log, results = place.start(), place.open(suffix=".results")
    results.start()
    log.append([(FACT, [b"fact"])])
    results.append([(FACT, [b"result"])])
    assert payloads(place.open().replay()) == [b"fact"]
    assert payloads(place.open(suffix=".results").replay()) == [b"result"]


def test_results_under_the_name_of_a_log_are_not_served(place):
    results = place.open(suffix=".results")
    results.start()
    results.append([(FACT, [b"result"])])
    place.fs.rename(place.file(0, ".results"), place.file(0))
    assert payloads(place.open().replay()) == []


def test_other_files_in_the_folder_do_not_matter(place):
    three(place)
    for name in ("lock", "a.index", "1.log", "00000000000000000000.log.tmp", "0000000000000000000x.log"):
        place.fs.close(place.fs.create(place.folder / name))
    assert [s.number for s in place.open().segments] == [0]


def test_a_folder_that_is_not_there_is_named(place):
    with pytest.raises(FolderError, match="missing"):
        Log.open(place.fs, place.folder / "missing", queue_id=QUEUE_ID)


def test_an_empty_folder_has_no_queue_id(place):
    with pytest.raises(FolderError, match="no segment"):
        place.open(queue_id=None)
    place.start()
    assert place.open(queue_id=None).queue_id == QUEUE_ID


def test_a_queue_id_has_sixteen_bytes(place):
    with pytest.raises(ValueError, match="16 bytes"):
        place.open(queue_id=b"short")


def test_segments_of_another_queue_are_refused(place):
    place.start()
    with pytest.raises(FolderError, match="belongs to queue"):
        place.open(queue_id=b"another queue id")


def test_a_segment_under_another_name_is_refused(place):
    place.start()
    place.fs.rename(place.file(0), place.file(3))
    with pytest.raises(FolderError, match="segment 0 under another name"):
        place.open()


def test_foreign_bytes_are_refused(place):
    place.fs.close(place.fs.create(place.file(0)))
    place.rewrite(0, b"2024-01-01 INFO a log file of something else" * 10)
    with pytest.raises(FolderError, match="no segment of a queue"):
        place.open()


def test_a_newer_format_is_refused_by_its_version(place, monkeypatch):
    place.start()
    with monkeypatch.context() as patch:
        patch.setattr("daskqueue.storage.segment.VERSION", 2)
        place.rewrite(0, encode_header(Header(QUEUE_ID, 0, 0, 1)) + place.bytes_of(0)[HEADER_BYTES:])
    with pytest.raises(FormatError, match="version 2; this daskqueue knows 1"):
        place.open()


def test_a_header_says_what_was_written_and_damage_is_noticed():
    header = Header(QUEUE_ID, 7, 5, 3)
    data = encode_header(header)
    assert decode_header(data, "name") == header
    for bit in range(8 * 8, len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert decode_header(bytes(damaged), "name") is None


def test_a_disk_that_fails_to_read_is_a_storage_error(disk):
    (first, *_) = three(disk)
    fs = FaultyFileSystem()
    log = disk.open(fs)
    fs.fail("read")
    with pytest.raises(StorageError, match="cannot read"):
        log.read(first)
    fs.fail("read")
    with pytest.raises(StorageError, match="cannot read"):
        payloads(log.replay())
    fs.fail("read")
    with pytest.raises(FolderError, match="cannot read"):
        disk.open(fs)
