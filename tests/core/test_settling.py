from __future__ import annotations

import pytest

from daskqueue.core import queue as queue_module
from daskqueue.core import reads
from daskqueue.core.backoff import backoff
from daskqueue.core.commands import Ack, Cancel, Discard, Expire, Lose, Nack, Purge, Redrive, Release, Settled
from daskqueue.core.tally import Receipt, State, Tally
from daskqueue.errors import StaleReceiptError
from daskqueue.message import Run

from .stage import Stage, run


def test_an_ack_settles_its_runs_and_the_last_one_ends_the_lease(stage: Stage) -> None:
    stage.put(5)
    grant = stage.granted()
    assert stage.do(Ack(grant.receipt, [(0, 2), (4, 5)])).counted == (Run(0, 2), Run(4, 5))
    assert reads.pieces_of(stage.queue, grant.receipt) == ((2, 4, Tally(0, 0, 0)),)
    assert stage.do(Ack(grant.receipt, run(2, 4))).counted == run(2, 4)
    assert not stage.queue.leases
    assert reads.pieces_of(stage.queue, grant.receipt) == ()
    assert stage.queue.counters.acked == 5


def test_an_ack_that_comes_again_is_repeated_run_by_run(stage: Stage) -> None:
    stage.put(5)
    grant = stage.granted()
    stage.do(Ack(grant.receipt, [(0, 2)]))
    assert stage.do(Ack(grant.receipt, [(0, 5)])) == Settled(run(2, 5), run(0, 2))
    assert stage.do(Ack(grant.receipt, [(0, 5)])) == Settled((), run(0, 5))
    assert stage.queue.counters.acked == 5


def test_an_ack_for_messages_of_somebody_else_is_stale(stage: Stage) -> None:
    stage.put(4)
    mine, yours = stage.granted(2), stage.granted(2, consumer="dave")
    assert stage.do(Ack(mine.receipt, [(0, 10)])) == Settled(run(0, 2), (), run(2, 10))
    assert reads.pieces_of(stage.queue, yours.receipt) == ((2, 4, Tally(0, 0, 0)),)


def test_a_late_ack_is_stale_and_hurts_nobody(stage: Stage) -> None:
    stage.put(4)
    late = stage.granted(seconds=1.0)
    stage.do(Ack(late.receipt, [(0, 1)]))
    stage.now += 1
    stage.do(Expire())
    new = stage.granted(consumer="dave")
    assert stage.do(Ack(late.receipt, [(0, 4)])) == Settled((), run(0, 1), run(1, 4))
    assert new.runs == run(1, 4)
    assert stage.do(Ack(new.receipt, new.runs)) == Settled(run(1, 4))


@pytest.mark.parametrize("command", [Ack, Release])
@pytest.mark.parametrize("receipt", [Receipt(99, 1), Receipt(1, 2)])
def test_a_receipt_that_was_never_issued_is_an_error(
    stage: Stage, command: type[Ack | Release], receipt: Receipt
) -> None:
    stage.put(1)
    assert stage.granted().receipt == (1, 1)
    with pytest.raises(StaleReceiptError, match=f"lease {receipt.lease} of epoch {receipt.epoch}"):
        stage.do(command(receipt, run(0, 1)))


