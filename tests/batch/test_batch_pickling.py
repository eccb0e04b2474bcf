"""How chunks are pickled, and how functions are kept."""

from __future__ import annotations

import pickle
import pickletools
import threading

import cloudpickle
import pytest

from daskqueue.chunk import PLAIN, SINGLE, ChunkEncoder, _plain_pickler
from daskqueue.functions import FunctionCache, FunctionTable, encode_function


def refuse(position, error):
    raise AssertionError((position, error))


class File:
    def __init__(self):
        self.written = b""

    def write(self, data):
        self.written += bytes(data)


def test_the_deprecated_fast_mode_still_means_no_memo():
    """If not, change ``chunk._plain_pickler`` alone: any pickler without a memo will do."""
    file = File()
    shared = ["shared"]
    _plain_pickler(file).dump([shared, shared, {"a": shared}])
    assert pickle.loads(file.written) == [shared, shared, {"a": shared}]
    assert not {opcode.name for opcode, _, _ in pickletools.genops(file.written)} & {
        "MEMOIZE",
        "BINGET",
        "BINPUT",
    }


def test_the_plain_pickler_is_pythons_c_pickler():
    """Another one would ask ``reducer_override`` about every object, and every chunk would lose its speed."""
    assert issubclass(type(_plain_pickler(File())), __import__("_pickle").Pickler)


@pytest.mark.parametrize(
    "value",
    [1, 1.5, "x", b"x", None, True, [1], (1,), {"a": 1}, {1}, frozenset({1}), bytearray(b"x")],
    ids=repr,
)
def test_plain_values_share_one_pickle(value):
    assert ChunkEncoder(refuse).values([value, value], 0).codec == PLAIN


@pytest.mark.parametrize("value", [1j, len, int, object(), ..., range(3)], ids=repr)
def test_anything_else_has_a_pickle_of_its_own_wherever_it_hides(value):
    for hidden in (value, [value], {"a": (value,)}):
        assert ChunkEncoder(refuse).values([1, hidden], 0).codec == SINGLE


def test_a_failed_attempt_leaves_no_trace_in_the_next_chunk():
    encoder = ChunkEncoder(refuse)
    ring = []
    ring.append(ring)
    deep = []
    for _ in range(60):
        deep = [deep]
    for _ in range(50):
        assert encoder.values([ring], 0).codec == SINGLE
        assert encoder.values([deep, deep], 0).codec == PLAIN


def test_bytes_written_before_an_attempt_failed_do_not_reach_the_next_chunk():
    encoder = ChunkEncoder(refuse)
    encoder.values([bytes(200_000), 1j], 0)
    assert pickle.loads(b"".join(encoder.values([1, 2], 0).parts)) == [1, 2]


def test_large_values_switch_the_chunks_to_single_and_small_ones_back():
    encoder = ChunkEncoder(refuse)
    codecs = [encoder.values([bytes(size)] * 100, 0).codec for size in (10, 1_000, 1_000, 10, 10)]
    assert codecs == [PLAIN, SINGLE, SINGLE, SINGLE, PLAIN]


def test_a_class_registered_by_value_is_not_pickled_by_reference():
    module = __import__(__name__)
    cloudpickle.register_pickle_by_value(module)
    try:
        encoded = ChunkEncoder(refuse).values([File()], 0)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert b"cloudpickle" in b"".join(encoded.parts)


def test_a_text_that_names_main_is_only_a_text():
    encoded = ChunkEncoder(refuse).values(["__main__", 1j], 0)
    assert pickle.loads(bytes(encoded.parts[1])) == "__main__"


def test_importable_functions_are_kept_by_reference_and_others_by_value():
    import os.path  # noqa: PLC0415

    assert encode_function(os.path.join).endswith(b"posixpath:join")
    assert encode_function(File).endswith(b":File")
    assert encode_function(File.write).endswith(b":File.write")
    assert b"cloudpickle" in encode_function(lambda: 1)
    shadowed = type("File", (), {"__call__": lambda self: 1, "__module__": __name__, "__qualname__": "File"})
    assert not encode_function(shadowed).endswith(b":File")


def test_a_method_made_anew_each_time_is_one_function():
    table = FunctionTable()
    file, twin = File(), File()
    assert table.numbers([file.write, file.write, twin.write, file.write]) == [0, 0, 1, 0]
    words = ["a"]
    assert table.numbers([words.append, words.append, words.pop]) == [2, 2, 3]


def test_functions_that_live_shortly_are_not_taken_for_each_other():
    table = FunctionTable()
    assert [table.number(lambda i=i: i) for i in range(50)] == [*range(50)]


def test_a_function_by_value_is_loaded_once_and_the_oldest_forgotten_first():
    cache = FunctionCache(entries=2, size_bytes=10_000)
    kept = {name: _record(lambda name=name: name) for name in "abc"}
    load = lambda name: cache.load(*kept[name])  # noqa: E731
    first = load("a")
    load("b")
    assert load("a") is first
    load("c")
    assert load("a") is first
    second = load("b")
    assert load("b") is second
    assert load("c")() == "c"


def test_the_cache_is_bounded_by_bytes_and_keeps_the_last_whatever_its_size():
    cache = FunctionCache(entries=100, size_bytes=5_000)
    small, large = _record(lambda: 1), _record(lambda data=bytes(9_000): data)
    first = cache.load(*small)
    big = cache.load(*large)
    assert cache.load(*large) is big
    assert cache.load(*small) is not first


def test_threads_that_load_the_same_function_get_a_function():
    cache = FunctionCache(entries=4, size_bytes=5_000)
    records = [_record(lambda i=i: i) for i in range(8)]
    wrong = []

    def load():
        wrong.extend(i for i in [*range(8)] * 20 if cache.load(*records[i])() != i)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _record(function):
    record = encode_function(function)
    return record[8:24], memoryview(record[24:])
