"""What a restart keeps, and what a dropped segment may not take along: acceptance cases 18, 20, 26."""

from __future__ import annotations

import msgpack
import pytest

from daskqueue.core import facts, reads
from daskqueue.core.apply import apply
from daskqueue.core.commands import Ack, Expire, Lose, Move, Nack, Put, Restart
from daskqueue.core.encode import decode
from daskqueue.core.queue import Queue
from daskqueue.core.snapshot import restore, snapshot
from daskqueue.core.tally import State, Tally
from daskqueue.errors import CorruptionError, FormatError
from daskqueue.message import Run

from .stage import ALICE, Stage, run, view


def test_all_leases_survive_with_new_time_and_their_old_receipts(stage: Stage) -> None:
    stage.put(4)
    grant = stage.granted(seconds=5.0)
    stage.now += 1000
    stage.reopen(grace=10.0)
    assert stage.do(Expire()) == ()
    assert stage.do(Ack(grant.receipt, [(0, 3)])).counted == run(0, 3)
    stage.now += 10.0
    assert [lost.back for lost in stage.do(Expire())] == [run(3, 4)]


def test_new_leases_have_the_new_epoch_and_a_number_of_their_own(stage: Stage) -> None:
    stage.put(2)
    old = stage.granted(1)
    stage.reopen()
    new = stage.granted(1, consumer="dave")
    assert (old.receipt.epoch, new.receipt.epoch) == (1, 2)
    assert new.receipt.lease > old.receipt.lease


def test_an_epoch_only_grows(stage: Stage) -> None:
    with pytest.raises(ValueError, match="an epoch above 1, not 1"):
        stage.do(Restart(1, 10.0))


def test_what_was_written_but_not_synced_is_committed_after_a_restart(stage: Stage) -> None:
    stage.do(Put(ALICE, 0, 3))
    assert stage.lease() is None
    stage.reopen()
    assert stage.granted().runs == run(0, 3)


def test_the_order_of_redelivery_survives_a_restart(stage: Stage) -> None:
    stage.put(5)
    stage.granted(2)
    stage.do(Lose(["carol"]))
    stage.reopen()
    assert stage.granted(consumer="dave").runs == run(0, 2)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_an_acked_message_never_comes_back(stage: Stage, checkpoint: bool) -> None:
    stage.put(3, retries=3)
    grant = stage.granted()
    stage.do(Ack(grant.receipt, [(0, 1)]))
    stage.do(Nack(grant.receipt, [(1, 2)], "raised", 5.0))
    stage.do(Lose(["carol"]))
    stage.save()
    again = stage.granted(1, consumer="dave")
    stage.do(Ack(again.receipt, [(2, 3)]))
    stage.reopen(checkpoint=checkpoint)
    stage.now += 100
    assert stage.granted(consumer="erin").runs == run(1, 2)
    assert reads.state_of(stage.queue, Run(0, 1)) == [(Run(0, 1), State.SETTLED)]


def test_an_ack_sent_again_after_a_restart_is_repeated(stage: Stage) -> None:
    stage.put(3)
    grant = stage.granted()
    stage.ack(grant)
    stage.save()
    for checkpoint in (False, True):
        stage.reopen(checkpoint=checkpoint)
        assert stage.do(Ack(grant.receipt, grant.runs)).repeated == grant.runs


def test_a_leased_delayed_message_is_replayed_though_its_maturing_was_not_written(stage: Stage) -> None:
    stage.put(2, delay=5.0)
    stage.now += 5
    stage.granted(1)
    stage.reopen()
    assert reads.state_of(stage.queue, Run(0, 2)) == [(Run(0, 1), State.LEASED), (Run(1, 2), State.DELAYED)]


def test_survivors_of_a_dropped_segment_keep_all_that_is_known_of_them(stage: Stage) -> None:
    stage.put(6, retries=1)
    stage.put(1, delay=50.0)
    grant = stage.granted(4)
    stage.do(Ack(grant.receipt, [(0, 1)]))
    stage.do(Nack(grant.receipt, [(1, 2)], "raised", 20.0))
    stage.do(Nack(grant.receipt, [(2, 3)], "cannot_load", final=True))
    stage.do(Lose(["carol"]))
    before = view(stage.queue)
    stage.roll()
    assert stage.drop()
    stage.reopen()
    assert view(stage.queue) == before
    assert before.keys() == {1, 2, 3, 4, 5, 6}


