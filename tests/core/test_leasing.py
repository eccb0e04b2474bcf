from __future__ import annotations

from typing import Any

import pytest

from daskqueue.core import reads
from daskqueue.core.apply import apply
from daskqueue.core.commands import Ack, Cancel, Command, Expire, Extend, Lease, Lose, Pause, Put, Release
from daskqueue.core.decide import decide
from daskqueue.core.facts import Committed
from daskqueue.core.invariants import check
from daskqueue.core.queue import Queue
from daskqueue.core.tally import State
from daskqueue.message import Run

from .stage import ALICE, Stage, run


def test_messages_go_out_in_order_of_sequence(stage: Stage) -> None:
    stage.put(5)
    assert stage.granted(2).runs == run(0, 2)
    assert stage.granted(2).runs == run(2, 4)
    assert stage.granted(2).runs == run(4, 5)
    assert stage.lease(2) is None


def test_a_lease_may_span_puts_that_differ(stage: Stage) -> None:
    stage.put(2, retries=1)
    stage.put(2, retries=5)
    grant = stage.granted()
    assert grant.runs == run(0, 4)
    assert [piece[:2] for piece in grant.pieces] == [(0, 2), (2, 4)]
    assert grant.count == 4


def test_a_message_is_not_leased_before_it_is_synced(stage: Stage) -> None:
    stage.do(Put(ALICE, 0, 3))
    assert stage.lease() is None
    assert reads.leasable(stage.queue, stage.now) == 0
    stage.commit(2)
    assert reads.leasable(stage.queue, stage.now) == 2
    assert stage.granted().runs == run(0, 2)


def test_the_same_request_gets_the_same_lease_while_it_lives(stage: Stage) -> None:
    stage.put(5)
    request = Lease("carol", "pool", 7, 3, 10.0)
    grant = stage.do(request)
    assert grant is not None
    assert stage.do(request) == grant
    stage.ack(grant)
    other = stage.do(request)
    assert other is not None
    assert other.runs == run(3, 5)


def test_a_repeated_request_shows_only_what_is_still_out(stage: Stage) -> None:
    stage.put(5)
    request = Lease("carol", "pool", 7, 5, 10.0)
    grant = stage.do(request)
    assert grant is not None
    stage.do(Ack(grant.receipt, [(1, 3)]))
    again = stage.do(request)
    assert again is not None
    assert again.runs == (Run(0, 1), Run(3, 5))


def test_the_request_of_another_consumer_is_another_request(stage: Stage) -> None:
    stage.put(4)
    assert stage.do(Lease("carol", "pool", 1, 2, 10.0)) != stage.do(Lease("dave", "pool", 1, 2, 10.0))


def test_a_lease_for_nothing_is_refused(stage: Stage) -> None:
    with pytest.raises(ValueError, match="at least 1 message, not 0"):
        stage.lease(0)


def test_a_lease_is_measured_from_its_delivery(stage: Stage) -> None:
    stage.put(1)
    stage.now += 100
    grant = stage.granted(seconds=10.0)
    assert grant.deadline == stage.now + 10.0
    stage.now = grant.deadline - 0.001
    assert stage.do(Expire()) == ()
    stage.now = grant.deadline
    (lost,) = stage.do(Expire())
    assert (lost.lease, lost.consumer, lost.back) == (grant.receipt.lease, "carol", run(0, 1))


def test_a_lease_that_is_extended_outlives_its_first_deadline(stage: Stage) -> None:
    stage.put(1)
    grant = stage.granted(seconds=10.0)
    for _ in range(20):
        stage.now += 5
        assert stage.do(Extend("carol", 10.0)) == (grant.receipt.lease,)
        assert stage.do(Expire()) == ()
    assert stage.queue.counters.delivered == 1


def test_extending_never_shortens_a_lease(stage: Stage) -> None:
    stage.put(1)
    grant = stage.granted(seconds=100.0)
    stage.do(Extend("carol", 1.0))
    assert reads.held_by(stage.queue, "carol")[0].deadline == grant.deadline


