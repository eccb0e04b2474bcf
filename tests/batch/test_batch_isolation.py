"""A message is alone with its arguments and its failures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import daskqueue
from daskqueue.batch import Batch, Broken, encode_calls, encode_items
from daskqueue.errors import CannotLoadError
from daskqueue.message import call


def note(*args, **kwargs):
    return args, kwargs


class Foreign:
    def __init__(self, content=None):
        self.content = content


class Refuses:
    """Pickles well, and cannot be unpickled."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise RuntimeError("not here")


class Leaves:
    def __reduce__(self):
        return sys.exit, (3,)


def arguments(blob):
    return [each if isinstance(each, Broken) else each.args for each in Batch.parse(blob).messages()]


@pytest.mark.parametrize("also", [None, Foreign()], ids=["plain", "foreign"])
@pytest.mark.parametrize(
    "shared", [[1], {"a": 1}, {1}, bytearray(b"a")], ids=["list", "dict", "set", "bytearray"]
)
def test_what_messages_share_when_put_is_not_shared_when_run(shared, also):
    first, second, third = arguments(
        encode_calls([(note, shared, also), (note, shared, also), (note, [shared], also)])
    )
    first[0].clear()
    assert second[0] == shared
    assert third[0] == [shared]


def test_keywords_given_for_all_are_not_shared():
    first, second = Batch.parse(encode_calls([note, note], {"a": []})).messages()
    first.kwargs["a"].append(1)
    first.kwargs["b"] = 2
    assert second.kwargs == {"a": []}


def test_a_function_with_repeated_calls_hands_out_separate_arguments():
    out = [each.args for each in Batch.parse(encode_calls([(note, [])] * 250)).messages()]
    assert len({id(args[0]) for args in out}) == 250


def test_sharing_inside_a_plain_message_is_lost():
    """Documented in docs/batch-format.md: the price of a chunk without a memo."""
    inner = [1]
    ((left, right),) = arguments(encode_calls([(note, inner, inner)]))
    assert left == right == [1]
    assert left is not right


def test_sharing_inside_a_message_with_foreign_objects_is_kept():
    inner = [1]
    ((left, right, _),) = arguments(encode_calls([(note, inner, inner, Foreign())]))
    assert left is right


@pytest.mark.parametrize("size", [1, 100_000], ids=["small", "large"])
def test_cyclic_arguments_come_back_cyclic_and_leave_their_neighbours_alone(size):
    ring = [bytes(size)]
    ring.append(ring)
    loop = {}
    loop["me"] = loop
    out = arguments(encode_calls([(note, 0), (note, ring), (note, loop), *((note, i) for i in range(400))]))
    assert out[1][0][1] is out[1][0]
    assert out[2][0]["me"] is out[2][0]
    assert out[3:] == [(i,) for i in range(400)]


@pytest.mark.parametrize("bad", [Refuses(), Leaves()], ids=["raises", "exits"])
def test_a_message_that_cannot_be_decoded_fails_alone(bad):
    calls = [(note, i) for i in range(150)]
    calls[20] = calls[21] = (note, bad)
    out = arguments(encode_calls(calls))
    assert [i for i, each in enumerate(out) if isinstance(each, Broken)] == [20, 21]
    assert [each for each in out if not isinstance(each, Broken)] == [
        (i,) for i in range(150) if i not in (20, 21)
    ]


def test_a_broken_message_carries_the_original_text():
    (broken,) = Batch.parse(encode_calls([(note, Refuses())])).groups()
    assert broken.count == 1
    assert isinstance(broken.error, CannotLoadError)
    assert "RuntimeError: not here" in str(broken.error)
    assert isinstance(broken.error.__cause__, RuntimeError)


def test_a_broken_message_among_mixed_functions_and_keywords_fails_alone():
    calls = [
        call((note, len)[i % 2], Refuses() if i == 3 else i, **{"k": 1} if i == 5 else {}) for i in range(8)
    ]
    groups = [*Batch.parse(encode_calls(calls)).groups()]
    assert [group.count for group in groups] == [3, 1, 4]
    assert isinstance(groups[1], Broken)


def test_a_broken_item_stands_among_the_others():
    out = list(Batch.parse(encode_items([1, Refuses(), 3])).items())
    assert out[::2] == [1, 3]
    assert isinstance(out[1], Broken)


SENDER = """
import sys
from absent_module import Thing, work, fails
from daskqueue.batch import encode_calls
from daskqueue.message import call
class Own:
    def __init__(self, number): self.number = number
def twice(own): return own.number * 2
calls = [
    (twice, Own(4)), (work, 1), (twice, Own(5)), (len, [Thing()]), (len, "abc"), call(work, a=1),
    (twice, Own(6)), (lambda thing=Thing: 1,),
]
calls += [(work, i) for i in range(200)] + [(len, "abcd")] * 200
sys.stdout.buffer.write(encode_calls(calls))
"""


def test_in_another_process_a_missing_module_breaks_only_its_messages(tmp_path):
    (tmp_path / "absent_module.py").write_text(
        "class Thing: pass\ndef work(*a, **k): pass\ndef fails(): pass\n"
    )
    package = str(Path(daskqueue.__file__).parents[1])
    path = os.pathsep.join([str(tmp_path), package])
    blob = subprocess.run(
        [sys.executable, "-c", SENDER],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path},
    ).stdout
    out = list(Batch.parse(blob).messages())
    assert [i for i, each in enumerate(out) if isinstance(each, Broken)] == [1, 3, 5, 7, *range(8, 208)]
    assert [each.function(*each.args) for each in out if not isinstance(each, Broken)] == [8, 10, 3, 12] + [
        4
    ] * 200
    assert "No module named 'absent_module'" in str(out[1].error)
    assert "absent_module:work" in str(out[1].error)
    groups = list(Batch.parse(blob).groups())
    assert sum(group.count for group in groups) == 408
