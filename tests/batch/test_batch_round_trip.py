"""What is put into a record batch comes out of it: functions, arguments, order."""

from __future__ import annotations

import operator
from functools import partial
from itertools import repeat, starmap

import cloudpickle
import pytest

from daskqueue.batch import Batch, Broken, encode_calls, encode_items, encode_one
from daskqueue.errors import BatchError
from daskqueue.message import Call, call


def note(*args, **kwargs):
    return args, kwargs


def other(*args, **kwargs):
    return "other", args, kwargs


class Counter:
    def __init__(self, start):
        self.start = start

    def plus(self, number):
        return self.start + number

    @classmethod
    def made(cls, start):
        return cls(start).start

    def __eq__(self, _other):
        return True

    __hash__ = None


def run(blob):
    """Run a batch as a consumer does."""
    batch = Batch.parse(blob)
    out = []
    for group in batch.groups():
        assert not isinstance(group, Broken), group
        before = len(out)
        out.extend(starmap(group.call, group.arguments))
        assert len(out) - before == group.count
    assert len(out) == batch.count
    return out


def read(blob):
    return [(each.function, each.args, dict(each.kwargs)) for each in Batch.parse(blob).messages()]


SHAPES = {
    "nothing at all": [],
    "one without arguments": [(note,)],
    "equal ones without arguments": [(note,)] * 250,
    "bare functions": [note] * 120 + [other] * 120,
    "one function, then another": [(note,)] * 100 + [(other,)] * 100 + [(note,)] * 100,
    "two functions in turn": [(note,), (other,)] * 130,
    "one argument": [(note, i) for i in range(250)],
    "text and a dict": [(note, f"{i}.png", {"size": i}) for i in range(130)],
    "mixed functions with arguments": [((note, other)[i % 2], i) for i in range(230)],
    "uneven numbers of arguments": [(note, *range(i % 4)) for i in range(210)],
    "keywords": [call(note, i, key=i) for i in range(110)],
    "keywords and none, two functions": [
        call((note, other)[i % 2], i, **{"k": i} if i % 3 else {}) for i in range(210)
    ],
    "keywords only": [call(note, key=str(i)) for i in range(3)],
    "a Call and its like": [Call(note, (1, 2)), (note, 1, 2), note, Call(other)],
    "foreign arguments": [(note, complex(i, 1)) for i in range(110)],
    "foreign arguments, two functions": [((note, other)[i % 2], complex(i, 1)) for i in range(210)],
    "foreign keywords": [call(note, c=complex(i, 1)) for i in range(10)],
    "large arguments": [(note, bytes([i]) * 5_000) for i in range(230)],
    "one huge among small": [(note, bytes(200_000 if i == 50 else 1)) for i in range(320)],
    "None, nothing, and emptiness": [(note, value) for value in (None, 0, "", b"", [], {}, (), set(), False)],
    "equal but different arguments": [(note, 1), (note, True), (note, 1.0), (note, 0.0), (note, -0.0)],
    "a deep list": [(note, [[[[[[[["x"]]]]]]]])],
    "surrogates and big integers": [
        (note, "\udcff", 10**4000, float("inf"), bytearray(b"x"), frozenset({1}))
    ],
}


@pytest.mark.parametrize("calls", SHAPES.values(), ids=SHAPES)
def test_calls_come_back_as_they_were(calls):
    expected = [
        (each.function, each.args, dict(each.kwargs)) if isinstance(each, Call)
        else (each[0], each[1:], {}) if isinstance(each, tuple)
        else (each, (), {})
        for each in calls
    ]  # fmt: skip
    assert repr(read(encode_calls(calls))) == repr(expected)
    assert repr(run(encode_calls(calls))) == repr([f(*args, **kwargs) for f, args, kwargs in expected])


def test_common_keywords_reach_every_call_and_a_calls_own_win():
    blob = encode_calls([note, (note, 1), call(note, 2, flag="own", more=3)], {"flag": "common"})
    assert run(blob) == [
        ((), {"flag": "common"}),
        ((1,), {"flag": "common"}),
        ((2,), {"flag": "own", "more": 3}),
    ]


def test_any_sequence_and_a_consumed_generator_will_do():
    three = ((note, i) for i in range(3))
    assert run(encode_calls(list(three))) == run(encode_calls(((note, 0), (note, 1), (note, 2))))
    assert list(Batch.parse(encode_items(range(300))).items()) == list(range(300))


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), None), ((1, "x"), None), ((), {"a": 1}), ((complex(1),), {"b": note})]
)
def test_one_call_alone_reads_like_a_batch_of_one(args, kwargs):
    blob = encode_one(note, args, kwargs)
    assert read(blob) == read(encode_calls([Call(note, args, kwargs or {})]))
    assert run(blob) == [(args, kwargs or {})]


def test_functions_without_an_importable_name_travel_by_value():
    offset = 10
    counter = Counter(100)

    def closure(number):
        return number + offset

    calls = [
        (closure, 1), (lambda number: number * 2, 2), (counter.plus, 3), (partial(operator.add, 4), 4),
        (Counter.made, 5), ("-".join, ["a", "b"]), (len, "four"), (Counter.plus, counter, 6),
        (str.upper, "x"),
    ]  # fmt: skip
    assert run(encode_calls(calls)) == [11, 4, 103, 8, 5, "a-b", 4, 106, "X"]


