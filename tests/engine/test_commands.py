"""What each command does, and what of it is still there after a close and after a kill."""

from __future__ import annotations

import pytest

from daskqueue.batch import encode_items
from daskqueue.core.tally import Receipt
from daskqueue.errors import BatchError, FolderError, FolderInUseError, QueueFullError
from daskqueue.message import PutOptions, Run
from daskqueue.results import encode_failure, encode_results

from .bench import ALICE, BOB, Bench

KILL = pytest.mark.parametrize("kill", [False, True], ids=["closed", "killed"])


def test_what_was_put_is_leased_in_order(bench):
    assert bench.put("a", "b") == 0
    assert bench.put("c") == 2
    hand = bench.lease()
    assert hand.values == {0: "a", 1: "b", 2: "c"}
    assert bench.counts == {"ready": 0, "delayed": 0, "leased": 3, "dead": 0}


def test_a_lease_is_cut_out_of_the_batches(bench):
    bench.put(*range(100))
    bench.put(*range(100, 200))
    seen = [bench.lease(want).values for want in (1, 98, 2, 50, 1000)]
    assert [len(values) for values in seen] == [1, 98, 2, 50, 49]
    assert {s: v for values in seen for s, v in values.items()} == {n: n for n in range(200)}
    assert bench.lease() is None


def test_a_lease_is_bounded_by_bytes_but_holds_one_message(bench):
    bench.put(*[bytes(10_000) for _ in range(20)])
    assert 1 <= len(bench.lease(max_bytes=50_000).values) <= 6
    assert len(bench.lease(max_bytes=1).values) == 1


def test_an_ack_keeps_the_result_and_settles(bench):
    bench.put("a", "b")
    hand = bench.lease()
    assert bench.ack(hand) == 0
    assert bench.counts == {"ready": 0, "delayed": 0, "leased": 0, "dead": 0}
    assert bench.state(0) == "settled"
    assert bench.outcome(0) == ("returned", ("done", "a"))
    assert bench.results() == {0: ("done", "a"), 1: ("done", "b")}
    assert bench.engine.finished("pool") == 2
    assert bench.heard[-1] == "settled"


def test_an_ack_may_be_said_twice(bench):
    bench.put("a", "b")
    hand = bench.lease()
    bench.ack(hand, [0])
    assert bench.ack(hand, [0, 1]) == 0
    assert bench.ack(hand, [0, 1]) == 0
    assert bench.results() == {0: ("done", "a"), 1: ("done", "b")}
    assert bench.engine.finished("pool") == 2


def test_an_ack_without_results_keeps_none(bench):
    bench.put("a")
    hand = bench.lease()
    bench._soon(bench.engine.leases.ack, hand.receipt, [Run(0, 1)], None)
    assert bench.state(0) == "settled"
    assert bench.outcome(0) is None
    assert bench.results() == {}


def test_what_was_acked_early_is_completed_later(bench):
    bench.put("a", "b")
    hand = bench.lease()
    bench._soon(bench.engine.leases.ack, hand.receipt, [Run(0, 2)], None)
    bench._soon(
        bench.engine.leases.complete, "pool", "carol", "returned", [Run(0, 1)], encode_results(["late"])[0]
    )
    bench._soon(
        bench.engine.leases.complete,
        "pool",
        "carol",
        "failed",
        [Run(1, 2)],
        encode_failure(ValueError("late no")),
    )
    assert bench.outcome(0) == ("returned", "late")
    assert bench.outcome(1) == ("failed", "late no")
    assert bench.results() == {0: "late"}


def test_a_nacked_message_waits_out_its_pause_and_comes_again(bench):
    bench.put("a", "b", retries=2)
    hand = bench.lease()
    bench.nack(hand, [0])
    bench.ack(hand, [1])
    assert bench.counts == {"ready": 0, "delayed": 1, "leased": 0, "dead": 0}
    assert bench.lease() is None
    assert 0.5 <= bench.engine.seconds_to_next_event() <= 1.0
    bench.clock.moment += 1.0
    assert bench.engine.leasable() == 1
    again = bench.lease()
    assert again.values == {0: "a"}
    bench.nack(again)
    assert 1.0 <= bench.engine.seconds_to_next_event() <= 2.0
    bench.clock.moment += 2.0
    bench.ack(bench.lease(), [0], ["at last"])
    assert bench.outcome(0) == ("returned", "at last")


