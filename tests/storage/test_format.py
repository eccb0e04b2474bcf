"""The bytes on the disk: a golden folder, and docs/format.md read by a machine.

The folder of a released format version is never regenerated: reading it is the promise.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from zlib import crc32

import pytest

from daskqueue.storage import checkpoint, frame, segment
from daskqueue.storage.checkpoint import Checkpoint
from daskqueue.storage.folder import FolderLock, read_owner
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.log import Log, Position, Stretch

from .conftest import BATCH, FACT, QUEUE_ID, payloads

GOLDEN = Path(__file__).parent / "golden" / "v1"
PAGE = Path(__file__).parents[2] / "docs" / "format.md"
REGENERATE = "DASKQUEUE_REGENERATE_GOLDEN"
HINT = f"the format changed; if that is meant: {REGENERATE}=1 .venv/bin/pytest tests/storage/test_format.py"
OWNER = {"host": "golden", "pid": 1, "cluster": None, "key": "q-g1", "epoch": 2, "since": 0.0}
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}


def build(folder):
    """Write a folder with two openings, a roll, results, a checkpoint and a lock."""
    fs = LocalFileSystem()
    fs.make_folder(folder)
    FolderLock.take(fs, folder, OWNER).release()
    log = Log.open(fs, folder, queue_id=QUEUE_ID)
    log.start(0, [(FACT, [b"carry"])])
    log.append([(BATCH, [b"a batch ", b"in two pieces"]), (FACT, [])])
    log.close()
    log = Log.open(fs, folder, queue_id=QUEUE_ID)
    payloads(log.replay())
    log.start(3)
    log.append([(FACT, [b"second opening"])])
    checkpoint.write(fs, folder / "q.index", QUEUE_ID, log.tail, b"a checkpoint")
    log.roll(70, [(FACT, [b"carried over"])])
    log.append([(BATCH, [bytes(range(256)) * 24])])
    log.close()
    results = Log.open(fs, folder, ".results", QUEUE_ID)
    results.start()
    results.append([(BATCH, [b"results"])])
    results.close()


@pytest.fixture(scope="module", autouse=True)
def _regenerated():
    if os.environ.get(REGENERATE):
        for old in GOLDEN.glob("*"):
            old.unlink()
        build(GOLDEN)


def test_the_same_calls_write_the_golden_bytes(tmp_path):
    build(tmp_path)
    expected = {path.name: path.read_bytes() for path in GOLDEN.iterdir()}
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(expected) == sorted(found), HINT
    for name, data in expected.items():
        assert data == found[name], f"{name}: {HINT}"


def test_the_golden_folder_is_read():
    fs = LocalFileSystem()
    log = Log.open(fs, GOLDEN)
    assert (log.queue_id, log.epoch) == (QUEUE_ID, 3)
    assert [(s.number, s.first_sequence, s.epoch) for s in log.segments] == [
        (0, 0, 1),
        (3, 3, 2),
        (70, 70, 2),
    ]
    replay = log.replay()
    assert payloads(replay) == [
        b"carry",
        b"a batch in two pieces",
        b"",
        b"second opening",
        b"carried over",
        bytes(range(256)) * 24,
    ]
    assert (replay.report.torn_bytes, replay.report.damaged, replay.report.strays) == (0, [], [])
    assert payloads(Log.open(fs, GOLDEN, ".results").replay()) == [b"results"]
    found, _ = checkpoint.read(fs, GOLDEN / "q.index", QUEUE_ID)
    assert found == Checkpoint(Position(3, log.segments[1].length), b"a checkpoint")
    assert read_owner(fs, GOLDEN) == OWNER


def tables(title):
    """Return the byte tables under a heading of the page: rows of offset, bytes, type, field."""
    section = re.split(r"^#+ ", PAGE.read_text().split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[
        0
    ]
    found = re.findall(r"(?:^\| \d+ \|.*\n)+", section, flags=re.MULTILINE)
    return [
        [[cell.strip() for cell in line.split("|")[1:5]] for line in table.splitlines()] for table in found
    ]


def parse(table, data):
    """Return the fields that a table finds in bytes, and how many bytes it describes."""
    fields, place = {}, 0
    for offset, size, kind, name in table:
        assert int(offset) == place
        assert SIZES.get(kind, int(size)) == int(size)
        raw = data[place : place + int(size)]
        place += int(size)
        if kind == "zeros":
            assert not any(raw)
        else:
            fields[name] = raw if kind == "bytes" else int.from_bytes(raw, "little")
    return fields, place


def test_the_page_tells_the_segment_header():
    data = (GOLDEN / "00000000000000000070.log").read_bytes()
    (table,) = tables("Segment header")
    fields, size = parse(table, data)
    assert size == segment.HEADER_BYTES
    assert fields == {
        "magic": segment.MAGIC,
        "version": segment.VERSION,
        "queue_id": QUEUE_ID,
        "number": 70,
        "first_sequence": 70,
        "epoch": 2,
        "checksum": crc32(data[:60]),
    }


def test_the_page_tells_frames():
    (table,) = tables("Frame")
    for name in ("00000000000000000000.log", "00000000000000000070.log", "00000000000000000000.results"):
        data, number = (GOLDEN / name).read_bytes(), int(name[:20])
        place, kinds = segment.HEADER_BYTES, []
        while place < len(data):
            fields, size = parse(table, data[place:])
            assert size == frame.HEADER_BYTES
            mark = crc32(QUEUE_ID + name[20:].encode() + number.to_bytes(8, "little")) or 1
            end = place + size + fields["length"]
            covered = data[place + 4 : place + 8] + data[place + 12 : end]
            assert fields["mark"] == mark
            assert fields["checksum"] == (crc32(covered, mark ^ place // 8) or 1)
            kinds.append(fields["kind"])
            place = -(-end // 8) * 8
            assert not any(data[end:place])
        assert place == len(data)
        assert kinds[0] == 1
        assert set(kinds[1:]) <= {FACT, BATCH}


def test_the_page_tells_the_first_frame():
    head, row = tables("The first frame")
    data = (GOLDEN / "00000000000000000070.log").read_bytes()[segment.HEADER_BYTES :]
    payload = data[16 : 16 + int.from_bytes(data[4:8], "little")]
    fields, size = parse(head, payload)
    assert fields == {"epoch": 2, "first_sequence": 70}
    listed = []
    while size < len(payload):
        fields, length = parse(row, payload[size:])
        listed.append(fields)
        size += length
    assert listed == [
        {"number": number, "length": (GOLDEN / f"{number:020d}.log").stat().st_size, "exact": 1}
        for number in (0, 3)
    ]


def test_the_page_tells_the_checkpoint():
    data = (GOLDEN / "q.index").read_bytes()
    (table,) = tables("Checkpoint")
    fields, size = parse(table, data)
    assert size == checkpoint.HEADER_BYTES
    assert fields == {
        "magic": checkpoint.MAGIC,
        "version": checkpoint.VERSION,
        "queue_id": QUEUE_ID,
        "segment": 3,
        "offset": (GOLDEN / "00000000000000000003.log").stat().st_size,
        "length": len(data) - size,
        "checksum": crc32(data[:60] + data[size:]),
    }


def test_a_stretch_of_the_golden_folder_is_read():
    log = Log.open(LocalFileSystem(), GOLDEN)
    stretches = [stretch for _, stretch in log.replay()]
    assert [bytes(f.payload) for f in log.read(Stretch(0, stretches[0].offset, 64))] == [
        b"carry",
        b"a batch in two pieces",
    ]
    log.close()
