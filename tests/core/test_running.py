"""What a running task may say: that it sleeps, stops, crashed, how far it is; and that it is asked to end."""

from __future__ import annotations

import pytest

from daskqueue.core import reads
from daskqueue.core.commands import (
    Ack,
    Cancel,
    Crash,
    Expire,
    Lose,
    Nack,
    Note,
    Redrive,
    Release,
    Settled,
    Stop,
)
from daskqueue.core.tally import Receipt, State, Tally
from daskqueue.errors import StaleReceiptError
from daskqueue.message import Run, Terms

from .stage import Stage, run

# ------------------------------------------------------------------ snooze


def test_a_snoozed_message_waits_and_burns_no_attempt(stage: Stage) -> None:
    stage.put(1, retries=0)
    for _ in range(5):
        grant = stage.granted()
        assert stage.do(Release(grant.receipt, grant.runs, 3.0)) == Settled(run(0, 1))
        assert reads.next_event_at(stage.queue) == stage.now + 3.0
        stage.now += 2.9
        assert stage.lease() is None
        stage.now += 0.1
    assert stage.granted().pieces == ((0, 1, Tally(0, 0, 0)),)
    assert (stage.queue.counters.snoozed, stage.queue.counters.released) == (5, 0)


def test_a_snooze_survives_a_restart(stage: Stage) -> None:
    stage.put(1)
    grant = stage.granted()
    stage.do(Release(grant.receipt, grant.runs, 3.0))
    stage.reopen()
    assert stage.lease() is None
    stage.now += 3.0
    assert stage.granted().runs == run(0, 1)


def test_a_snoozed_first_holds_its_group_up(stage: Stage) -> None:
    stage.put(2, group="g")
    grant = stage.granted()
    stage.do(Release(grant.receipt, grant.runs, 3.0))
    assert stage.lease() is None


# ------------------------------------------------------------------ crashes of some


def test_a_crash_of_some_messages_of_a_lease_counts_as_their_lost_delivery(stage: Stage) -> None:
    stage.put(4)
    grant = stage.granted()
    assert stage.do(Crash(grant.receipt, [(1, 3)])) == Settled(run(1, 3), retried=run(1, 3))
    assert reads.pieces_of(stage.queue, grant.receipt) == ((0, 1, Tally(0, 0, 0)), (3, 4, Tally(0, 0, 0)))
    assert stage.granted(consumer="dave").pieces == ((1, 3, Tally(0, 1, 0)),)


def test_a_message_that_kills_its_process_ends_in_a_crash_loop_though_its_consumer_lives(
    stage: Stage,
) -> None:
    stage.put(1)
    for _ in range(2):
        grant = stage.granted()
        assert stage.do(Crash(grant.receipt, grant.runs)).retried == run(0, 1)
    grant = stage.granted()
    assert stage.do(Crash(grant.receipt, grant.runs)).died == run(0, 1)
    assert stage.queue.counters.dead == {"crash_loop": 1}


def test_a_crash_that_is_told_twice_counts_once(stage: Stage) -> None:
    stage.put(2)
    grant = stage.granted()
    stage.do(Crash(grant.receipt, [(0, 1)]))
    assert stage.do(Crash(grant.receipt, [(0, 1)])) == Settled(stale=run(0, 1))
    assert stage.do(Ack(grant.receipt, [(0, 1)])).stale == run(0, 1)


# ------------------------------------------------------------------ cancel of what runs


@pytest.mark.parametrize(
    "back", ["nacked", "final", "snoozed", "released", "crashed", "lost", "expired", "stopped"]
)
def test_what_was_asked_to_end_never_runs_again(stage: Stage, back: str) -> None:
    stage.put(1, retries=5)
    grant = stage.granted()
    assert stage.do(Cancel(run(0, 1))) == (), "it runs: it is asked, and counts as cancelled when it ends"
    assert reads.asked_of(stage.queue, "carol") == run(0, 1)
    ends = {
        "nacked": Nack(grant.receipt, grant.runs, "raised"),
        "final": Nack(grant.receipt, grant.runs, "raised", final=True),
        "snoozed": Release(grant.receipt, grant.runs, 5.0),
        "released": Release(grant.receipt, grant.runs),
        "crashed": Crash(grant.receipt, grant.runs),
        "stopped": Stop(grant.receipt, grant.runs),
    }
    if back in ends:
        assert stage.do(ends[back]) == Settled(run(0, 1), cancelled=run(0, 1))
    elif back == "lost":
        assert [(lost.back, lost.died) for lost in stage.do(Lose(["carol"]))] == [((), ())]
    else:
        stage.now = grant.deadline
        assert [(lost.back, lost.died) for lost in stage.do(Expire())] == [((), ())]
    assert reads.backlog(stage.queue) == reads.in_flight(stage.queue) == 0
    assert (stage.queue.counters.cancelled, stage.queue.counters.dead) == (1, {})
    assert reads.asked_of(stage.queue, "carol") == ()


