from __future__ import annotations

import pytest

from daskqueue.core import reads
from daskqueue.core.commands import Put
from daskqueue.core.producers import MAX_HOLES, MAX_PRODUCERS, RECENT, Producers
from daskqueue.core.queue import Settings
from daskqueue.errors import QueueError, QueueFullError

from .stage import ALICE, BOB, Stage


def test_sequences_follow_each_other_in_order_of_put(stage: Stage) -> None:
    assert [stage.put(3), stage.put(1), stage.put(2, producer=BOB)] == [0, 3, 4]
    assert reads.backlog(stage.queue) == 6


def test_a_put_that_is_sent_twice_is_one_put(stage: Stage) -> None:
    first = stage.do(Put(ALICE, 0, 5))
    assert stage.do(Put(ALICE, 0, 5)) == first
    assert stage.queue.next_sequence == 5
    assert stage.queue.counters.deduplicated == 5


def test_the_same_number_of_another_producer_is_another_put(stage: Stage) -> None:
    assert stage.do(Put(ALICE, 0, 5)) != stage.do(Put(BOB, 0, 5))


def test_puts_of_one_producer_may_arrive_out_of_order(stage: Stage) -> None:
    places = {number: stage.do(Put(ALICE, number, 1)) for number in (3, 0, 2, 1)}
    assert {number: stage.do(Put(ALICE, number, 1)) for number in range(4)} == places


def test_a_put_that_was_late_for_long_is_still_taken_once(stage: Stage) -> None:
    for number in range(1, 200):
        stage.do(Put(ALICE, number, 1))
    late = stage.do(Put(ALICE, 0, 7))
    assert late == 199
    assert stage.do(Put(ALICE, 0, 7)) == late


def test_a_put_known_to_be_old_is_refused_and_never_doubled(stage: Stage) -> None:
    for number in range(RECENT + 1):
        stage.do(Put(ALICE, number, 1))
    with pytest.raises(QueueError, match="put 0 was accepted before"):
        stage.do(Put(ALICE, 0, 1))


def test_a_repeated_put_with_another_count_is_an_error(stage: Stage) -> None:
    stage.do(Put(ALICE, 0, 5))
    with pytest.raises(QueueError, match="came before with 5 messages, now with 6"):
        stage.do(Put(ALICE, 0, 6))


def test_a_repeated_put_is_known_after_a_restart_and_in_the_next_segment(stage: Stage) -> None:
    first = stage.do(Put(ALICE, 4, 5))
    stage.roll()
    stage.reopen()
    assert stage.do(Put(ALICE, 4, 5)) == first


@pytest.mark.parametrize("put", [Put(ALICE, 0, 0), Put(ALICE, 0, 1, retries=-1), Put(ALICE, -1, 1)])
def test_a_put_that_makes_no_sense_is_refused(stage: Stage, put: Put) -> None:
    with pytest.raises(ValueError, match="a put needs"):
        stage.do(put)


def test_what_is_known_of_producers_is_bounded() -> None:
    producers = Producers()
    for number in range(MAX_PRODUCERS + 10):
        producers.record(number.to_bytes(16, "big"), 0, number, 1)
    assert len(producers) == MAX_PRODUCERS
    assert not producers.seen((0).to_bytes(16, "big"), 0)
    for number in range(0, 3 * RECENT, 2):
        producers.record(ALICE, number, number, 1)
    ((_, seen, recent),) = [dumped for dumped in producers.dump() if dumped[0] == ALICE]
    assert len(seen) == MAX_HOLES
    assert len(recent) == RECENT
    assert producers.seen(ALICE, 1), "a number left out for long is refused, never doubled"


def test_a_bounded_queue_refuses_what_goes_beyond_its_bound() -> None:
    stage = Stage(Settings(max_messages=10))
    stage.put(6)
    grant = stage.granted(4)
    with pytest.raises(QueueFullError, match="6 messages of at most 10"):
        stage.put(5)
    stage.ack(grant)
    assert stage.put(5) == 6
    stage.check()


def test_a_put_that_comes_again_is_answered_even_if_the_queue_is_full() -> None:
    stage = Stage(Settings(max_messages=5))
    first = stage.do(Put(ALICE, 0, 5))
    assert stage.do(Put(ALICE, 0, 5)) == first
    stage.check()


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="max_losses must be at least 1"):
        Settings(max_losses=0)
