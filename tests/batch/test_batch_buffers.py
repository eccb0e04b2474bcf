"""Large buffers: carried beside their pickle, not copied on the way, and aligned wherever they arrive."""

from __future__ import annotations

import operator
import pickle
import tracemalloc

import numpy as np
import pytest

from daskqueue.batch import Batch, Broken, encode_calls, encode_items, encode_one
from daskqueue.buffers import ALIGNMENT, LARGE_BUFFER_BYTES
from daskqueue.errors import BatchError, PayloadTooLargeError
from daskqueue.layout import ALIGNED, ENTRY, HEADER
from daskqueue.message import call
from daskqueue.results import decode_result, decode_results, encode_results

LARGE = np.arange(LARGE_BUFFER_BYTES // 8 + 3, dtype=float)
SMALL = np.arange(100)


def address(array):
    return array.__array_interface__["data"][0]


def lies_in(array, blob):
    start = np.frombuffer(blob, np.uint8)
    return address(start) <= address(array) < address(start) + len(blob)


def same(left, right):
    return type(left) is type(right) and np.array_equal(left, right)


def test_a_large_array_arrives_as_a_read_only_view_of_the_batch():
    blob = encode_one(np.sum, (LARGE,), {"axis": 0})
    assert blob.startswith(ALIGNED)
    (message,) = Batch.parse(blob).messages()
    (array,) = message.args
    assert same(array, LARGE)
    assert message.kwargs == {"axis": 0}
    assert lies_in(array, blob)
    assert address(array) % ALIGNMENT == 0
    with pytest.raises(ValueError, match="read-only"):
        array += 1


def test_a_small_array_is_copied_into_its_pickle_and_can_be_written_to():
    blob = encode_one(np.sum, (SMALL,))
    assert not blob.startswith(ALIGNED)
    (message,) = Batch.parse(blob).messages()
    message.args[0][0] = 7
    assert message.args[0][0] == 7


def test_results_own_their_buffers_and_can_be_written_to():
    blob, failed = encode_results([LARGE, 1, {"a": LARGE, "b": LARGE[:5]}])
    assert not failed
    first, one, both = decode_results(blob)
    assert same(first, LARGE)
    assert one == 1
    assert same(both["b"], LARGE[:5])
    first += 1
    assert not lies_in(first, blob)
    assert same(decode_result(blob, 2)["a"], LARGE)


@pytest.mark.parametrize("shape", ["items", "calls", "mixed calls", "keywords"])
@pytest.mark.parametrize(("first", "last"), [(0, 250), (0, 1), (3, 4), (99, 101), (57, 200), (249, 250)])
def test_any_slice_holds_its_values_on_aligned_places(shape, first, last):
    large = {3: LARGE, 99: LARGE[5:], 200: LARGE.reshape(-1, 1), 249: LARGE[::-1]}
    values = [large.get(n, f"{n}") for n in range(250)]
    if shape == "items":
        blob = encode_items(values)
    else:
        functions = [operator.index, operator.neg, operator.pos]
        calls = {
            "calls": [(operator.neg, value) for value in values],
            "mixed calls": [(functions[n % 3], value) for n, value in enumerate(values)],
            "keywords": [call(functions[n % 3], value=value) for n, value in enumerate(values)],
        }[shape]
        blob = encode_calls(calls)
    before = min(first, 2)
    part = Batch.parse(
        Batch.parse(Batch.parse(blob).slice(before, last)).slice(first - before, last - before)
    )
    assert part.count == last - first
    if shape == "items":
        found = list(part.items())
    else:
        messages = list(part.messages())
        if shape != "calls":
            assert [m.function for m in messages] == [functions[n % 3] for n in range(first, last)]
        found = [m.kwargs["value"] if shape == "keywords" else m.args[0] for m in messages]
    for value, wanted in zip(found, values[first:last], strict=True):
        assert same(value, wanted)
        if isinstance(value, np.ndarray) and wanted is not large[249]:
            assert address(value) % ALIGNMENT == 0


def test_one_call_of_many_is_read_alone():
    batch = Batch.parse(encode_calls([(operator.neg, LARGE), (operator.pos, 2), (operator.neg, 3)]))
    assert same(batch.call(0).args[0], LARGE)
    assert (batch.call(1).function, batch.call(1).args) == (operator.pos, (2,))
    assert batch.function_name(2) == "_operator.neg"


def test_bytes_and_bytearrays_come_back_as_what_they_were():
    raw = bytes(range(256)) * 8192
    values = [raw, bytearray(raw), pickle.PickleBuffer(raw), [bytearray(raw), LARGE]]
    first, second, third, (fourth, fifth) = Batch.parse(encode_items(values)).items()
    assert (first, second, bytes(third), fourth) == (raw, bytearray(raw), raw, bytearray(raw))
    assert type(first) is bytes
    assert type(second) is type(fourth) is bytearray
    assert same(fifth, LARGE)


def test_encoding_copies_a_large_array_once():
    tracemalloc.start()
    blob = encode_one(np.sum, (np.zeros(40 << 20, np.uint8),))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(blob) > 40 << 20
    # The array itself, and the batch.
    assert peak < 2.2 * (40 << 20)


def test_a_value_that_cannot_be_loaded_fails_alone_among_large_ones():
    class Odd:
        def __reduce__(self):
            return operator.truediv, (1, 0)

    first, broken, last = Batch.parse(encode_items([LARGE, Odd(), LARGE])).items()
    assert isinstance(broken, Broken)
    assert same(first, LARGE)
    assert same(last, LARGE)


def test_every_changed_byte_is_noticed_before_anything_is_unpickled():
    blob = bytearray(encode_items([LARGE[: LARGE_BUFFER_BYTES // 8], 1]))
    for position in (0, 3, 4, 9, 36, 60, 100, len(blob) // 2, len(blob) - 1):
        blob[position] ^= 1
        with pytest.raises(BatchError):
            Batch.parse(bytes(blob))
        blob[position] ^= 1
    for length in (len(blob) - 1, len(blob) - 16, 40, 36):
        with pytest.raises(BatchError):
            Batch.parse(bytes(blob[:length]))


def test_lengths_that_do_not_fit_are_an_error_of_that_message_only():
    blob = encode_items([LARGE])
    batch = Batch.parse(blob)
    start = batch._layout.offsets[0] + ALIGNMENT
    odd = bytearray(blob)
    odd[start] = 200  # so many buffers
    (value,) = Batch.parse(bytes(odd), verify=False)._decode(0, batch._layout.entry(0))
    assert isinstance(value, Broken)
    assert len(blob) % ALIGNMENT == 0
    assert batch._layout.offsets[0] % ALIGNMENT == 0
    assert batch._layout.offsets[0] >= HEADER.size + ENTRY.size


@pytest.mark.parametrize("value", [LARGE, "x" * (2 << 20), b"x" * (2 << 20), {1: ["y" * (2 << 20)]}])
def test_a_message_beyond_the_limit_is_refused_with_its_size_the_limit_and_what_to_do(value):
    for encode in (
        lambda: encode_one(operator.neg, (value,), max_bytes=1 << 20),
        lambda: encode_calls([(operator.neg, 1), (operator.neg, value)], max_bytes=1 << 20),
        lambda: encode_items([1, value], max_bytes=1 << 20),
    ):
        with pytest.raises(
            PayloadTooLargeError, match=r"[01] is too large: it takes [12],.* 1,048,576 .*send its name"
        ):
            encode()


def test_a_limit_is_for_one_message_and_not_for_all_of_a_batch():
    assert Batch.parse(encode_items(["x" * 600_000] * 5, max_bytes=1 << 20)).count == 5


def test_a_result_beyond_the_limit_is_a_failure_that_says_so():
    blob, failed = encode_results([1, LARGE], max_bytes=1000)
    assert isinstance(failed[1], PayloadTooLargeError)
    assert decode_result(blob, 0) == 1
    assert "ndarray" in decode_result(blob, 1).summary
    assert "max_payload_bytes" in decode_result(blob, 1).summary
