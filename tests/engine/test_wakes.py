"""Whoever waits for messages is woken when the turn in a group has passed, whatever made it pass."""

from __future__ import annotations

import pytest

from daskqueue.message import Run, Terms

GROUP = Terms(group="g")


@pytest.mark.parametrize("end", ["ack", "nack", "release", "stop", "cancel", "purge", "expire", "lose"])
def test_those_who_wait_are_woken_when_the_turn_has_passed(quick, end):
    quick.put("first", expires=5.0, terms=GROUP)
    quick.put("second", terms=GROUP)
    hand = quick.lease() if end not in ("cancel", "expire", "purge") else None
    if hand is not None:
        assert hand.values == {0: "first"}
        assert quick.lease(consumer="dave") is None
    quick.heard.clear()
    if end == "ack":
        quick.ack(hand)
    elif end == "nack":
        quick.nack(hand, final=True)
    elif end == "release":
        quick.release(hand, [0])
    elif end == "stop":
        quick._soon(quick.engine.leases.stop, hand.receipt, [Run(0, 1)])
    elif end == "cancel":
        quick.cancel(0)
    elif end == "lose":
        quick.lose("carol")
    elif end == "purge":
        quick.purge()
        quick.put("third", terms=GROUP)
    else:
        quick.clock.moment += 5.0
        quick.expire()
    quick.let_it_work()
    assert "ready" in quick.heard
    assert quick.engine.leasable() == 1
    values = {"release": "first", "lose": "first", "purge": "third"}
    assert list(quick.lease(consumer="dave").values.values()) == [values.get(end, "second")]


def test_one_consumer_runs_all_of_a_group_and_is_never_left_waiting(quick):
    quick.put(*range(100), terms=GROUP)
    seen = []
    while (hand := quick.lease(10)) is not None:
        seen += hand.values.values()
        quick.heard.clear()
        quick.ack(hand)
        quick.let_it_work()
        assert len(seen) == 100 or "ready" in quick.heard
    assert seen == list(range(100))