def test_functions_are_told_apart_by_identity_and_never_by_their_own_equality():
    first, second = Counter(1), Counter(2)
    assert first == second
    assert run(encode_calls([(first.plus, 0), (second.plus, 0), (first.plus, 1)])) == [1, 2, 2]


def test_each_distinct_function_is_kept_once():
    counter = Counter(1)
    counter.model = bytes(10_000)
    blob = encode_calls([(counter.plus, i) for i in range(200)])
    assert len(blob) < 12_000
    assert run(blob) == [1 + i for i in range(200)]


def test_more_than_65536_functions_fit_in_one_batch():
    calls = [partial(operator.pos, i) for i in range(65_700)]
    blob = encode_calls(calls)
    assert [each.function() for each in Batch.parse(Batch.parse(blob).slice(65_500, 65_690)).messages()] == [
        *range(65_500, 65_690)
    ]


def test_a_function_of_a_module_registered_by_value_travels_by_value():
    by_reference = encode_one(note)
    module = __import__(note.__module__)
    cloudpickle.register_pickle_by_value(module)
    try:
        by_value = encode_one(note)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert len(by_value) > len(by_reference)
    assert run(by_value) == run(by_reference) == [((), {})]


def test_groups_name_the_users_functions():
    batch = Batch.parse(encode_calls([(note, 1), (other, 2), (note, 3)]))
    assert [group.functions for group in batch.groups()] == [(note, other)]
    batch = Batch.parse(encode_calls([call(note, a=1)]))
    assert [group.functions for group in batch.groups()] == [(note,)]


def test_items_keep_falsy_and_foreign_values():
    values = [0, "", [], None, False, complex(1), {"a": b"x"}, *repeat("same", 300)]
    batch = Batch.parse(encode_items(values))
    assert batch.holds_items
    assert list(batch.items()) == values
    assert [batch.item(i) for i in (0, 5, 306)] == [0, complex(1), "same"]
    with pytest.raises(BatchError, match="no value 307"):
        batch.item(307)


def test_a_batch_says_what_it_does_not_hold():
    with pytest.raises(BatchError, match="holds values"):
        next(Batch.parse(encode_items([1])).groups())
    with pytest.raises(BatchError, match="holds calls"):
        next(Batch.parse(encode_calls([note])).items())


def test_batches_laid_end_to_end_are_read_one_by_one():
    parts = [encode_calls([(note, i)]) for i in range(3)]
    assert [batch.count for batch in Batch.parse_many(b"".join(parts))] == [1, 1, 1]
    assert b"".join(map(run_one, Batch.parse_many(memoryview(bytearray(b"".join(parts)))))) == b"012"
    with pytest.raises(BatchError, match="3 record batches"):
        Batch.parse(b"".join(parts))
    with pytest.raises(BatchError, match="0 record batches"):
        Batch.parse(b"")


def run_one(batch):
    return b"".join(str(each.args[0]).encode() for each in batch.messages())


@pytest.mark.parametrize("bad", [[note, 1], "note", 17, None, (), (17, 1), ("f",)])
@pytest.mark.parametrize("before", [0, 3, 150])
def test_what_is_no_call_is_refused_with_its_position(bad, before):
    with pytest.raises(TypeError, match=f"call {before}[: ].*give"):
        encode_calls([*repeat((note,), before), bad, (note,)])


def test_one_bad_function_among_many_is_refused_with_its_position():
    with pytest.raises(TypeError, match="call 7: 'f' is not callable"):
        encode_calls([(note, 1)] * 7 + [("f", 1)])


@pytest.mark.parametrize(
    "calls", [[(note, 1)] * 105 + [(note, i) for i in [iter([])]], [note] * 105 + [(note, open)]]
)
def test_arguments_that_pickle_are_taken_even_if_unusual(calls):
    assert len(run(encode_calls(calls))) == 106


def test_what_cannot_be_pickled_is_refused_with_its_position():
    generator = (i for i in range(3))
    with pytest.raises(BatchError, match=r"call 105 cannot be pickled: TypeError: .*generator"):
        encode_calls([(note, 1)] * 105 + [(note, generator)])
    with pytest.raises(BatchError, match=r"call 5: the function .*generator"):
        encode_calls([(note,)] * 5 + [(generator.__next__,)])
    with pytest.raises(BatchError, match="item 2 cannot be pickled"):
        encode_items([1, 2, generator])
    with pytest.raises(BatchError, match="call 0 cannot be pickled"):
        encode_one(note, (generator,))
    with pytest.raises(TypeError, match="is not callable"):
        encode_one("note")


def test_endless_nesting_is_refused_and_not_fatal():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BatchError, match="call 1 cannot be pickled"):
        encode_calls([(note, 1), (note, deep)])
    while deep:  # taken apart by hand: the interpreter would do it recursively
        deep = deep.pop()