def test_a_message_out_of_retries_is_a_dead_letter_with_its_failure(bench):
    bench.put("a", "b", "c", retries=1)
    hand = bench.lease()
    bench.nack(hand)
    bench.clock.moment += 5.0
    bench.nack(bench.lease())
    assert bench.counts == {"ready": 0, "delayed": 0, "leased": 0, "dead": 3}
    assert [bench.state(s) for s in range(3)] == ["dead"] * 3
    assert [bench.outcome(s) for s in range(3)] == [("failed", f"no {s}") for s in range(3)]
    assert bench.results() == {}
    assert bench.engine.finished("pool") == 3


def test_a_final_nack_uses_up_all_retries(bench):
    bench.put("a", retries=5)
    bench.nack(bench.lease(), final=True, reason="cannot_load")
    assert bench.state(0) == "dead"
    assert bench.outcome(0) == ("failed", "no 0")


def test_messages_with_different_attempts_in_one_lease_keep_their_own(bench):
    bench.put("old", retries=3)
    bench.nack(bench.lease())
    bench.clock.moment += 1
    bench.put("new", retries=3)
    hand = bench.lease()
    assert hand.values == {0: "old", 1: "new"}
    bench.nack(hand)
    # The new one has waited for most of its first pause, the old one waits for its second.
    bench.clock.moment += 0.99
    bench.expire()
    assert bench.state(0) == "delayed"
    bench.clock.moment += 1.01
    assert bench.lease().values == {0: "old", 1: "new"}


def test_what_is_released_is_ready_again_as_it_was(bench):
    bench.put("a", "b", "c")
    hand = bench.lease()
    bench.release(hand, [1, 2])
    assert bench.counts["ready"] == 2
    assert bench.lease(consumer="dave").values == {1: "b", 2: "c"}


def test_a_lease_that_runs_out_gives_its_messages_back(bench):
    bench.put("a", "b")
    hand = bench.lease()
    bench.clock.moment += 9.99
    bench.expire()
    assert bench.lease(consumer="dave") is None
    bench.clock.moment += 0.01
    bench.expire()
    assert bench.lease(consumer="dave").values == {0: "a", 1: "b"}
    assert bench.ack(hand) == 2, "its late ack counts for nothing"
    assert bench.results() == {}
    assert bench.counts["leased"] == 2


def test_a_late_ack_counts_for_the_messages_that_are_still_held(bench):
    bench.put("a", "b")
    hand = bench.lease(1)
    other = bench.lease(1)
    bench.clock.moment += 9.0
    assert bench._soon(bench.engine.leases.extend, "carol", [other.receipt.lease]) == (other.receipt.lease,)
    bench.clock.moment += 1.0
    bench.expire()
    assert bench.ack(hand) == 1
    assert bench.ack(other) == 0
    assert bench.results() == {1: ("done", "b")}


def test_an_extended_lease_lives_on(bench):
    bench.put("a")
    hand = bench.lease()
    for _ in range(5):
        bench.clock.moment += 9.0
        assert bench._soon(bench.engine.leases.extend, "carol", [hand.receipt.lease]) == (hand.receipt.lease,)
        bench.expire()
    assert bench.ack(hand) == 0
    assert bench._soon(bench.engine.leases.extend, "carol", [hand.receipt.lease]) == ()


def test_what_a_lost_consumer_held_is_ready_at_once(bench):
    bench.put("a", "b", "c")
    bench.lease(2, consumer="carol")
    dave = bench.lease(1, consumer="dave")
    assert bench.engine.consumers() == {"carol", "dave"}
    bench.lose("carol")
    assert bench.lease(consumer="erin").values == {0: "a", 1: "b"}
    assert bench.ack(dave) == 0


def test_a_message_that_is_lost_too_often_is_a_dead_letter(make_bench, fs):
    bench = make_bench(fs, max_losses=3)
    bench.put("poison")
    for _ in range(3):
        assert bench.lease().values == {0: "poison"}
        bench.lose("carol")
    assert bench.lease() is None
    assert bench.state(0) == "dead"
    assert bench.outcome(0) == ("failed", "crash_loop")


def test_a_delayed_message_is_not_leased_before_its_time(bench):
    bench.put("later", delay=30.0)
    bench.put("now")
    assert bench.drain() == {1: "now"}
    assert bench.engine.seconds_to_next_event() == pytest.approx(30.0)
    bench.clock.moment += 29.9
    assert bench.lease() is None
    bench.clock.moment += 0.2
    bench.heard.clear()
    bench.expire()
    assert "ready" in bench.heard
    assert bench.drain() == {0: "later"}


