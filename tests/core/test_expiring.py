"""Messages that must begin by a moment, or not at all; and queues that hold only so much."""

from __future__ import annotations

import pytest

from daskqueue.core import reads
from daskqueue.core.commands import Ack, Expire, Lose, Nack, Put, Redrive, Release
from daskqueue.core.queue import Settings
from daskqueue.core.tally import State
from daskqueue.errors import QueueFullError
from daskqueue.message import Run

from .stage import ALICE, Stage, run

# ------------------------------------------------------------------ expiry


def test_a_message_is_never_leased_after_its_time(stage: Stage) -> None:
    stage.put(2, expires=5.0)
    stage.put(1)
    stage.now += 4.999
    assert stage.granted(1).runs == run(0, 1)
    stage.now += 0.001
    assert stage.granted().runs == run(2, 3), "nobody swept, and it is not leased"
    assert stage.queue.counters.expired == 1
    assert reads.state_of(stage.queue, Run(1, 2)) == [(Run(1, 2), State.SETTLED)]


def test_a_sweep_drops_what_has_expired(stage: Stage) -> None:
    stage.put(3, expires=5.0)
    assert reads.next_event_at(stage.queue) == stage.now + 5.0
    stage.now += 5.0
    assert stage.do(Expire()) == ()
    assert (stage.queue.counters.expired, reads.backlog(stage.queue)) == (3, 0)
    assert reads.next_event_at(stage.queue) is None


def test_messages_that_expire_at_one_moment_expire_all(stage: Stage) -> None:
    stage.put(1, expires=5.0)
    stage.put(1, expires=5.0)
    stage.granted(1)
    assert reads.next_event_at(stage.queue) == stage.now + 5.0
    stage.now += 5.0
    stage.do(Expire())
    assert reads.state_of(stage.queue, Run(0, 2)) == [(Run(0, 1), State.LEASED), (Run(1, 2), State.SETTLED)]


def test_a_message_that_began_in_time_may_finish(stage: Stage) -> None:
    stage.put(1, expires=5.0)
    grant = stage.granted(seconds=100.0)
    stage.now += 50.0
    stage.do(Expire())
    assert reads.next_event_at(stage.queue) == grant.deadline
    assert stage.do(Ack(grant.receipt, grant.runs)).counted == run(0, 1)


@pytest.mark.parametrize("back", ["nacked", "snoozed", "released", "lost"])
def test_a_message_that_comes_back_after_its_time_is_dropped(stage: Stage, back: str) -> None:
    stage.put(1, expires=5.0, retries=3)
    grant = stage.granted(seconds=100.0)
    stage.now += 5.0
    if back == "nacked":
        stage.do(Nack(grant.receipt, grant.runs, "raised"))
    elif back == "snoozed":
        stage.do(Release(grant.receipt, grant.runs, 50.0))
    elif back == "released":
        stage.do(Release(grant.receipt, grant.runs))
    else:
        stage.do(Lose(["carol"]))
    assert (reads.next_event_at(stage.queue) or 0.0) <= stage.now, "a sweep is due"
    assert stage.lease() is None
    assert stage.queue.counters.expired == 1


def test_a_delayed_message_may_expire_before_it_is_due(stage: Stage) -> None:
    stage.put(1, delay=10.0, expires=5.0)
    stage.now += 5.0
    stage.do(Expire())
    assert reads.backlog(stage.queue) == 0


def test_a_redriven_letter_does_not_expire_again(stage: Stage) -> None:
    stage.put(1, expires=5.0)
    grant = stage.granted()
    stage.do(Nack(grant.receipt, grant.runs, "raised"))
    stage.now += 100.0
    stage.do(Redrive())
    stage.do(Expire())
    assert stage.granted().runs == run(0, 1)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_expiry_survives_a_restart_and_a_dropped_segment(stage: Stage, checkpoint: bool) -> None:
    stage.put(2, expires=5.0)
    stage.roll()
    assert stage.drop()
    stage.save()
    stage.reopen(checkpoint=checkpoint)
    assert reads.next_event_at(stage.queue) == stage.now + 5.0
    stage.now += 5.0
    assert stage.lease() is None


