"""Keys: a second put with a key is the first one, while that is pending and a while after."""

from __future__ import annotations

import pytest

from daskqueue.core.commands import Cancel, Discard, Expire, Lose, Nack, Put, Redrive
from daskqueue.core.queue import Settings
from daskqueue.errors import QueueFullError
from daskqueue.message import Terms

from .stage import ALICE, Stage, run


def test_a_put_whose_key_is_taken_is_that_message(stage: Stage) -> None:
    first = stage.put(1, key="k")
    assert stage.put(1, key="k") == -1 - first
    assert stage.put(1, key="other") == 1
    assert stage.queue.next_sequence == 2
    assert (stage.queue.counters.matched, stage.queue.counters.enqueued) == (1, 2)


def test_a_key_is_taken_while_its_message_is_leased_retried_or_delayed(stage: Stage) -> None:
    first = stage.put(1, key="k", retries=3, delay=2.0)
    assert stage.put(1, key="k") == -1 - first
    stage.now += 2.0
    grant = stage.granted()
    assert stage.put(1, key="k") == -1 - first
    stage.do(Nack(grant.receipt, grant.runs, "raised", 5.0))
    assert stage.put(1, key="k") == -1 - first


def test_a_key_without_a_window_is_free_when_its_message_ends(stage: Stage) -> None:
    stage.put(1, key="k")
    stage.ack(stage.granted())
    assert stage.put(1, key="k") == 1


def test_the_window_begins_at_the_end_of_the_message(stage: Stage) -> None:
    stage.put(1, key="k", key_seconds=10.0)
    grant = stage.granted(seconds=1000.0)
    stage.now += 100.0
    stage.ack(grant)
    stage.now += 9.9
    assert stage.put(1, key="k") == -1
    stage.now += 0.1
    assert stage.put(1, key="k") == 1


@pytest.mark.parametrize("end", ["dead", "cancelled", "expired"])
def test_any_end_lets_the_key_go_after_its_window(stage: Stage, end: str) -> None:
    stage.put(1, key="k", key_seconds=10.0, expires=5.0)
    if end == "dead":
        grant = stage.granted()
        stage.do(Nack(grant.receipt, grant.runs, "raised"))
    elif end == "cancelled":
        stage.do(Cancel(run(0, 1)))
    else:
        stage.now += 5.0
        stage.do(Expire())
    assert stage.put(1, key="k") == -1
    stage.now += 10.0
    assert stage.put(1, key="k") == 1


def test_the_same_put_again_gets_the_same_answer_whatever_became_of_the_key(stage: Stage) -> None:
    stage.put(1, key="k")
    again = Put(ALICE, 100, 1, terms=Terms(key="k"))
    assert stage.do(again) == -1
    stage.ack(stage.granted())
    assert stage.do(again) == -1, "the key is free, but this put is that message"
    stage.roll()
    stage.reopen()
    assert stage.do(again) == -1


@pytest.mark.parametrize("checkpoint", [False, True])
def test_keys_and_their_windows_survive_a_restart(stage: Stage, checkpoint: bool) -> None:
    stage.put(1, key="ended", key_seconds=50.0)
    stage.ack(stage.granted())
    stage.put(1, key="pending")
    stage.save()
    stage.reopen(checkpoint=checkpoint)
    assert stage.put(1, key="ended") == -1
    assert stage.put(1, key="pending") == -2
    stage.now += 50.0
    assert stage.put(1, key="ended") == 2


def test_keys_survive_the_segment_of_their_message(stage: Stage) -> None:
    stage.put(1, key="ended", key_seconds=50.0)
    stage.ack(stage.granted())
    stage.put(1, key="pending")
    stage.roll()
    assert stage.drop()
    stage.reopen()
    assert stage.put(1, key="ended") == -1
    assert stage.put(1, key="pending") == -2


def test_a_redriven_letter_has_its_key_again(stage: Stage) -> None:
    stage.put(1, key="k")
    grant = stage.granted()
    stage.do(Nack(grant.receipt, grant.runs, "raised"))
    stage.do(Redrive())
    assert stage.put(1, key="k") == -1


def test_a_redriven_letter_does_not_take_a_key_that_another_has_by_now(stage: Stage) -> None:
    stage.put(1, key="k")
    grant = stage.granted()
    stage.do(Nack(grant.receipt, grant.runs, "raised"))
    assert stage.put(1, key="k") == 1
    stage.do(Redrive())
    stage.ack(stage.granted(1))
    assert stage.put(1, key="k") == -2, "the end of the redriven one frees nothing"


def test_of_several_redriven_letters_with_one_key_one_has_it(stage: Stage) -> None:
    for _ in range(2):
        stage.put(1, key="k")
        grant = stage.granted()
        stage.do(Nack(grant.receipt, grant.runs, "raised"))
    assert stage.do(Redrive()) == run(0, 2)
    stage.ack(stage.granted(1))
    assert stage.put(1, key="k") == 2


def test_letters_that_are_thrown_away_free_no_key_of_others(stage: Stage) -> None:
    stage.put(1, key="k")
    grant = stage.granted()
    stage.do(Nack(grant.receipt, grant.runs, "raised"))
    stage.put(1, key="k")
    stage.do(Discard())
    assert stage.put(1, key="k") == -2


def test_a_key_is_for_one_message(stage: Stage) -> None:
    with pytest.raises(ValueError, match="a key is for one message, not for 2"):
        stage.put(2, key="k")


def test_a_taken_key_is_answered_even_if_the_queue_is_full() -> None:
    stage = Stage(Settings(max_messages=1))
    stage.put(1, key="k")
    assert stage.put(1, key="k") == -1
    with pytest.raises(QueueFullError):
        stage.put(1, key="other")
    stage.check()


def test_keys_that_nobody_keeps_any_more_are_forgotten(stage: Stage) -> None:
    for number in range(300):
        stage.put(1, key=f"k{number}", key_seconds=1.0)
        stage.ack(stage.granted())
        stage.now += 1.0
    assert len(stage.queue.keys.kept) < 200


def test_a_key_belongs_to_its_message_when_the_consumer_is_lost(stage: Stage) -> None:
    stage.put(1, key="k")
    stage.granted()
    stage.do(Lose(["carol"]))
    assert stage.put(1, key="k") == -1
