"""Frames: one table of cases through the encoder and the decoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskqueue.storage.frame import HEADER_BYTES, checksum, decode, encode, find, padded

# kind, payload in pieces, the frame's bytes with mark 0xAABBCCDD at offset 64
MARK = 0xAABBCCDD
AT = 64
CASES = [
    (16, [], "ddccbbaa 00000000 f061e13a 10000000"),
    (16, [b"a"], "ddccbbaa 01000000 7db94b42 10000000 6100000000000000"),
    (255, [b"abcd", b"", b"efgh"], "ddccbbaa 08000000 9d12de03 ff000000 6162636465666768"),
    (1, [b"\0" * 9], "ddccbbaa 09000000 fb05af64 01000000 00000000000000000000000000000000"),
]


def built(kind, parts, mark=MARK, offset=AT):
    buffers, size = encode(kind, parts, mark, offset)
    data = b"".join(buffers)
    assert size == len(data)
    return data


@pytest.mark.parametrize(("kind", "parts", "expected"), CASES)
def test_the_table_is_what_the_encoder_writes(kind, parts, expected):
    assert built(kind, parts).hex() == expected.replace(" ", "")


@pytest.mark.parametrize(("kind", "parts", "data"), CASES)
def test_the_table_is_what_the_decoder_reads(kind, parts, data):
    outcome, size, frame = decode(bytes.fromhex(data), 0, MARK, AT)
    assert (outcome, size) == ("valid", len(bytes.fromhex(data)))
    assert (frame.kind, bytes(frame.payload)) == (kind, b"".join(parts))


@pytest.mark.parametrize(("kind", "parts", "data"), CASES)
def test_a_frame_cut_at_any_byte_is_torn_and_says_what_it_needs(kind, parts, data):
    whole = bytes.fromhex(data)
    for length in range(len(whole)):
        outcome, size, frame = decode(whole[:length], 0, MARK, AT)
        assert (outcome, frame) == ("torn", None)
        assert size == (HEADER_BYTES if length < HEADER_BYTES else len(whole))


@pytest.mark.parametrize(("kind", "parts", "data"), CASES)
def test_a_frame_with_any_bit_flipped_is_never_valid(kind, parts, data):
    whole = bytes.fromhex(data)
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        assert decode(damaged, 0, MARK, AT).frame is None


@pytest.mark.parametrize(("kind", "parts", "data"), CASES)
@pytest.mark.parametrize("trailing", [b"\0", b"\xff" * 40, built(16, [b"next"], offset=88)])
def test_bytes_after_a_frame_do_not_matter(kind, parts, data, trailing):
    outcome, size, frame = decode(b"before  " + bytes.fromhex(data) + trailing, 8, MARK, AT)
    assert (outcome, size, bytes(frame.payload)) == ("valid", len(bytes.fromhex(data)), b"".join(parts))


@pytest.mark.parametrize("length", [0, 1, 8, 15, 16, 24, 4096])
def test_zeros_are_never_a_frame(length):
    assert decode(bytes(length), 0, MARK, AT).frame is None
    assert decode(bytes(length), 0, 1, 0).frame is None


def test_a_frame_at_another_place_is_no_frame():
    data = built(16, [b"payload"])
    assert decode(data, 0, MARK, AT).frame
    assert decode(data, 0, MARK, AT + 8).frame is None
    assert decode(data, 0, MARK + 1, AT).frame is None


def test_the_checksum_does_not_depend_on_how_the_payload_is_cut():
    payload = bytes(range(256)) * 100
    expected = checksum(7, 16, [payload])
    for cut in (1, 100, 5119, 5120, 5121, 20_000):
        assert checksum(7, 16, [payload[:cut], payload[cut:]]) == expected


@pytest.mark.parametrize("kind", [-1, 256])
def test_a_kind_must_fit_in_a_byte(kind):
    with pytest.raises(ValueError, match="does not fit"):
        encode(kind, [b""])


def test_a_memoryview_of_numbers_is_refused():
    with pytest.raises(ValueError, match="plain bytes"):
        encode(16, [memoryview(bytes(8)).cast("I")])


@given(st.integers(0, 255), st.lists(st.binary(max_size=40), max_size=4), st.integers(0, 1000))
def test_what_was_encoded_is_decoded(kind, parts, place):
    data = built(kind, parts, offset=place * 8)
    outcome, size, frame = decode(data, 0, MARK, place * 8)
    assert (outcome, size) == ("valid", padded(sum(map(len, parts))))
    assert (frame.kind, bytes(frame.payload)) == (kind, b"".join(parts))


@given(st.binary(max_size=200), st.integers(0, 3))
def test_garbage_is_never_a_frame_and_never_an_error(data, start):
    assert decode(data, min(start, len(data)), MARK, AT).frame is None


def test_find_gives_places_where_a_frame_may_begin():
    data = b"\xff" * 20 + built(16, [], offset=24)  # its mark is not at a multiple of 8
    data += b"\xff" * 4 + built(16, [b"here"], offset=40)
    assert find(data, 0, MARK, 0) == 40
    assert find(data, 41, MARK, 0) == -1
    assert find(data, 0, MARK, 4) == 20
