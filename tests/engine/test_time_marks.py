"""When messages were put, by a few marks: never too young, hardly too old, and always few."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daskqueue.engine.time_marks import COARSENESS, FINEST_SECONDS, TimeMarks

PUTS = st.lists(st.tuples(st.integers(1, 50), st.sampled_from([0.0, 0.0002, 0.01, 1.0, 500.0])), max_size=700)


def play(puts):
    """Return marks, the true time of each sequence, and the time after the last put."""
    marks, truth, now = TimeMarks(), [], 1e9
    for count, pause in puts:
        marks.note(len(truth), now)
        truth += [now] * count
        now += pause
    return marks, truth, now


def tolerance(age):
    return max(FINEST_SECONDS, age * COARSENESS) + 1e-6


@given(PUTS)
def test_an_age_is_right_or_a_little_too_high(puts):
    marks, truth, now = play(puts)
    for rows in (marks, TimeMarks.load(marks.dump(now + 1000.0))):
        for sequence, put_at in enumerate(truth):
            assert 0 <= put_at - rows.put_at(sequence) <= tolerance(now + 1000.0 - put_at)


@given(PUTS, st.data())
def test_a_spread_counts_each_message_once(puts, data):
    marks, truth, now = play(puts)
    first = data.draw(st.integers(0, len(truth)))
    last = data.draw(st.integers(first, len(truth)))
    spread = list(marks.spread(first, last))
    assert sum(count for _, count in spread) == last - first
    assert len(spread) <= 16
    if first < last:
        assert spread[0][0] == marks.put_at(first)
        assert all(spread[0][0] <= at <= now for at, _ in spread)


def test_a_spread_tells_apart_what_was_put_apart():
    marks = TimeMarks()
    marks.note(0, 10.0)
    marks.note(100, 20.0)
    marks.note(150, 30.0)
    assert list(marks.spread(90, 160)) == [(10.0, 10), (20.0, 50), (30.0, 10)]


def test_what_is_older_than_the_first_mark_is_left_out():
    marks = TimeMarks()
    assert marks.put_at(5) is None
    assert list(marks.spread(0, 10)) == []
    marks.note(7, 10.0)
    assert marks.put_at(5) is None
    assert list(marks.spread(0, 10)) == [(10.0, 3)]


def test_a_day_of_many_puts_leaves_some_thousand_marks():
    marks = TimeMarks()
    for number in range(200_000):
        marks.note(number, 1e9 + number * 0.43)
    assert len(marks) < 6000
    assert len(marks.dump(1e9 + 86400.0)) < 3000
