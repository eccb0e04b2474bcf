"""A slice of a record batch is a record batch of the same messages."""

from __future__ import annotations

import operator
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskqueue.batch import Batch, encode_calls, encode_items
from daskqueue.errors import BatchError
from daskqueue.message import call
from daskqueue.results import encode_results

BIG = partial(operator.add, bytes(3_000))
PARTS = {
    "repeat": lambda i: (operator.pos,),
    "repeat another": lambda i: (operator.neg,),
    "plain": lambda i: (operator.pos, i),
    "mixed": lambda i: ((operator.pos, operator.neg, BIG)[i % 3], i),
    "single": lambda i: (operator.pos, complex(i)),
    "single mixed": lambda i: ((operator.pos, operator.neg)[i % 2], complex(i)),
    "keywords": lambda i: call(operator.pos, i, key=i),
    "uneven": lambda i: (operator.pos, *range(i % 3)),
    "by value": lambda i: (BIG, i),
    "many functions": lambda i: (partial(operator.add, i), 1),
    "large": lambda i: (operator.pos, bytes([i % 256]) * 2_000),
}


def read(blob):
    return [(repr(each.function), each.args, dict(each.kwargs)) for each in Batch.parse(blob).messages()]


batches = st.lists(st.tuples(st.sampled_from(sorted(PARTS)), st.integers(1, 130)), min_size=1, max_size=4)


@st.composite
def cuts(draw):
    parts = draw(batches)
    calls = [PARTS[kind](i) for kind, count in parts for i in range(count)]
    bounds = []
    count = len(calls)
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(0, count))
        last = draw(st.integers(first, count))
        bounds.append((first, last))
        count = last - first
    return calls, bounds


@given(cuts())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_cut_of_any_cut_equals_that_part_of_the_whole(case):
    calls, bounds = case
    blob = encode_calls(calls)
    expected = read(blob)
    for first, last in bounds:
        blob = Batch.parse(blob).slice(first, last)
        expected = expected[first:last]
        assert Batch.parse(blob).count == last - first
        assert read(blob) == expected


@given(st.lists(st.integers(0, 450), min_size=0, max_size=12))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_slices_side_by_side_make_up_the_whole(points):
    calls = [
        PARTS[kind](i) for kind in ("plain", "single mixed", "repeat", "mixed", "keywords") for i in range(90)
    ]
    batch = Batch.parse(encode_calls(calls))
    bounds = [0, *sorted(points), 450]
    joined = b"".join(batch.slice(first, last) for first, last in pairwise(bounds))
    out = [repr(each) for part in Batch.parse_many(joined) for each in part.messages()]
    assert out == [repr(each) for each in batch.messages()]


@pytest.mark.parametrize(
    "values", [list(range(350)), [complex(i) for i in range(350)]], ids=["plain", "single"]
)
@pytest.mark.parametrize(
    "encode", [encode_items, lambda values: encode_results(values)[0]], ids=["items", "results"]
)
def test_items_and_results_are_sliced_alike(values, encode):
    part = Batch.parse(Batch.parse(encode(values)).slice(120, 333))
    assert list(part.items()) == values[120:333]
    assert [part.item(i) for i in (0, 100, 212)] == [values[120], values[220], values[332]]


def test_a_slice_of_large_messages_carries_only_their_bytes():
    batch = Batch.parse(encode_calls([(operator.pos, bytes(10_000)) for _ in range(100)]))
    assert len(batch.slice(40, 41)) < 10_300


def test_a_slice_leaves_out_large_functions_that_it_does_not_use():
    big = partial(operator.add, bytes(100_000))
    batch = Batch.parse(
        encode_calls([(operator.pos, 1)] * 100 + [(big, 1)] * 100 + [(operator.neg, 1)] * 100)
    )
    assert len(batch.slice(0, 100)) < 1_000
    assert len(batch.slice(150, 151)) > 100_000
    assert read(batch.slice(99, 201)) == read(
        encode_calls([(operator.pos, 1), *[(big, 1)] * 100, (operator.neg, 1)])
    )


def test_a_large_function_between_those_that_a_slice_uses_is_left_out():
    big = partial(operator.add, bytes(100_000))
    turns = [(operator.pos, 2), (operator.neg, 2)] * 50
    calls = [(operator.pos, 1), (big, 1), *[(operator.neg, 1)] * 98, *turns]
    blob = Batch.parse(encode_calls(calls)).slice(100, 200)
    assert len(blob) < 1_500
    assert read(blob) == read(encode_calls(calls))[100:]
    assert read(Batch.parse(blob).slice(50, 52)) == read(blob)[50:52]


def test_making_a_slice_unpickles_nothing():
    batch = Batch.parse(encode_items([Explodes(), 1, 2]), verify=False)
    assert list(Batch.parse(batch.slice(1, 3)).items()) == [1, 2]


class Explodes:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (0, 6), (3, 2), (6, 6)])
def test_a_slice_beyond_the_batch_is_refused(first, last):
    with pytest.raises(BatchError, match="of 5 messages"):
        Batch.parse(encode_calls([(operator.pos, i) for i in range(5)])).slice(first, last)