def test_cancel_drops_what_waits_only(bench):
    bench.put("a", "b", "c")
    bench.put("later", delay=30)
    hand = bench.lease(1)
    assert bench.cancel(0, 1, 3) == (Run(1, 2), Run(3, 4))
    assert bench.cancel(0, 1, 3) == ()
    assert bench.outcome(1) == ("cancelled", "")
    assert bench.outcome(3) == ("cancelled", "")
    assert bench.drain("dave") == {2: "c"}
    bench.ack(hand)
    assert bench.results() == {0: ("done", "a"), 2: ("done", "c")}
    assert bench.cancel(99) == ()


def test_purge_drops_all_that_waits(bench):
    bench.put("a", "b")
    bench.put("later", delay=30)
    hand = bench.lease(1)
    assert bench.purge() == (Run(1, 3),)
    assert bench.purge() == ()
    assert bench.lease() is None
    assert bench.ack(hand) == 0
    assert bench.outcome(2) == ("cancelled", "")


def test_a_put_that_comes_twice_is_one(bench):
    assert bench.put("a", "b", number=7) == 0
    assert bench.put("c", number=8) == 2
    assert bench.put("a", "b", number=7) == 0
    assert bench.put("d", number=7, producer=BOB) == 3
    assert bench.drain() == {0: "a", 1: "b", 2: "c", 3: "d"}


def test_puts_of_one_producer_may_come_out_of_order(bench):
    assert [bench.put(number, number=number) for number in (3, 1, 2, 0)] == [0, 1, 2, 3]
    assert [bench.put(number, number=number) for number in (0, 1, 2, 3)] == [3, 1, 2, 0]
    assert bench.drain() == {0: 3, 1: 1, 2: 2, 3: 0}


def test_puts_that_share_a_call_are_known_again_one_by_one(bench):
    batches = [(number, encode_items([number]), PutOptions()) for number in range(5)]
    assert bench.run(bench.engine.put(ALICE, batches[:3])) == [0, 1, 2]
    assert bench.run(bench.engine.put(ALICE, batches)) == [0, 1, 2, 3, 4]
    assert len(bench.drain()) == 5


@KILL
def test_a_put_that_comes_again_after_a_restart_is_one(bench, kill):
    bench.put("a", number=7)
    bench.reopen(kill=kill)
    assert bench.put("a", number=7) == 0
    assert bench.drain() == {0: "a"}


def test_bytes_that_are_no_batch_put_nothing(bench):
    good = encode_items(["good"])
    for bad in (b"", b"nonsense", good[:-1], good[:-1] + b"\xff"):
        with pytest.raises(BatchError):
            bench.run(bench.engine.put(ALICE, [(1, good, PutOptions()), (2, bad, PutOptions())]))
    assert bench.counts["ready"] == 0
    assert bench.put("a", number=1) == 0


def test_a_lease_request_that_comes_twice_gives_the_same_lease(bench):
    bench.put("a", "b", "c", "d")
    hand = bench.lease(2, request=5)
    again = bench.lease(2, request=5)
    assert (again.receipt, again.values) == (hand.receipt, hand.values)
    assert bench.lease(2, request=6).values == {2: "c", 3: "d"}
    bench.ack(hand, [0])
    assert bench.lease(2, request=5).values == {1: "b"}


def test_a_bounded_queue_takes_what_fits_and_hands_it_out(make_bench, fs):
    bench = make_bench(fs, max_messages=3)
    batches = [(number, encode_items([number]), PutOptions()) for number in range(5)]
    assert bench.run(bench.engine.put(ALICE, batches)) == [0, 1, 2]
    with pytest.raises(QueueFullError):
        bench.run(bench.engine.put(ALICE, batches[3:]))
    hand = bench.lease()
    assert hand.values == {0: 0, 1: 1, 2: 2}
    bench.ack(hand)
    assert bench.run(bench.engine.put(ALICE, batches)) == [0, 1, 2, 3, 4]


