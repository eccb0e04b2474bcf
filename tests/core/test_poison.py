"""Tasks that kill their process: acceptance case 19."""

from __future__ import annotations

from daskqueue.core.commands import Ack, Lose, Redrive
from daskqueue.core.queue import Settings
from daskqueue.core.tally import Tally
from daskqueue.message import Run

from .stage import Stage, run


def crash(stage: Stage, consumer: str = "carol") -> None:
    stage.do(Lose([consumer]))


def test_messages_that_were_lost_once_go_out_in_small_leases(stage: Stage) -> None:
    stage.put(100)
    stage.granted()
    crash(stage)
    assert stage.granted().runs == run(0, 32)
    assert stage.granted(5).runs == run(32, 37)


def test_fresh_messages_do_not_go_out_with_those_that_were_lost(stage: Stage) -> None:
    stage.put(10)
    stage.granted(3)
    crash(stage)
    assert stage.granted().runs == run(0, 3)
    assert stage.granted().runs == run(3, 10)


def test_a_suspect_goes_out_alone_to_a_consumer_that_holds_nothing(stage: Stage) -> None:
    stage.put(10)
    for _ in range(2):
        stage.granted(3)
        crash(stage)
    busy = stage.granted(1, consumer="dave")
    assert busy.runs == run(0, 1), "an idle consumer takes the first suspect"
    assert stage.lease(consumer="dave") is None, "and gets nothing more while it holds it"
    assert stage.granted(consumer="erin").runs == run(1, 2)
    stage.ack(busy)
    assert stage.granted(consumer="dave").runs == run(2, 3)


def test_a_consumer_that_fetches_ahead_gets_nothing_while_a_suspect_is_in_front(stage: Stage) -> None:
    stage.put(10)
    held = stage.granted(2, consumer="dave")
    for _ in range(2):
        stage.granted(1)
        crash(stage)
    assert stage.lease(consumer="dave") is None
    stage.ack(held)
    assert stage.granted(consumer="dave").runs == run(2, 3)


def test_a_poison_message_ends_dead_after_a_bounded_number_of_deliveries_and_the_others_finish() -> None:
    """Message 500 of 1,000 kills whoever runs it; consumers run in order and ack when they are through."""
    stage = Stage(Settings(max_losses=5))
    stage.put(1000)
    deliveries = 0
    for _ in range(1200):
        grant = stage.lease()
        if grant is None:
            break
        if any(first <= 500 < last for first, last in grant.runs):
            deliveries += 1
            crash(stage)
        else:
            stage.ack(grant)
    assert deliveries == 5
    assert stage.queue.counters.acked == 999
    assert stage.queue.counters.dead == {"crash_loop": 1}
    assert list(stage.queue.dead) == [(500, 501, (Tally(0, 5, 0), "crash_loop", stage.now))]
    stage.check()


def test_a_neighbour_of_a_poison_message_is_never_dead(stage: Stage) -> None:
    """All of a slice die with the poison at first; alone, the innocent ones are acked."""
    stage.put(40)
    crashes = 0
    while (grant := stage.lease()) is not None:
        if grant.runs[0].first <= 3 < grant.runs[-1].last:
            crash(stage)
            crashes += 1
        else:
            stage.ack(grant)
    assert crashes == 3
    assert stage.queue.counters.dead == {"crash_loop": 1}
    assert stage.queue.counters.acked == 39


def test_a_late_ack_of_a_message_that_died_in_a_crash_loop_is_stale(stage: Stage) -> None:
    stage.put(1)
    for _ in range(3):
        grant = stage.granted()
        crash(stage)
    assert stage.do(Ack(grant.receipt, grant.runs)).stale == run(0, 1)
    assert stage.do(Redrive()) == run(0, 1)
    assert stage.granted(10).pieces == ((0, 1, Tally(0, 0, 0)),)


def test_lost_deliveries_count_over_restarts(stage: Stage) -> None:
    stage.put(1)
    for _ in range(2):
        stage.granted()
        crash(stage)
        stage.reopen()
    stage.granted()
    (lost,) = stage.do(Lose(["carol"]))
    assert (lost.back, lost.died) == ((), (Run(0, 1),))