def test_ended_leases_are_remembered_up_to_a_bound(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskqueue.core.apply.MAX_FINISHED", 3)
    stage.put(5)
    grants = [stage.granted(1) for _ in range(5)]
    for grant in grants:
        stage.ack(grant)
    assert stage.do(Ack(grants[2].receipt, run(2, 3))).repeated == run(2, 3)
    with pytest.raises(StaleReceiptError):
        stage.do(Ack(grants[1].receipt, run(1, 2)))
    assert queue_module.MAX_FINISHED > 1000


def test_an_ack_of_nothing_is_nothing(stage: Stage) -> None:
    stage.put(1)
    assert stage.do(Ack(stage.granted().receipt, [])) == Settled()


def test_a_nacked_message_waits_out_its_delay(stage: Stage) -> None:
    stage.put(1, retries=1)
    grant = stage.granted()
    assert stage.do(Nack(grant.receipt, grant.runs, "raised", 5.0)) == Settled(run(0, 1), retried=run(0, 1))
    stage.now += 4.999
    assert stage.lease() is None
    stage.now += 0.001
    assert stage.granted().pieces == ((0, 1, Tally(1, 0, 1)),)
    assert stage.queue.counters.redelivered == 1


def test_a_message_has_as_many_re_runs_as_retries_and_then_is_dead(stage: Stage) -> None:
    stage.put(1, retries=2)
    for _ in range(2):
        grant = stage.granted()
        assert stage.do(Nack(grant.receipt, grant.runs, "raised")).retried == run(0, 1)
    grant = stage.granted()
    assert stage.do(Nack(grant.receipt, grant.runs, "raised")) == Settled(run(0, 1), died=run(0, 1))
    assert reads.dead_letters(stage.queue) == [(Run(0, 1), (Tally(3, 0, 2), "raised", stage.now))]
    assert stage.queue.counters.dead == {"raised": 1}


def test_one_nack_retries_some_and_buries_others(stage: Stage) -> None:
    stage.put(2, retries=1)
    stage.put(2, retries=0)
    grant = stage.granted()
    reply = stage.do(Nack(grant.receipt, [(1, 3)], "raised"))
    assert reply == Settled(run(1, 3), retried=run(1, 2), died=run(2, 3))
    assert reads.pieces_of(stage.queue, grant.receipt) == ((0, 1, Tally(0, 0, 1)), (3, 4, Tally(0, 0, 0)))


def test_a_final_nack_leaves_no_re_runs(stage: Stage) -> None:
    stage.put(1, retries=9)
    grant = stage.granted()
    assert stage.do(Nack(grant.receipt, grant.runs, "cannot_load", final=True)).died == run(0, 1)
    assert stage.queue.counters.dead == {"cannot_load": 1}


def test_dead_letters_are_listed_redriven_and_discarded(stage: Stage) -> None:
    stage.put(6)
    grant = stage.granted()
    stage.do(Nack(grant.receipt, grant.runs, "raised"))
    assert reads.dead_letters(stage.queue, 1, 2) == [(Run(1, 3), (Tally(1, 0, 0), "raised", stage.now))]
    assert stage.do(Redrive([(1, 5)], limit=2)) == run(1, 3)
    assert stage.granted().pieces == ((1, 3, Tally(0, 0, 0)),)
    assert stage.do(Discard([(0, 1)])) == run(0, 1)
    assert stage.do(Redrive(limit=1)) == run(3, 4)
    assert stage.do(Discard()) == run(4, 6)
    assert stage.do(Redrive()) == ()
    assert stage.do(Discard()) == ()
    assert reads.dead_letters(stage.queue) == []
    assert reads.counts(stage.queue)[State.DEAD] == 0


def test_waiting_messages_are_cancelled_and_leased_ones_may_still_be_acked(stage: Stage) -> None:
    stage.put(4)
    stage.put(2, delay=5.0)
    grant = stage.granted(2)
    assert stage.do(Cancel([(1, 5)])) == run(2, 5)
    assert stage.do(Cancel([(1, 5)])) == ()
    assert stage.do(Ack(grant.receipt, grant.runs)).counted == run(0, 2)
    stage.now += 5
    assert stage.granted().runs == run(5, 6)


def test_a_purge_takes_all_that_waits(stage: Stage) -> None:
    stage.put(4)
    stage.put(2, delay=5.0)
    stage.granted(1)
    assert stage.do(Purge()) == run(1, 6)
    assert stage.do(Purge()) == ()
    assert stage.queue.counters.purged == 5


def test_delayed_messages_mature_in_order_of_sequence(stage: Stage) -> None:
    stage.put(1, delay=9.0)
    stage.put(1, delay=3.0)
    stage.put(1)
    stage.now += 10
    assert reads.leasable(stage.queue, stage.now) == 3
    assert stage.granted(2).runs == run(0, 2)
    assert stage.granted(2).runs == run(2, 3)


def test_many_delayed_messages_with_times_of_their_own_mature_in_time(stage: Stage) -> None:
    for number in range(200):
        stage.put(1, delay=1.0 + number * 7 % 200)
    seen: set[int] = set()
    for _ in range(200):
        stage.now += 1.0
        grant = stage.lease()
        if grant is not None:
            seen |= {first for first, _ in grant.runs}
            stage.do(Cancel([(0, 3)]))
            stage.ack(grant)
    assert len(seen) + stage.queue.counters.cancelled == 200


def test_messages_of_a_lost_consumer_are_ready_at_once(stage: Stage) -> None:
    stage.put(4)
    stage.granted(1)
    stage.granted(2)
    lost = stage.do(Lose(["carol", "nobody", "carol"]))
    assert [one.back for one in lost] == [run(0, 1), run(1, 3)]
    assert stage.queue.counters.leases_lost == 2
    assert stage.do(Lose(["carol"])) == ()


@pytest.mark.parametrize(
    ("attempt", "jitter", "seconds"),
    [(1, 0.0, 0.5), (1, 0.5, 0.75), (2, 0.0, 1.0), (5, 0.0, 8.0), (9, 0.0, 30.0), (10**6, 0.5, 45.0)],
)
def test_back_off_doubles_up_to_its_cap(attempt: int, jitter: float, seconds: float) -> None:
    assert backoff(attempt, base=1.0, cap=60.0, jitter=jitter) == seconds
