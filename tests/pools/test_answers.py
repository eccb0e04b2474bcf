"""Which results a queue reads together for those who wait."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from daskqueue.actors.answers import next_group
from daskqueue.core.runs import merge
from daskqueue.message import Run

RUNS = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30)), max_size=12).map(
    lambda pairs: merge((first, first + count) for first, count in pairs)
)


def test_neighbours_are_read_together_and_a_long_run_is_cut():
    rest = deque([Run(0, 10), Run(12, 20), Run(40, 50)])
    assert next_group(rest, 15, 5) == [Run(0, 10), Run(12, 15)]
    assert next_group(rest, 15, 5) == [Run(15, 20)]
    assert next_group(rest, 4, 5) == [Run(40, 44)]
    assert list(rest) == [Run(44, 50)]


def test_large_results_are_read_one_by_one():
    rest = deque([Run(0, 3)])
    assert [next_group(rest, 1, 0) for _ in range(3)] == [[Run(0, 1)], [Run(1, 2)], [Run(2, 3)]]


@given(RUNS, st.integers(1, 60), st.integers(0, 20))
def test_groups_are_all_runs_in_order_within_their_bounds(runs, most, gap):
    rest, groups = deque(runs), []
    while rest:
        groups.append(next_group(rest, most, gap))
    assert merge(run for group in groups for run in group) == runs
    for group in groups:
        assert group[-1].last - group[0].first <= most
        assert all(0 <= after.first - before.last <= gap for before, after in pairwise(group))
