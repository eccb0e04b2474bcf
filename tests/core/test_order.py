"""Priorities and groups: which message is next, and whose turn it is."""

from __future__ import annotations

import pytest

from daskqueue.core import reads
from daskqueue.core.commands import Ack, Cancel, Lose, Move, Nack, Purge, Redrive, Release
from daskqueue.core.tally import State
from daskqueue.message import Run

from .stage import Stage, run


def order(stage: Stage, consumer: str = "carol") -> list[int]:
    """Return the sequences that one consumer gets, one lease after the other."""
    found: list[int] = []
    while (grant := stage.lease(consumer=consumer)) is not None:
        found += [sequence for first, last in grant.runs for sequence in range(first, last)]
    return found


# ------------------------------------------------------------------ priorities


def test_the_larger_priority_is_sooner_and_of_one_priority_the_older(stage: Stage) -> None:
    for priority in (0, 5, -1, 5, 0, 7):
        stage.put(1, priority=priority)
    assert order(stage) == [5, 1, 3, 0, 4, 2]


def test_a_lease_has_one_priority(stage: Stage) -> None:
    stage.put(10)
    stage.put(3, priority=1)
    assert stage.granted(8).runs == run(10, 13)
    assert stage.granted(8).runs == run(0, 8)


def test_an_urgent_message_overtakes_what_waited_before_it(stage: Stage) -> None:
    stage.put(5)
    stage.granted(2)
    stage.put(1, priority=1)
    assert stage.granted(5).runs == run(5, 6)


def test_a_message_keeps_its_priority_over_retries_losses_and_time(stage: Stage) -> None:
    stage.put(1, priority=5, retries=2)
    stage.put(1, priority=5, delay=3.0)
    stage.put(3)
    grant = stage.granted(1)
    stage.do(Nack(grant.receipt, grant.runs, "raised", 2.0))
    stage.now += 2.0
    assert stage.granted(1, "dave").runs == run(0, 1)
    stage.do(Lose(["dave"]))
    stage.now += 1.0
    assert order(stage) == [0, 1, 2, 3, 4]


def test_a_redriven_letter_keeps_its_priority(stage: Stage) -> None:
    stage.put(2)
    stage.put(1, priority=2)
    grant = stage.granted(1)
    stage.do(Nack(grant.receipt, grant.runs, "raised"))
    stage.do(Redrive())
    assert order(stage) == [2, 0, 1]


@pytest.mark.parametrize("checkpoint", [False, True])
def test_priorities_survive_a_restart_and_a_dropped_segment(stage: Stage, checkpoint: bool) -> None:
    stage.put(2)
    stage.put(2, priority=3)
    stage.roll()
    assert stage.drop()
    stage.save()
    stage.reopen(checkpoint=checkpoint)
    assert order(stage) == [2, 3, 0, 1]


def test_a_suspect_of_the_largest_priority_holds_up_a_consumer_that_holds_something(stage: Stage) -> None:
    stage.put(2)
    stage.put(1, priority=1)
    for _ in range(2):
        stage.granted(1)
        stage.do(Lose(["carol"]))
    suspect = stage.granted(consumer="dave")
    assert suspect.runs == run(2, 3)
    stage.do(Release(suspect.receipt, suspect.runs))
    held = stage.granted(1, consumer="dave")
    assert held.runs == run(2, 3)
    assert stage.granted(1, consumer="erin").runs == run(0, 1)
    stage.do(Release(held.receipt, held.runs))
    assert stage.lease(consumer="erin") is None


def test_priorities_that_nobody_has_any_more_leave_nothing_behind(stage: Stage) -> None:
    for priority in range(1, 100):
        stage.put(1, priority=priority)
    while (grant := stage.lease()) is not None:
        stage.ack(grant)
    assert len(stage.queue.ready.lanes) == 1
    assert not stage.queue.terms.count


# ------------------------------------------------------------------ groups


def test_messages_of_a_group_run_one_at_a_time_and_in_order(stage: Stage) -> None:
    stage.put(3, group="g")
    for sequence in range(3):
        grant = stage.granted(10)
        assert grant.runs == run(sequence, sequence + 1)
        assert stage.lease(10, "dave") is None, "the next one waits for this one's end"
        assert reads.leasable(stage.queue, stage.now) == 0
        stage.ack(grant)
    assert not stage.queue.groups.lines


def test_groups_run_beside_each_other_and_beside_plain_messages(stage: Stage) -> None:
    stage.put(2, group="g")
    stage.put(2, group="h")
    stage.put(2)
    assert stage.granted().runs == (Run(0, 1), Run(2, 3), Run(4, 6))


def test_messages_that_wait_for_their_turn_count_as_delayed(stage: Stage) -> None:
    stage.put(3, group="g")
    assert reads.counts(stage.queue) == {
        State.READY: 1, State.DELAYED: 2, State.LEASED: 0, State.DEAD: 0,
    }  # fmt: skip
    assert reads.state_of(stage.queue, Run(0, 3)) == [(Run(0, 1), State.READY), (Run(1, 3), State.DELAYED)]
    assert reads.next_event_at(stage.queue) is None, "no time brings their turn"
    assert reads.backlog(stage.queue) == 3


