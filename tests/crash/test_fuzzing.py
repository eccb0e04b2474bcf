"""Hostile bytes: whatever a decoder is given, it raises only what its docstring says, and is done soon."""

from __future__ import annotations

import json
import pickle
import random
import struct
from pathlib import Path
from zlib import crc32

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskqueue.actors import pool_folder
from daskqueue.batch import Batch
from daskqueue.engine import records
from daskqueue.engine.large import read_reference
from daskqueue.errors import BatchError, CorruptionError, FolderError, FormatError
from daskqueue.layout import HEADER as BATCH_HEADER
from daskqueue.layout import declared
from daskqueue.message import Run
from daskqueue.storage import checkpoint, segment
from daskqueue.storage.folder import read_owner
from daskqueue.storage.frame import Frame, decode, encode, find
from daskqueue.storage.log import Log
from daskqueue.storage.memory import MemoryFileSystem
from daskqueue.storage.scan import scan

from .injected import injected, seeds
from .rubbish import BATCHES, EXTREMES, any_value, attempt, changed, use

FOLDER = Path("/queue")
QUEUE_ID = bytes(range(16))
MARK = 0x1234_5678
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _nothing_is_unpickled(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("something was unpickled")

    for name in ("loads", "load", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)


def in_memory(files):
    """Return a file system that holds files, given by name."""
    fs = MemoryFileSystem()
    fs.make_folder(FOLDER)
    for name, data in files.items():
        handle = fs.create(FOLDER / name)
        fs.write(handle, [data])
        fs.close(handle)
    return fs


# Bytes that nobody wrote


@given(st.binary(max_size=400), st.integers(0, 64), st.booleans())
@settings(max_examples=300, derandomize=True, deadline=None)
def test_rubbish_is_no_frame_and_no_segment(rubbish, offset, marked):
    window = struct.pack("<I", MARK) + rubbish if marked else rubbish
    assert decode(window, 0, MARK, 8 * offset).frame is None
    find(window, 0, MARK, 8 * offset)
    assert all(part.frame is None for part in scan(lambda o, n: window[o : o + n], 0, len(window), MARK))
    assert attempt(lambda: segment.decode_header(window, "it"), FolderError) is None
    injected["rubbish bytes"] += 1


@given(st.binary(max_size=300), st.sampled_from([16, 17, 18, 29, 30, 200]))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_rubbish_under_a_right_checksum_is_corruption_or_a_record(rubbish, kind):
    frame = Frame(kind, memoryview(struct.pack("<I", len(rubbish) // 2) + rubbish))
    for read in (records.read_fact, records.read_outcome):
        attempt(lambda read=read: read(frame), CorruptionError)
    for read in (records.read_position, records.read_witness, records.read_moved, read_reference):
        attempt(lambda read=read: read(memoryview(rubbish)), CorruptionError)
    attempt(lambda: segment.decode_opening(memoryview(rubbish)), CorruptionError)
    injected["rubbish bytes"] += 1


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=300, derandomize=True, deadline=None)
def test_rubbish_is_no_record_batch(rubbish, marked):
    data = b"DQB\x02" + rubbish if marked else rubbish
    for read in (Batch.parse, declared):
        with pytest.raises(BatchError):
            read(data)
    attempt(lambda: Batch.parse_many(data), BatchError)
    injected["rubbish bytes"] += 1


# Bytes that were changed, with the checksum made right again

SEEDS = seeds(12)
CHANGES = 60


@pytest.mark.parametrize("seed", SEEDS)
def test_a_changed_header_of_a_segment_is_one_or_none(seed):
    rng = random.Random(seed)
    whole = segment.encode_header(segment.Header(QUEUE_ID, 3, 7, 2))
    for _ in range(CHANGES):
        body = changed(rng, whole[:60])
        data = body + struct.pack("<I", crc32(body))
        header = attempt(lambda d=data: segment.decode_header(d, "it"), FolderError, FormatError)
        assert header is None or max(header[1:]) <= segment.MOST
        injected["nonsense under a right checksum"] += 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_changed_folder_is_opened_or_refused(seed):
    """Segments with changed headers, first frames and names, each with a right checksum."""
    rng = random.Random(seed)
    for _ in range(CHANGES):
        fs = in_memory({_name(rng): _segment(rng) for _ in range(rng.choice((1, 2, 3)))})
        log = attempt(lambda fs=fs: Log.open(fs, FOLDER, ".log", QUEUE_ID), FolderError, FormatError)
        if log is not None:
            list(log.replay())
            log.start(5, [(20, [b"on we go"])])
            log.close()
        injected["nonsense under a right checksum"] += 1


def _name(rng):
    number = rng.choice((0, 1, 2, 9, 10**19, 2**63, 10**20 - 1))
    odd = (
        "lock",
        ".log",
        "\u0660" * 20 + ".log",
        f"{number:019d}.log",
        f"{number:020d}.log.tmp",
        "\udcff.log",
    )
    return rng.choice(odd) if rng.random() < 0.2 else f"{number:020d}.log"


def _segment(rng):
    numbers = [rng.choice((0, 1, 2, 9, *EXTREMES)) for _ in range(3)]
    place = segment.SegmentFolder(MemoryFileSystem(), FOLDER, ".log")
    mark = place.mark(QUEUE_ID, numbers[0])
    lengths = {rng.choice((0, 1, 2, *EXTREMES)): (rng.choice(EXTREMES), True) for _ in range(3)}
    opening = segment.encode_opening(segment.Opening(numbers[2], numbers[1], lengths))
    if rng.random() < 0.5:
        opening = changed(rng, opening)
    head = segment.encode_header(segment.Header(QUEUE_ID, *numbers))
    frames = b""
    for kind, payload in ((1, opening), (20, b"a payload"), (rng.choice((0, 1, 2, 99)), b"what is this")):
        parts, _ = encode(kind, [payload], mark, len(head) + len(frames))
        frames += b"".join(parts)
    return head + rng.choice((frames, frames, changed(rng, frames)))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_changed_checkpoint_is_refused_or_read(seed):
    rng = random.Random(seed)
    payload = msgpack.packb([any_value(rng) for _ in range(5)])
    for _ in range(CHANGES):
        header = changed(rng, checkpoint.HEADER.pack(b"DASKQIDX", 1, QUEUE_ID, 0, 64, len(payload)))
        sound = crc32(payload, crc32(header[:60]))
        fs = in_memory({"it": header + struct.pack("<I", sound) + payload})
        found = attempt(lambda fs=fs: checkpoint.read(fs, FOLDER / "it", QUEUE_ID), FormatError)
        assert found is None or found[0] is not None or found[1]
        injected["nonsense under a right checksum"] += 1


OUTCOME = b"".join(
    records.outcome_frame(
        records.Outcome("returned", "pool", "carol", (Run(3, 5), Run(7, 8)), b"blob", "why", 5.0)
    )[1]
)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_changed_outcome_is_corruption_or_an_outcome(seed):
    rng = random.Random(seed)
    for _ in range(CHANGES):
        head = msgpack.unpackb(OUTCOME[4:-4])
        head[rng.randrange(len(head))] = any_value(rng)
        packed = msgpack.packb(head)
        whole = struct.pack("<I", len(packed)) + packed + b"blob"
        for payload in (whole, changed(rng, whole)):
            frame = Frame(records.OUTCOME, memoryview(payload))
            outcome = attempt(lambda frame=frame: records.read_outcome(frame), CorruptionError)
            if outcome is not None:
                parts = records.outcome_frame(outcome)[1]
                again = Frame(records.OUTCOME, memoryview(b"".join(map(bytes, parts))))
                assert records.read_outcome(again) == outcome
            injected["nonsense under a right checksum"] += 1


@pytest.mark.parametrize("blob", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("seed", seeds(4))
def test_a_changed_record_batch_is_refused_or_can_be_sliced(blob, seed):
    rng = random.Random(seed)
    tables = Batch.parse(blob)._layout.offsets[0]
    refused = 0
    for _ in range(20 if len(blob) > MIB else 100):
        front = bytearray(changed(rng, blob[:tables]))
        if len(front) >= BATCH_HEADER.size and rng.random() < 0.7:
            struct.pack_into("<I", front, 8, len(front) + len(blob) - tables)
        data = bytes(front + blob[tables:])
        data = data[:4] + struct.pack("<I", crc32(data[8:])) + data[8:]
        try:
            use(Batch.parse(data), rng)
        except BatchError:
            refused += 1
        injected["nonsense under a right checksum"] += 1
    assert refused


@pytest.mark.parametrize("seed", SEEDS)
def test_changed_json_beside_the_log_is_refused_or_read(seed):
    rng = random.Random(seed)
    pool = {"format": 1, "pool": "id", "name": "pool", "queues": 2}
    for _ in range(CHANGES):
        told = dict(pool)
        told[rng.choice(tuple(pool))] = rng.choice(
            (None, -1, 0, 10**400, 2.5, True, "text", [], {}, "../..", "\0")
        )
        text = json.dumps(told).encode()
        text = rng.choice((text, changed(rng, text), b"[" * 70_000, text.replace(b"2", b"1e999")))
        fs = in_memory({"pool.json": text, "lock": text})
        record = attempt(lambda fs=fs: pool_folder.read(str(FOLDER), fs), FolderError, FormatError)
        assert record is None or (record.n_queues > 0 and record.name and record.pool_id)
        owner = read_owner(fs, FOLDER)
        assert owner is None or isinstance(owner, dict)
        injected["nonsense under a right checksum"] += 1
