"""Damaged bytes and garbage raise BatchError, and nothing of them is unpickled."""

from __future__ import annotations

from itertools import islice
from struct import pack_into
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskqueue.batch import Batch, Broken, encode_calls, encode_items
from daskqueue.errors import BatchError, CannotLoadError, FormatError
from daskqueue.functions import FunctionCache, Record, load_function
from daskqueue.layout import HEADER
from daskqueue.results import decode_failure, decode_results, encode_failure, encode_results

ran = []


def note(*_args, **_kwargs):
    pass


class Planted:
    def __reduce__(self):
        return ran.append, ("planted",)


@pytest.fixture(autouse=True)
def _nothing_planted_runs():
    ran.clear()
    yield
    assert ran == []


def consume(batch):
    list(islice(batch.items() if batch.holds_items else batch.messages(), 10))


def decode(batch):
    list(islice(batch.groups() if not (batch.holds_items or batch.holds_results) else batch.items(), 10))


BLOBS = {
    "calls": encode_calls([(note, Planted()), (len, "x"), (lambda: 1,)]),
    "repeat": encode_calls([(note,)] * 3),
    "items": encode_items([Planted(), 1]),
}


@pytest.mark.parametrize("blob", BLOBS.values(), ids=BLOBS)
def test_every_flipped_bit_is_found_before_anything_is_unpickled(blob):
    for bit in range(len(blob) * 8):
        damaged = bytearray(blob)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BatchError):
            Batch.parse(damaged)


@pytest.mark.parametrize("blob", BLOBS.values(), ids=BLOBS)
def test_a_batch_parsed_without_its_checksum_is_verified_before_it_is_unpickled(blob):
    for bit in range(len(blob) * 8):
        damaged = bytearray(blob)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BatchError):
            consume(Batch.parse(damaged, verify=False))


@pytest.mark.parametrize("blob", BLOBS.values(), ids=BLOBS)
def test_every_truncation_and_every_addition_is_found(blob):
    for length in range(len(blob)):
        with pytest.raises(BatchError):
            Batch.parse(blob[:length])
    for addition in (b"\0", bytes(100), blob):
        with pytest.raises(BatchError):
            Batch.parse(blob + addition)


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=500, deadline=None, derandomize=True)
def test_garbage_raises_nothing_but_batch_error(garbage, with_magic):
    data = b"DQB\x01" + garbage if with_magic else garbage
    with pytest.raises(BatchError):
        Batch.parse(data)


SIGNED = {
    "two functions": encode_calls([(note, 1), (len, "x"), (note, 2)]),
    "keywords": encode_calls([(note, 1)], {"a": 1}),
    "foreign": encode_calls([(note, complex(1)), (len, complex(2))]),
    "repeat": BLOBS["repeat"],
    "items": encode_items([1, complex(2)]),
}


@pytest.mark.parametrize("blob", SIGNED.values(), ids=SIGNED)
@pytest.mark.parametrize("value", [0, 1, 2, 4, 7, 8, 127, 255])
def test_wrong_tables_under_a_right_checksum_raise_nothing_else(blob, value):
    """A batch made by faulty or foreign code: bounded work, BatchError or Broken, and no other error."""
    tables = Batch.parse(blob)._layout.offsets[0]
    for position in [p for p in range(tables) if p not in range(4, 8)]:
        damaged = bytearray(blob)
        damaged[position] = value
        pack_into("<I", damaged, 4, crc32(damaged[8:]))
        try:
            batch = Batch.parse(damaged)
            decode(batch)
            decode(Batch.parse(batch.slice(0, min(batch.count, 2))))
            batch.slice(batch.count, batch.count)
        except BatchError:
            pass


def test_a_newer_version_is_refused_by_name():
    with pytest.raises(FormatError, match=r"another version: 3; this daskqueue knows 1 to 2\. Upgrade"):
        Batch.parse(BLOBS["calls"].replace(b"DQB\x01", b"DQB\x03"))


def test_a_functions_bytes_must_match_their_digest():
    cache = FunctionCache(2, 100)
    with pytest.raises(ValueError, match="digest"):
        cache.load(bytes(16), memoryview(b"anything"))
    loaded = load_function(Record(2, bytes(16), memoryview(b"anything")))
    assert isinstance(loaded, CannotLoadError)


def test_damaged_results_and_failures_raise_batch_error():
    for blob, read in (
        (encode_results([Planted()])[0], decode_results),
        (encode_failure(KeyError(1)), decode_failure),
    ):
        for position in range(0, len(blob), 3):
            damaged = bytearray(blob)
            damaged[position] ^= 0x10
            with pytest.raises(BatchError):
                read(damaged)


def test_calls_are_no_results_and_results_no_failure():
    with pytest.raises(BatchError, match="no results"):
        decode_results(BLOBS["repeat"])
    with pytest.raises(BatchError, match="no failure"):
        decode_failure(encode_results([1])[0])


def test_a_chunk_that_holds_less_than_it_says_breaks_its_messages_only():
    blob = bytearray(encode_items([7, 8]))
    entry = HEADER.size + 8  # held, skip, take
    pack_into("<III", blob, entry, 3, 0, 3)
    pack_into("<I", blob, 16, 3)
    pack_into("<I", blob, 4, crc32(blob[8:]))
    out = list(Batch.parse(blob).items())
    assert len(out) == 3
    assert all(isinstance(each, Broken) for each in out)