def test_what_was_asked_to_end_and_is_done_is_done(stage: Stage) -> None:
    stage.put(1)
    grant = stage.granted()
    stage.do(Cancel(run(0, 1)))
    assert stage.do(Ack(grant.receipt, grant.runs)).counted == run(0, 1)
    assert (stage.queue.counters.acked, stage.queue.counters.cancelled) == (1, 0)


def test_only_what_was_asked_to_end_is_cancelled_of_a_nack(stage: Stage) -> None:
    stage.put(3, retries=1)
    grant = stage.granted()
    stage.do(Cancel(run(1, 2)))
    reply = stage.do(Nack(grant.receipt, grant.runs, "raised"))
    assert reply == Settled(run(0, 3), retried=(Run(0, 1), Run(2, 3)), cancelled=run(1, 2))


@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_wish_to_end_survives_a_restart(stage: Stage, checkpoint: bool) -> None:
    stage.put(1, retries=1)
    grant = stage.granted()
    stage.do(Cancel(run(0, 1)))
    stage.save()
    stage.reopen(checkpoint=checkpoint)
    assert reads.asked_of(stage.queue, "carol") == run(0, 1)
    assert stage.do(Nack(grant.receipt, grant.runs, "raised")).cancelled == run(0, 1)


def test_to_ask_twice_is_to_ask_once(stage: Stage) -> None:
    stage.put(2)
    stage.granted()
    stage.do(Cancel(run(0, 1)))
    before = len(stage.segments[0])
    stage.do(Cancel(run(0, 1)))
    assert len(stage.segments[0]) == before
    stage.do(Cancel(run(0, 2)))
    assert reads.asked_of(stage.queue, "carol") == run(0, 2)
    assert reads.asked_of(stage.queue, "dave") == ()


def test_a_stop_of_somebody_else_is_stale(stage: Stage) -> None:
    stage.put(2)
    mine = stage.granted(1)
    stage.granted(1, "dave")
    assert stage.do(Stop(mine.receipt, run(1, 2))) == Settled(stale=run(1, 2))
    with pytest.raises(StaleReceiptError):
        stage.do(Stop(Receipt(99, 1), run(1, 2)))


# ------------------------------------------------------------------ notes


def test_a_note_is_there_on_the_next_attempt_and_after_a_restart(stage: Stage) -> None:
    stage.put(2, retries=1)
    grant = stage.granted()
    assert stage.do(Note(grant.receipt, 1, b"7 of 10", 10.0)) is True
    stage.do(Nack(grant.receipt, grant.runs, "raised"))
    stage.roll()
    assert stage.drop()
    stage.reopen()
    again = stage.granted(consumer="dave")
    assert reads.notes_on(stage.queue, again.pieces) == [
        (1, 2, 1, 0, None, b"7 of 10"),
        (0, 1, 1, 0, None, None),
    ]


def test_a_note_goes_with_its_message(stage: Stage) -> None:
    stage.put(3)
    grant = stage.granted()
    for sequence in range(3):
        stage.do(Note(grant.receipt, sequence, b"x", 10.0))
    stage.do(Ack(grant.receipt, run(0, 1)))
    stage.do(Nack(grant.receipt, run(1, 2), "raised"))
    stage.do(Cancel(run(2, 3)))
    stage.do(Stop(grant.receipt, run(2, 3)))
    assert not stage.queue.notes
    stage.do(Redrive())
    assert reads.notes_on(stage.queue, stage.granted().pieces) == []


def test_a_note_prolongs_its_lease_and_never_shortens_it(stage: Stage) -> None:
    stage.put(1)
    grant = stage.granted(seconds=10.0)
    stage.do(Note(grant.receipt, 0, b"x", 3.0))
    assert reads.next_event_at(stage.queue) == grant.deadline
    stage.do(Note(grant.receipt, 0, b"y", 30.0))
    assert reads.next_event_at(stage.queue) == stage.now + 30.0


def test_a_note_of_somebody_who_does_not_hold_the_message_is_refused(stage: Stage) -> None:
    stage.put(2)
    grant = stage.granted(1, seconds=1.0)
    assert stage.do(Note(grant.receipt, 1, b"x", 10.0)) is False, "never theirs"
    assert stage.do(Note(Receipt(99, 1), 0, b"x", 10.0)) is False
    assert stage.do(Note(Receipt(grant.receipt.lease, 9), 0, b"x", 10.0)) is False
    stage.now += 1.0
    stage.do(Expire())
    assert stage.do(Note(grant.receipt, 0, b"x", 10.0)) is False, "no longer theirs"
    assert not stage.queue.notes


def test_what_there_is_to_say_of_plain_messages_is_nothing(stage: Stage) -> None:
    stage.put(1000)
    assert reads.notes_on(stage.queue, stage.granted().pieces) == []


def test_the_terms_of_leased_messages_are_told_as_runs(stage: Stage) -> None:
    stage.put(3)
    stage.put(2, timeout_seconds=5.0)
    grant = stage.granted()
    assert reads.notes_on(stage.queue, grant.pieces) == [(3, 5, 0, 0, Terms(timeout_seconds=5.0), None)]
    assert reads.counts(stage.queue)[State.LEASED] == 5
