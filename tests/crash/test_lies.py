"""Lies about lengths: what claims to be huge takes neither memory nor time before it is known to be there."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from zlib import crc32

import pytest

from daskqueue.batch import Batch, encode_calls
from daskqueue.core.encode import decode as decode_fact
from daskqueue.engine import records
from daskqueue.errors import BatchError, CorruptionError
from daskqueue.layout import HEADER as BATCH_HEADER
from daskqueue.storage.frame import HEADER, decode, encode
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.log import Log
from daskqueue.storage.scan import scan

from .injected import injected
from .rubbish import BATCHES, attempt, note, use

QUEUE_ID = bytes(range(16))
MARK = 0x1234_5678
MIB = 1 << 20


def peak_bytes(read):
    """Return how much memory *read* took at most."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_lies_about_lengths_take_no_memory():
    """What claims to hold gigabytes is refused before memory is taken for them."""
    huge = 0xFFFF_FFFF
    bombs = [struct.pack(">BI", kind, huge) + bytes(64) for kind in (0xC6, 0xC9, 0xDB, 0xDD, 0xDF)]
    nested = (struct.pack(">BI", 0xDD, 100_000) * 400).ljust(100_100, b"\xc0")
    lies = [lambda data=data: decode_fact(16, data) for data in (*bombs, nested, b"\x91" * 100_000)]
    for blob in BATCHES.values():
        for place in range(8, BATCH_HEADER.size, 4):
            data = blob[:place] + struct.pack("<I", huge) + blob[place + 4 :]
            data = data[:4] + struct.pack("<I", crc32(data[8:])) + data[8:]
            lies.append(lambda data=data: Batch.parse(data, verify=False))
    lies.append(lambda: records.read_moved(memoryview(struct.pack("<I", huge) + b"rest")))
    lies.append(lambda: decode(HEADER.pack(MARK, huge, 1, 20) + b"rest", 0, MARK))
    for lie in lies:
        assert peak_bytes(lambda lie=lie: attempt(lie, BatchError, CorruptionError)) < 2 * MIB
        injected["lie about a length"] += 1


def test_equal_messages_that_take_no_bytes_are_no_bomb():
    """A chunk may speak of four thousand million equal calls in a few bytes: they stay a few bytes."""
    blob = bytearray(encode_calls([(note,)] * 300))
    batch = Batch.parse(blob)
    for place in (16, batch._layout.offsets[0] - 16, batch._layout.offsets[0] - 8):
        assert struct.unpack_from("<I", blob, place) == (300,)
        struct.pack_into("<I", blob, place, 0xFFFF_FFFF)
    struct.pack_into("<I", blob, 4, crc32(blob[8:]))
    assert peak_bytes(lambda: use(Batch.parse(bytes(blob)), random.Random(1))) < MIB
    injected["lie about a length"] += 1


def seconds(blob):
    """Return how long it takes to look through bytes, and how many frames are found."""
    began = time.process_time()
    frames = sum(part.frame is not None for part in scan(lambda o, n: blob[o : o + n], 64, len(blob), MARK))
    return time.process_time() - began, frames


def lies(kind, size):
    """Return bytes that make whoever looks for frames work hard."""
    rng = random.Random(kind)
    head = bytearray(64)
    lie = HEADER.pack(MARK, size // 2, 7, 20)
    if kind == "nothing but marks":
        return bytes(head) + struct.pack("<I", MARK) * (size // 4)
    if kind == "headers that claim half of it":
        return bytes(head) + lie * (size // 16)
    if kind == "headers that claim any part of it":
        claims = (HEADER.pack(MARK, rng.randrange(size), 7, 20) for _ in range(size // 16))
        return bytes(head) + b"".join(claims)
    while len(head) < size:
        head += b"".join(encode(20, [b"12345678"], MARK, len(head))[0]) + lie
    return bytes(head)


KINDS = (
    "nothing but marks", "headers that claim half of it", "headers that claim any part of it",
    "whole frames, and headers that claim half of it",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_time_to_look_through_lies_grows_as_their_bytes_do(kind):
    """Once it grew with their square: a megabyte of headers took minutes, sixty-four of them days."""
    small, _ = seconds(lies(kind, MIB // 32))
    large, frames = seconds(lies(kind, MIB // 2))
    assert large < 4 * 16 * small + 0.3
    assert (frames > 0) is kind.startswith("whole")
    injected["lie about a length"] += 2


def test_a_whole_frame_behind_lies_is_found():
    rng = random.Random(5)
    for size in (0, 10, 5000, 3 * MIB):
        blob = lies("headers that claim any part of it", 20_000)
        payload = rng.randbytes(size)
        frame = b"".join(encode(99, [payload], MARK, len(blob))[0])
        whole = blob + frame + blob
        found = [
            part for part in scan(lambda o, n, w=whole: w[o : o + n], 64, len(whole), MARK) if part.frame
        ]
        assert [(part.offset, bytes(part.frame.payload)) for part in found] == [(len(blob), payload)]
        injected["lie about a length"] += 1


def test_a_position_that_claims_gigabytes_reads_no_more_than_there_is(tmp_path):
    fs = LocalFileSystem()
    log = Log.open(fs, tmp_path, ".log", QUEUE_ID)
    (stretch,) = log.start(0, [(20, [b"payload"])])
    lie = stretch._replace(length=1 << 33)
    assert peak_bytes(lambda: attempt(lambda: log.read(lie), CorruptionError)) < 4 * MIB
    log.close()
    injected["lie about a length"] += 1