def test_the_next_of_a_group_runs_when_the_first_has_expired(stage: Stage) -> None:
    stage.put(1, group="g", expires=5.0)
    stage.put(1, group="g")
    stage.now += 5.0
    stage.do(Expire())
    assert stage.granted().runs == run(1, 2)


def test_a_snooze_does_not_make_what_is_known_of_expiries_longer(stage: Stage) -> None:
    stage.put(3, expires=1e6)
    for _ in range(500):
        grant = stage.granted()
        stage.do(Release(grant.receipt, grant.runs, 1.0))
        stage.now += 1.0
    assert len(stage.queue.expiries.due(1e9)) < 200


# ------------------------------------------------------------------ not before


def test_a_message_is_not_ready_before_the_later_of_delay_and_moment(stage: Stage) -> None:
    stage.put(1, delay=5.0, not_before=stage.now + 8.0)
    stage.put(1, delay=5.0, not_before=stage.now + 2.0)
    stage.put(1, not_before=stage.now - 2.0)
    assert stage.granted().runs == run(2, 3)
    stage.now += 5.0
    assert stage.granted().runs == run(1, 2)
    stage.now += 3.0
    assert stage.granted().runs == run(0, 1)


# ------------------------------------------------------------------ bounds


def test_a_full_queue_drops_what_waits_longest_where_that_was_chosen() -> None:
    stage = Stage(Settings(max_messages=5))
    stage.put(5)
    grant = stage.granted(2)
    assert stage.put(2, drop_oldest=True) == 5
    assert reads.state_of(stage.queue, Run(0, 7)) == [
        (Run(0, 2), State.LEASED),
        (Run(2, 4), State.SETTLED),
        (Run(4, 7), State.READY),
    ]
    assert (stage.queue.counters.displaced, stage.queue.counters.enqueued) == (2, 7)
    stage.ack(grant)
    stage.check()


def test_what_is_leased_makes_no_room_for_others() -> None:
    stage = Stage(Settings(max_messages=3))
    stage.put(3)
    stage.granted(2)
    with pytest.raises(QueueFullError, match="3 messages of at most 3"):
        stage.put(2, drop_oldest=True)
    assert stage.put(1, drop_oldest=True) == 3
    stage.check()


def test_delayed_messages_and_those_that_wait_for_their_turn_are_dropped_by_age_too() -> None:
    stage = Stage(Settings(max_messages=4))
    stage.put(1, delay=50.0)
    stage.put(2, group="g")
    stage.put(1)
    stage.put(3, drop_oldest=True)
    assert [part for part, state in reads.state_of(stage.queue, Run(0, 4)) if state is State.SETTLED] == [
        Run(0, 3)
    ]
    stage.check()


def test_a_bound_of_bytes_refuses_or_drops_about_as_much_as_is_too_much() -> None:
    stage = Stage(Settings(max_bytes=100))
    stage.put(10, size_bytes=100)
    with pytest.raises(QueueFullError, match="100 bytes of at most 100; 2 more"):
        stage.put(2, size_bytes=20, held_bytes=100)
    assert stage.put(2, size_bytes=20, held_bytes=100, drop_oldest=True) == 10
    assert stage.queue.counters.displaced == 2
    stage.check()


def test_an_empty_queue_takes_a_put_that_is_larger_than_its_bound_of_bytes() -> None:
    stage = Stage(Settings(max_bytes=100))
    assert stage.put(1, size_bytes=500) == 0
    stage.check()


def test_a_put_that_comes_again_drops_nothing() -> None:
    stage = Stage(Settings(max_messages=2))
    put = Put(ALICE, 0, 2, drop_oldest=True)
    assert stage.do(put) == 0
    assert stage.do(put) == 0
    assert stage.queue.counters.displaced == 0
    stage.check()
