"""Results and failures: each value stands alone."""

from __future__ import annotations

import threading
import traceback

import pytest

from daskqueue.batch import Broken
from daskqueue.errors import JobFailedError
from daskqueue.results import (
    Failure,
    decode_failure,
    decode_result,
    decode_results,
    describe_failure,
    encode_failure,
    encode_results,
)


class StubbornError(Exception):
    """Pickles well, and cannot be made again from its args."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class WordlessError(Exception):
    def __str__(self):
        raise ValueError("no words")


class LockedError(Exception):
    def __init__(self):
        super().__init__("locked")
        self.lock = threading.Lock()


class Refuses:
    def __reduce__(self):
        return int, ("no number",)


def raised(error):
    try:
        raise error  # noqa: TRY301
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    "values",
    [
        [],
        [None] * 250,
        list(range(250)),
        [complex(i) for i in range(250)],
        [bytes(70_000), 1, "x"],
        [{"a": [1]}, ()],
    ],
    ids=["none", "equal", "plain", "foreign", "large", "nested"],
)
def test_results_come_back_in_their_order_and_one_by_one(values):
    blob, failed = encode_results(values)
    assert failed == {}
    assert decode_results(blob) == values
    assert [decode_result(blob, i) for i in range(len(values))] == values


def test_a_result_that_cannot_be_pickled_fails_alone():
    values = list(range(220))
    values[3] = threading.Lock()
    values[150] = (i for i in range(3))
    blob, failed = encode_results(values)
    assert sorted(failed) == [3, 150]
    out = decode_results(blob)
    assert [value for i, value in enumerate(out) if i not in failed] == [
        i for i in range(220) if i not in failed
    ]
    error = out[150].exception()
    assert isinstance(error, JobFailedError)
    assert "a generator, cannot be pickled" in str(error)
    assert decode_result(blob, 3).summary == out[3].summary


def test_a_result_that_cannot_be_unpickled_fails_alone():
    out = decode_results(encode_results([1, Refuses(), 3])[0])
    assert out[::2] == [1, 3]
    assert isinstance(out[1], Broken)
    assert "no number" in str(out[1].error)


def test_results_are_not_shared_after_decoding():
    shared = []
    first, second = decode_results(encode_results([shared, shared])[0])
    assert first is not second


def test_a_failure_brings_the_exception_and_its_traceback():
    failure = decode_failure(encode_failure(raised(KeyError("missing"))))
    error = failure.exception()
    assert type(error) is KeyError
    assert error.args == ("missing",)
    assert "in raised" in failure.traceback
    assert failure.summary == "KeyError: 'missing'"
    assert "in raised" in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("error", [StubbornError(1, 2), LockedError()], ids=["not made again", "not pickled"])
def test_an_exception_that_cannot_be_carried_becomes_its_text(error):
    failure = decode_failure(encode_failure(raised(error)))
    assert failure.pickled is None
    carried = failure.exception()
    assert isinstance(carried, JobFailedError)
    assert str(error) in str(carried)
    assert type(error).__name__ in str(carried)
    assert "in raised" in str(carried.__cause__)


@pytest.mark.parametrize("error", [WordlessError(), ValueError("x" * 1_000_000)])
def test_describing_a_failure_never_raises_and_stays_bounded(error):
    failure = describe_failure(raised(error))
    assert len(failure.traceback) <= 64 * 1024
    assert len(failure.summary) <= 64 * 1024
    assert type(failure.exception()) is type(error)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration()])
def test_what_would_end_its_reader_comes_as_its_text(error):
    failure = describe_failure(raised(error))
    carried = failure.exception()
    assert type(carried) is JobFailedError
    assert type(error).__name__ in str(carried)
    assert "in raised" in str(carried.__cause__)


def test_notes_and_chained_causes_are_in_the_text():
    error = ValueError("outer")
    error.add_note("a note")
    error.__cause__ = KeyError("inner")
    failure = describe_failure(error)
    assert "a note" in failure.traceback
    assert "inner" in failure.traceback


def test_failures_stand_among_results():
    blob, failed = encode_results([1, describe_failure(raised(ValueError("bad"))), 3])
    assert failed == {}
    one, failure, three = decode_results(blob)
    assert (one, three) == (1, 3)
    assert isinstance(failure, Failure)
    assert str(failure.exception()) == "bad"


def test_local_exception_classes_are_carried_by_value():
    class LocalError(Exception):
        pass

    assert type(describe_failure(raised(LocalError("here"))).exception()) is LocalError
