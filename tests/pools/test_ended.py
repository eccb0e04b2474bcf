"""Results out of a part that a queue has sent: together or one by one."""

from __future__ import annotations

from daskqueue.actors.ended import RETURNED, Part
from daskqueue.message import Run
from daskqueue.results import encode_results

RUNS = (Run(10, 13), Run(20, 25))
VALUES = [[number] for number in range(8)]


def part():
    return Part(1 << 40, RETURNED, RUNS, encode_results(VALUES)[0], "")


def test_values_are_those_of_the_runs_that_are_asked_for():
    assert part().values(RUNS) == VALUES
    assert part().values((Run(12, 13), Run(21, 24))) == [[2], [4], [5], [6]]
    assert list(part().ids((Run(12, 13), Run(21, 22)))) == [(1 << 40) + 12, (1 << 40) + 21]


def test_a_message_is_found_by_its_sequence():
    assert [part().position(sequence) for sequence in (9, 10, 12, 13, 20, 24, 25)] == [
        None,
        0,
        2,
        None,
        3,
        7,
        None,
    ]


def test_one_value_after_the_other_is_the_same_as_all_and_never_the_same_object():
    ended = part()
    for _ in range(3):
        assert [ended.value(position) for position in (7, 0, 3, 2, 1, 6, 5, 4)] == [
            VALUES[position] for position in (7, 0, 3, 2, 1, 6, 5, 4)
        ]
    first, second = ended.value(3), ended.value(3)
    assert first == second
    assert first is not second
