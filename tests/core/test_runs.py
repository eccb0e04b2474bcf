"""Runs against sets, the map of runs against a dict."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskqueue.core import runs as module
from daskqueue.core.runs import RunMap, Runs, count, intersect, merge, subtract
from daskqueue.message import Run

pairs = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8)
steps = st.lists(
    st.tuples(st.sampled_from(["add", "take"]), st.integers(0, 60), st.integers(1, 9), st.sampled_from("ab")),
    max_size=60,
)


def members(runs: Runs) -> set[int]:
    return {number for first, last in runs for number in range(first, last)}


@given(pairs, pairs)
def test_arithmetic_of_runs_is_that_of_sets(
    these: list[tuple[int, int]], those: list[tuple[int, int]]
) -> None:
    left, right = merge(these), merge(those)
    assert members(left) == {number for first, last in these for number in range(first, last)}
    for result, expected in (
        (intersect(left, right), members(left) & members(right)),
        (subtract(left, right), members(left) - members(right)),
    ):
        assert members(result) == expected
        assert result == merge(result)
        assert count(result) == len(expected)


def test_runs_that_touch_are_one_run() -> None:
    assert merge([(5, 7), (1, 3), (3, 5), (9, 9), (8, 6)]) == (Run(1, 7),)


@settings(deadline=None)
@given(steps)
def test_a_map_of_runs_is_a_dict(steps: list[tuple[str, int, int, str]]) -> None:
    runs, model = RunMap[str](), dict[int, str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 4)  # so that a few entries are many blocks
        for verb, first, length, value in steps:
            span = range(first, first + length)
            if verb == "take":
                taken = {number: model.pop(number) for number in span if number in model}
                assert flat(runs.take(first, first + length)) == taken
            elif not model.keys() & span:
                runs.add(first, first + length, value)
                model.update(dict.fromkeys(span, value))
            else:
                before = list(runs)
                with pytest.raises(ValueError, match="overlaps"):
                    runs.add(first, first + length, value)
                assert list(runs) == before
            assert flat(list(runs)) == model
            assert runs.count == len(model)
            assert list(runs) == canonical(model)
            assert flat(list(runs.pieces(20, 40))) == {n: v for n, v in model.items() if 20 <= n < 40}


def flat(entries: list[tuple[int, int, str]]) -> dict[int, str]:
    return {number: value for first, last, value in entries for number in range(first, last)}


def canonical(model: dict[int, str]) -> list[tuple[int, int, str]]:
    entries: list[tuple[int, int, str]] = []
    for number in sorted(model):
        if entries and entries[-1][1:] == (number, model[number]):
            entries[-1] = (entries[-1][0], number + 1, model[number])
        else:
            entries.append((number, number + 1, model[number]))
    return entries


def test_a_long_map_keeps_its_blocks_short() -> None:
    runs = RunMap((2 * number, 2 * number + 1, number) for number in range(5000))
    assert len(runs) == runs.count == 5000
    assert max(len(block) for block in runs._blocks) <= module._BLOCK
    assert len(runs.take(100, 9000)) == 4450
    assert runs.count == 550
