"""Where sequences lie: joined, split, removed, counted."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from daskqueue.storage.log import Stretch
from daskqueue.storage.positions import MAX_JOINED_BYTES, SPARE_ENTRIES, Entry, Positions

RUNS = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda run: (run[0], run[0] + run[1]))
STEPS = st.lists(st.tuples(st.sampled_from(["add", "remove"]), RUNS, st.integers(0, 3)), max_size=40)


def test_a_sequence_is_found_where_it_was_put():
    positions = Positions()
    positions.add(0, 10, Stretch(0, 64, 100_000))
    positions.add(10, 20, Stretch(0, 100_064, 100_000))
    assert positions.find(0) == positions.find(9) == Entry(0, 10, Stretch(0, 64, 100_000))
    assert positions.find(10) == Entry(10, 20, Stretch(0, 100_064, 100_000))
    assert positions.find(20) is None
    assert positions.find(-1) is None
    assert Positions().find(0) is None


def test_a_million_single_puts_cost_an_entry_for_each_64_kib():
    positions = Positions()
    size = 128
    for sequence in range(100_000):
        positions.add(sequence, sequence + 1, Stretch(0, 64 + sequence * size, size))
    assert len(positions) == -(-100_000 // (MAX_JOINED_BYTES // size))
    assert positions.count == positions.live(0) == 100_000
    found = positions.find(54_321)
    assert found.first <= 54_321 < found.last
    offset = 64 + 54_321 * size
    assert found.stretch.offset <= offset
    assert offset + size <= found.stretch.offset + found.stretch.length
    assert found.stretch.length <= MAX_JOINED_BYTES


def test_frames_of_other_kinds_may_lie_between_joined_ones():
    positions = Positions()
    positions.add(0, 1, Stretch(0, 64, 100))
    positions.add(1, 2, Stretch(0, 500, 100))
    assert positions.dump() == [(0, 2, 0, 64, 536)]


def test_what_does_not_directly_continue_is_not_joined():
    for first, stretch in (
        (2, Stretch(0, 164, 100)),  # a sequence is missing
        (1, Stretch(1, 164, 100)),  # another segment
        (1, Stretch(0, 164, MAX_JOINED_BYTES - 99)),  # too long together
        (1, Stretch(0, 0, 64)),  # before the other one
    ):
        positions = Positions()
        positions.add(0, 1, Stretch(0, 64, 100))
        positions.add(first, first + 1, stretch)
        assert len(positions) == 2


def test_removing_the_middle_splits():
    positions = Positions()
    positions.add(0, 10, Stretch(0, 64, 100))
    assert positions.remove(3, 5) == 2
    assert positions.dump() == [(0, 3, 0, 64, 100), (5, 10, 0, 64, 100)]
    assert positions.remove(0, 100) == 8
    assert positions.remove(0, 100) == 0
    assert (len(positions), positions.count, positions.oldest_live) == (0, 0, None)


def test_what_was_moved_lies_only_at_its_new_place():
    positions = Positions()
    positions.add(0, 10, Stretch(0, 64, 100_000))
    positions.add(10, 20, Stretch(1, 64, 100_000))
    positions.add(4, 6, Stretch(2, 64, 100))
    assert [(entry.first, entry.last, entry.stretch.segment) for entry in positions.overlapping(0, 20)] == [
        (0, 4, 0),
        (4, 6, 2),
        (6, 10, 0),
        (10, 20, 1),
    ]
    assert [positions.live(number) for number in range(4)] == [8, 10, 2, 0]
    assert positions.count == 20


def test_the_oldest_live_segment_is_the_first_with_a_sequence():
    positions = Positions()
    for segment in range(3):
        positions.add(segment * 10, segment * 10 + 10, Stretch(segment, 64, 100_000))
    positions.remove(0, 9)
    assert positions.oldest_live == 0
    positions.remove(9, 10)
    assert positions.oldest_live == 1


def test_overlapping_entries_are_cut_to_what_was_asked():
    positions = Positions()
    positions.add(0, 10, Stretch(0, 64, 100_000))
    positions.add(20, 30, Stretch(1, 64, 100_000))
    assert positions.overlapping(5, 22) == [
        Entry(5, 10, Stretch(0, 64, 100_000)),
        Entry(20, 22, Stretch(1, 64, 100_000)),
    ]
    assert positions.overlapping(10, 20) == positions.overlapping(5, 5) == []


def test_an_empty_run_is_nothing():
    positions = Positions()
    positions.add(5, 5, Stretch(0, 64, 100))
    positions.add(0, 10, Stretch(0, 64, 100))
    assert positions.remove(4, 4) == 0
    assert positions.dump() == [(0, 10, 0, 64, 100)]


def test_the_memory_of_a_removed_front_is_given_back():
    positions = Positions()
    for number in range(10_000):
        positions.add(number, number + 1, Stretch(number, 64, 100))
    for number in range(9_999):
        positions.remove(number, number + 1)
    assert len(positions._firsts) == len(positions._entries) <= 2 * SPARE_ENTRIES + 2
    assert positions.dump() == [(9_999, 10_000, 9_999, 64, 100)]


@given(STEPS)
def test_positions_are_what_a_dict_would_be(steps):
    positions, model, offset = Positions(), {}, 64
    for verb, (first, last), segment in steps:
        if verb == "add":
            stretch = Stretch(segment, offset, 30_000)
            offset += 30_000
            positions.add(first, last, stretch)
            model.update(dict.fromkeys(range(first, last), stretch))
        else:
            known = [sequence for sequence in range(first, last) if sequence in model]
            assert positions.remove(first, last) == len(known)
            for sequence in known:
                del model[sequence]
        agree(positions, model)
    agree(Positions.load(positions.dump()), model)


def agree(positions, model):
    for sequence in range(60):
        found, stretch = positions.find(sequence), model.get(sequence)
        assert (found is None) == (stretch is None)
        if found:
            segment, offset, length = found.stretch
            assert segment == stretch.segment
            assert offset <= stretch.offset
            assert stretch.offset + stretch.length <= offset + length
    rows = positions.dump()
    assert [row[:2] for row in rows] == sorted(row[:2] for row in rows)
    assert all(before[1] <= after[0] for before, after in pairwise(rows))
    assert positions.count == len(model) == sum(last - first for first, last, *_ in rows)
    for segment in range(4):
        assert positions.live(segment) == sum(stretch.segment == segment for stretch in model.values())
    assert positions.oldest_live == min((stretch.segment for stretch in model.values()), default=None)
