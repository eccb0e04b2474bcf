"""After an operator's upgrade one DaskQueue after the other has its pods replaced."""

from __future__ import annotations

from daskqueue_operator.turns import LONGEST_SECONDS, Turns

FIRST, SECOND, THIRD = ("a", "1"), ("a", "2"), ("a", "3")


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def nothing():
    raise AssertionError("it has the turn, and need not be woken")


def test_one_has_the_turn_and_the_others_are_woken_when_it_is_given_back():
    turns, woken = Turns(Clock()), []
    assert turns.take(FIRST, nothing)
    assert turns.take(FIRST, nothing)
    assert not turns.take(SECOND, lambda: woken.append(SECOND))
    assert not turns.take(THIRD, lambda: woken.append(THIRD))

    turns.give_back(FIRST)

    assert woken == [SECOND, THIRD]
    assert turns.take(THIRD, nothing)
    assert not turns.take(SECOND, lambda: None)


def test_giving_back_what_one_does_not_have_changes_nothing():
    turns = Turns(Clock())
    assert turns.take(FIRST, nothing)
    turns.give_back(SECOND)
    assert not turns.take(SECOND, lambda: None)


def test_whoever_is_gone_is_not_woken():
    turns = Turns(Clock())
    assert turns.take(FIRST, nothing)
    assert not turns.take(SECOND, nothing)
    turns.give_back(SECOND)
    turns.give_back(FIRST)


def test_a_queue_that_cannot_roll_out_does_not_hold_up_the_others_for_ever():
    clock = Clock()
    turns = Turns(clock)
    assert turns.take(FIRST, nothing)
    clock.seconds = LONGEST_SECONDS - 1
    assert not turns.take(SECOND, lambda: None)
    clock.seconds = LONGEST_SECONDS
    assert turns.take(SECOND, nothing)
    assert not turns.take(FIRST, lambda: None)