def test_a_leased_message_pins_its_segment(stage: Stage) -> None:
    stage.put(3)
    grant = stage.granted(1)
    stage.roll()
    moving = stage.do(Move(Run(0, 3)))
    assert (moving.movable, moving.leased) == (run(1, 3), run(0, 1))
    assert not stage.drop()
    stage.ack(grant)
    assert stage.drop()
    stage.reopen()
    assert stage.granted().runs == run(1, 3)


def test_facts_about_messages_of_a_dropped_segment_are_counted_and_bring_nothing_back(stage: Stage) -> None:
    stage.put(3)
    stage.roll()
    grant = stage.granted()
    stage.ack(grant)
    assert stage.drop()
    stage.reopen()
    assert view(stage.queue) == {}
    assert stage.queue.counters.acked == 3
    assert stage.put(1) == 3


def test_a_message_moved_and_settled_does_not_come_back_in_any_segment(stage: Stage) -> None:
    stage.put(2)
    for _ in range(3):
        stage.roll()
        assert stage.drop()
        stage.reopen()
    stage.ack(stage.granted(1))
    stage.roll()
    stage.reopen()
    assert view(stage.queue).keys() == {1}


def test_a_damaged_frame_costs_its_messages_and_is_reported(stage: Stage) -> None:
    stage.put(2)
    stage.put(3)
    stage.put(1)
    (lost,) = [frame for frame in stage.segments[0] if decode(*frame) == facts.Enqueued(2, 3, ALICE, 2, 0)]
    queue = stage.replayed([[frame for frame in stage.segments[0] if frame != lost]])
    assert list(queue.ready) == [(0, 2, Tally(0, 0, 0)), (5, 6, Tally(0, 0, 0))]
    assert reads.missing(queue) == 3
    assert reads.missing(stage.queue) == 0


def test_a_put_whose_frame_is_damaged_does_not_give_its_sequences_away(stage: Stage) -> None:
    stage.put(3)
    grant = stage.granted()
    assert grant.runs == run(0, 3)
    queue = stage.replayed([[frame for frame in stage.segments[0] if frame[0] != 16]])
    assert queue.next_sequence == 3
    assert not queue.leases


@pytest.mark.parametrize("kind", [17, 19, 20, 21, 22, 25])
def test_an_ack_counts_though_any_fact_before_it_is_damaged(stage: Stage, kind: int) -> None:
    stage.put(3, retries=3)
    first = stage.granted(1)
    stage.do(Nack(first.receipt, first.runs, "raised", final=True))
    second = stage.granted()
    stage.do(Nack(second.receipt, [(1, 2)], "raised"))
    stage.do(Lose(["carol"]))
    for _ in range(2):
        stage.ack(stage.granted(1, consumer="dave"))
    queue = stage.replayed([[frame for frame in stage.segments[0] if frame[0] != kind]])
    assert view(queue).keys() <= {0}


def test_a_snapshot_is_plain_and_comes_back(stage: Stage) -> None:
    stage.put(5, retries=1)
    grant = stage.granted(3)
    stage.do(Nack(grant.receipt, [(0, 1)], "raised", 5.0))
    packed = msgpack.packb(snapshot(stage.queue))
    again = restore(msgpack.unpackb(packed))
    assert msgpack.packb(snapshot(again)) == packed
    assert view(again) == view(stage.queue)


def test_a_snapshot_of_a_later_version_is_refused() -> None:
    data = snapshot(Queue())
    data[0] = 99
    with pytest.raises(FormatError, match="version 99"):
        restore(data)


@pytest.mark.parametrize("data", [[], [1], [1, 2, 3], [1, *[[1]] * 8]])
def test_what_is_no_snapshot_is_refused(data: list[object]) -> None:
    with pytest.raises(CorruptionError, match="no snapshot"):
        restore(data)


def test_fields_of_a_later_snapshot_are_ignored(stage: Stage) -> None:
    assert view(restore([*snapshot(stage.queue), "later"])) == {}


def test_a_repeated_fact_of_a_put_is_taken_once(stage: Stage) -> None:
    fact = facts.Enqueued(0, 3, ALICE, 1, 0)
    stage.put(3)
    apply(stage.queue, fact)
    assert stage.queue.counters.enqueued == 3