def test_a_grant_that_never_arrived_expires_while_its_consumer_extends_what_it_knows(stage: Stage) -> None:
    stage.put(2)
    known, unknown = stage.granted(1), stage.granted(1)
    stage.now += 9
    assert stage.do(Extend("carol", 10.0, {known.receipt.lease})) == (known.receipt.lease,)
    stage.now += 2
    assert [lost.lease for lost in stage.do(Expire())] == [unknown.receipt.lease]


def test_a_consumer_that_holds_nothing_extends_nothing(stage: Stage) -> None:
    assert stage.do(Extend("nobody", 10.0)) == ()


def test_the_next_event_is_the_earliest_deadline_or_due_message(stage: Stage) -> None:
    assert reads.next_event_at(stage.queue) is None
    stage.put(2)
    stage.granted(1, seconds=10.0)
    stage.granted(1, seconds=5.0)
    assert reads.next_event_at(stage.queue) == stage.now + 5.0
    stage.do(Extend("carol", 7.0))
    assert reads.next_event_at(stage.queue) == stage.now + 7.0
    stage.put(1, delay=3.0)
    assert reads.next_event_at(stage.queue) == stage.now + 3.0


def test_a_paused_queue_takes_puts_and_acks_but_leases_nothing(stage: Stage) -> None:
    stage.put(2)
    grant = stage.granted(1)
    stage.do(Pause())
    assert stage.lease() is None
    assert reads.leasable(stage.queue, stage.now) == 0
    stage.put(1)
    stage.ack(grant)
    stage.reopen()
    assert stage.lease() is None
    stage.do(Pause(paused=False))
    assert stage.granted().runs == run(1, 3)


def test_what_is_released_is_ready_at_once_and_nothing_is_burned(stage: Stage) -> None:
    stage.put(5)
    grant = stage.granted()
    assert stage.do(Release(grant.receipt, [(2, 5)])).counted == run(2, 5)
    (piece,) = stage.granted(consumer="dave").pieces
    assert piece == (2, 5, (0, 0, 0))
    assert stage.queue.counters.redelivered == 0


def test_a_redelivered_message_comes_back_at_its_old_place(stage: Stage) -> None:
    stage.put(6)
    stage.granted(2, consumer="carol")
    stage.granted(2, consumer="dave")
    stage.do(Lose(["carol"]))
    assert stage.granted(1, consumer="erin").runs == run(0, 1)


def test_the_states_of_a_run_are_told_in_parts(stage: Stage) -> None:
    stage.put(6)
    stage.put(2, delay=5.0)
    grant = stage.granted(4)
    stage.do(Ack(grant.receipt, [(1, 2)]))
    assert reads.state_of(stage.queue, Run(0, 100)) == [
        (Run(0, 1), State.LEASED),
        (Run(1, 2), State.SETTLED),
        (Run(2, 4), State.LEASED),
        (Run(4, 6), State.READY),
        (Run(6, 8), State.DELAYED),
    ]
    assert reads.state_of(stage.queue, Run(8, 9)) == []
    assert reads.counts(stage.queue) == {
        State.READY: 2, State.DELAYED: 2, State.LEASED: 3, State.DEAD: 0,
    }  # fmt: skip
    assert (reads.backlog(stage.queue), reads.in_flight(stage.queue)) == (4, 3)


def test_commands_cost_the_same_for_any_number_of_messages() -> None:
    """A loop over the messages would not end."""
    queue, many = Queue(), 10**15

    def do(command: Command[Any]) -> None:
        for fact in decide(queue, command, 0.0).facts:
            apply(queue, fact)

    do(Put(ALICE, 0, many))
    do(Put(ALICE, 1, many))
    apply(queue, Committed(2 * many))
    assert len(queue.ready) == 1
    do(Lease("carol", "pool", 0, many + 5, 10.0))
    do(Cancel([(many + 10, 2 * many)]))
    do(Ack(reads.held_by(queue, "carol")[0].receipt, run(7, many)))
    do(Lose(["carol"]))
    assert list(queue.ready) == [
        (0, 7, (0, 1, 0)),
        (many, many + 5, (0, 1, 0)),
        (many + 5, many + 10, (0, 0, 0)),
    ]
    assert reads.state_of(queue, Run(7, many)) == [(Run(7, many), State.SETTLED)]
    check(queue)