def test_a_group_waits_for_the_back_off_of_its_first(stage: Stage) -> None:
    stage.put(2, group="g", retries=1)
    grant = stage.granted()
    stage.do(Nack(grant.receipt, grant.runs, "raised", 5.0))
    stage.now += 4.9
    assert stage.lease() is None
    stage.now += 0.1
    again = stage.granted()
    assert again.runs == run(0, 1)
    stage.ack(again)
    assert stage.granted().runs == run(1, 2)


def test_a_group_goes_on_with_the_same_message_when_its_consumer_is_lost(stage: Stage) -> None:
    stage.put(2, group="g")
    stage.granted(consumer="carol")
    stage.do(Lose(["carol"]))
    assert stage.granted(consumer="dave").runs == run(0, 1)


def test_a_delayed_first_holds_its_group_up(stage: Stage) -> None:
    stage.put(1, group="g", delay=5.0)
    stage.put(1, group="g")
    assert stage.lease() is None
    stage.now += 5.0
    assert stage.granted().runs == run(0, 1)


@pytest.mark.parametrize("away", [Cancel([(0, 1)]), Cancel([(0, 2)]), Cancel([(1, 2)])])
def test_the_turn_passes_on_when_those_in_front_are_cancelled(stage: Stage, away: Cancel) -> None:
    stage.put(4, group="g")
    gone = {sequence for first, last in stage.do(away) for sequence in range(first, last)}
    (first, *_) = sorted({0, 1, 2, 3} - gone)
    assert stage.granted().runs == run(first, first + 1)


def test_a_dead_first_lets_its_group_go_on(stage: Stage) -> None:
    stage.put(2, group="g")
    grant = stage.granted()
    stage.do(Nack(grant.receipt, grant.runs, "raised"))
    assert stage.granted().runs == run(1, 2)


def test_a_redriven_letter_waits_for_the_one_that_runs_and_comes_before_those_that_wait(stage: Stage) -> None:
    stage.put(3, group="g")
    grant = stage.granted()
    stage.do(Nack(grant.receipt, grant.runs, "raised"))
    running = stage.granted()
    assert running.runs == run(1, 2)
    stage.do(Redrive())
    assert stage.lease() is None
    stage.ack(running)
    stage.ack(again := stage.granted())
    assert again.runs == run(0, 1)
    assert stage.granted().runs == run(2, 3)


def test_what_is_older_goes_first_when_the_running_one_comes_back(stage: Stage) -> None:
    stage.put(2, group="g", retries=3)
    grant = stage.granted()
    stage.do(Nack(grant.receipt, grant.runs, "raised", final=True))
    running = stage.granted()
    stage.do(Redrive())
    stage.do(Nack(running.receipt, running.runs, "raised", 5.0))
    assert stage.granted().runs == run(0, 1)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_turn_in_a_group_survives_a_restart(stage: Stage, checkpoint: bool) -> None:
    stage.put(3, group="g")
    grant = stage.granted()
    stage.save()
    stage.reopen(checkpoint=checkpoint)
    assert stage.lease(consumer="dave") is None
    stage.do(Ack(grant.receipt, grant.runs))
    stage.reopen()
    assert stage.granted(consumer="dave").runs == run(1, 2)


def test_what_was_moved_keeps_its_place_in_its_group(stage: Stage) -> None:
    """Replay sees message 1 first, and only then that 0 is in front of it."""
    stage.put(1, group="g")
    stage.roll()
    stage.put(1, group="g")
    stage.roll()
    assert stage.drop()
    stage.reopen()
    assert stage.granted().runs == run(0, 1)


def test_a_group_may_be_put_message_by_message_with_others_between(stage: Stage) -> None:
    for _ in range(5):
        stage.put(1, group="g")
        stage.put(1, group="h")
    seen = []
    while (grant := stage.lease()) is not None:
        seen += [sequence for first, last in grant.runs for sequence in range(first, last)]
        assert len(seen) % 2 == 0, "one of each group at a time"
        stage.ack(grant)
    assert seen == list(range(10))


def test_a_purge_takes_those_that_wait_for_their_turn_along(stage: Stage) -> None:
    stage.put(5, group="g")
    stage.granted()
    assert stage.do(Purge()) == run(1, 5)


def test_a_move_takes_those_that_wait_for_their_turn_along(stage: Stage) -> None:
    stage.put(3, group="g")
    stage.granted()
    assert stage.do(Move(Run(0, 3))).movable == run(1, 3)


def test_a_priority_counts_for_whoever_has_the_turn(stage: Stage) -> None:
    stage.put(2, group="g", priority=1)
    stage.put(1)
    grant = stage.granted()
    assert grant.runs == run(0, 1)
    stage.ack(grant)
    assert stage.granted().runs == run(1, 2)