@KILL
def test_everything_is_there_after_a_restart(bench, kill):
    bench.put(*range(10), retries=1)
    bench.put("later", delay=100.0)
    hand = bench.lease(8)
    bench.ack(hand, [0, 1])
    bench.nack(hand, [2], final=True)
    bench.nack(hand, [3])
    bench.release(hand, [4])
    bench.cancel(9)
    before = {sequence: bench.state(sequence) for sequence in range(11)}
    bench.reopen(kill=kill)
    assert {sequence: bench.state(sequence) for sequence in range(11)} == before
    assert bench.outcome(0) == ("returned", ("done", 0))
    assert bench.outcome(2) == ("failed", "no 2")
    assert bench.outcome(9) == ("cancelled", "")
    assert bench.results() == {0: ("done", 0), 1: ("done", 1)}
    assert bench.engine.finished("pool") == 3
    assert bench.put("next") == 11
    # The leases of before live until the grace is over.
    assert bench.drain("dave") == {4: 4, 8: 8, 11: "next"}
    bench.clock.moment += 5.0
    bench.expire()
    assert bench.drain("dave") == {3: 3, 5: 5, 6: 6, 7: 7}
    bench.clock.moment += 100.0
    assert bench.drain("dave") == {10: "later"}


@KILL
def test_a_consumer_that_comes_back_within_the_grace_acks_what_it_had(bench, kill):
    bench.put("a", "b")
    hand = bench.lease()
    bench.reopen(kill=kill)
    assert bench.ack(hand, [0]) == 0
    assert bench._soon(bench.engine.leases.extend, "carol", [hand.receipt.lease]) == (hand.receipt.lease,)
    bench.clock.moment += 9.0
    bench.expire()
    assert bench.ack(hand, [1]) == 0
    assert bench.results() == {0: ("done", "a"), 1: ("done", "b")}


@KILL
def test_an_acked_message_never_returns(bench, kill):
    bench.put(*range(6))
    bench.ack(bench.lease(2))
    bench.reopen(kill=kill)
    bench.release(second := bench.lease(2), [2])
    bench.ack(second, [3])
    bench.reopen(kill=kill)
    bench.clock.moment += 50.0
    bench.expire()
    assert bench.drain() == {2: 2, 4: 4, 5: 5}
    bench.reopen(kill=kill)
    bench.clock.moment += 50.0
    bench.expire()
    assert bench.drain() == {}


@KILL
def test_deliveries_are_counted_across_restarts(make_bench, fs, kill):
    bench = make_bench(fs, max_losses=3)
    bench.put("poison")
    for _ in range(3):
        assert bench.lease().values == {0: "poison"}
        bench.reopen(kill=kill)
        bench.clock.moment += 5.0
        bench.expire()
    assert bench.lease() is None
    assert bench.outcome(0) == ("failed", "crash_loop")


def test_receipts_of_a_lease_that_never_was_are_ignored(bench):
    bench.put("a")
    for receipt in (Receipt(77, 1), Receipt(1, 99)):
        blob = encode_items(["x"])
        assert bench._soon(bench.engine.leases.ack, receipt, [Run(0, 1)], blob) == 1
        bench._soon(bench.engine.leases.release, receipt, [Run(0, 1)])
        nack = lambda r=receipt, b=blob: bench.engine.leases.nack(r, [Run(0, 1)], b, "raised", final=True)  # noqa: E731
        assert bench._soon(nack) == 1
    assert bench.drain() == {0: "a"}


def test_pages_of_results_are_bounded_and_complete(bench):
    for _ in range(20):
        bench.put(*[bytes(1000) for _ in range(10)])
        bench.ack(bench.lease(10))
    assert len(bench.results(max_bytes=15_000)) == 200
    assert bench.pages >= 10
    assert len(bench.results(max_bytes=1)) == 200
    assert bench.results("another pool") == {}


def test_a_second_opener_is_refused_with_the_owner_named(bench, fs):
    other = Bench(bench.fs, bench.folder)
    try:
        with pytest.raises(FolderInUseError, match="pid 1"):
            other.open()
    finally:
        other.clear_away()
    bench.put("still here")


def test_reopening_never_creates(bench, tmp_path):
    other = Bench(bench.fs, tmp_path / "gone")
    try:
        with pytest.raises(FolderError, match="gone"):
            other.open(create=False)
        assert not bench.fs.exists(tmp_path / "gone")
        bench.fs.make_folder(tmp_path / "gone")
        with pytest.raises(FolderError, match="log"):
            other.open(create=False)
        assert [name for name in bench.fs.names(tmp_path / "gone") if name.endswith(".log")] == []
    finally:
        other.clear_away()
