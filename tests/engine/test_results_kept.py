"""Where results are kept, for how long, and what is said when they are not."""

from __future__ import annotations

import pytest

from daskqueue.message import Run


def finish(bench, *values):
    """Put values and ack them; return the first sequence."""
    first = bench.put(*values)
    bench.ack(bench.lease(len(values)))
    return first


def kept(bench, count):
    return [sequence for sequence in range(count) if bench.outcome(sequence) is not None]


def test_results_in_memory_are_there_until_the_queue_is_opened_again(make_bench, fs):
    bench = make_bench(fs, results="memory")
    finish(bench, "a", "b")
    assert bench.outcome(1) == ("returned", ("done", "b"))
    assert bench.results() == {0: ("done", "a"), 1: ("done", "b")}
    bench.reopen()
    assert bench.outcome(1) is None
    assert bench.results() == {}
    state, reason = bench.engine.endings.missing()
    assert state == "lost"
    assert 'results="memory"' in reason
    assert bench.counts["ready"] == 0, "what is acked stays acked"


def test_results_in_memory_write_nothing_to_the_results_on_the_disk(make_bench, fs):
    bench = make_bench(fs, results="memory")
    before = bench.engine._outcomes.log.size_bytes
    finish(bench, *range(100))
    assert bench.engine._outcomes.log.size_bytes == before
    assert bench.engine.reading().results_bytes > before


@pytest.mark.parametrize("results", ["memory", "none"])
def test_an_ack_counts_after_a_crash_although_its_results_are_gone(make_bench, fs, results):
    bench = make_bench(fs, results=results)
    finish(bench, "a", "b")
    bench.put("c")
    bench.reopen(kill=True)
    assert bench.state(0) == bench.state(1) == "settled"
    assert list(bench.drain()) == [2]


def test_without_results_only_what_did_not_return_is_known(make_bench, fs):
    bench = make_bench(fs, results="none")
    finish(bench, "a")
    bench.put("b")
    bench.nack(bench.lease())
    bench.put("c")
    bench.cancel(2)
    for _ in range(2):
        assert bench.outcome(0) is None
        assert bench.outcome(1) == ("failed", "no 1")
        assert bench.outcome(2)[0] == "cancelled"
        assert bench.results() == {}
        state, reason = bench.engine.endings.missing()
        assert state == "unkept"
        assert 'results="none"' in reason
        bench.reopen()


@pytest.mark.parametrize("results", ["memory", "none"])
def test_results_that_were_durable_are_found_after_a_change_of_mind(make_bench, fs, results):
    bench = make_bench(fs)
    finish(bench, "a")
    bench.close()
    later = make_bench(bench.fs, results=results)
    assert later.outcome(0) == ("returned", ("done", "a"))


def test_no_more_results_are_kept_than_may_be(make_bench, fs):
    bench = make_bench(fs, result_count=5)
    for value in range(8):
        finish(bench, value)
    assert kept(bench, 8) == [3, 4, 5, 6, 7]
    assert sorted(bench.results()) == [3, 4, 5, 6, 7]
    assert "result_count" in bench.engine.endings.missing().reason
    finish(bench, *range(8, 12))
    assert kept(bench, 12) == [7, 8, 9, 10, 11]


def test_of_a_batch_of_results_the_newest_are_kept(make_bench, fs):
    bench = make_bench(fs, result_count=3)
    finish(bench, *range(10))
    assert kept(bench, 10) == [7, 8, 9]
    assert sorted(bench.results()) == [7, 8, 9]


def test_the_number_of_results_is_kept_over_restarts(make_bench, fs):
    bench = make_bench(fs, result_count=4)
    finish(bench, 0, 1, 2)
    bench.reopen(kill=True)
    finish(bench, 3, 4)
    assert kept(bench, 5) == [1, 2, 3, 4]
    bench.reopen()
    assert kept(bench, 5) == [1, 2, 3, 4]


def test_no_results_at_all_may_be_kept(make_bench, fs):
    bench = make_bench(fs, result_count=0)
    finish(bench, 0, 1, 2)
    assert kept(bench, 3) == []


def test_failures_do_not_count_as_results(make_bench, fs):
    bench = make_bench(fs, result_count=1)
    finish(bench, "a")
    bench.put("b", "c")
    bench.cancel(1, 2)
    assert kept(bench, 3) == [0, 1, 2]


def test_results_go_when_they_are_old(make_bench, fs):
    bench = make_bench(fs, result_ttl_seconds=100.0)
    finish(bench, "old")
    bench.clock.moment += 60
    finish(bench, "young")
    bench.clock.moment += 60
    assert kept(bench, 2) == [1]
    assert sorted(bench.results()) == [1]
    assert "result_ttl" in bench.engine.endings.missing().reason


def test_restarts_do_not_make_results_young_again(make_bench, fs):
    bench = make_bench(fs, result_ttl_seconds=100.0)
    finish(bench, "old")
    for _ in range(4):
        bench.clock.moment += 30
        bench.reopen()
    assert kept(bench, 1) == []


def test_the_bytes_of_old_results_are_given_back_in_the_course_of_time(make_bench, fs):
    bench = make_bench(fs, result_ttl_seconds=80.0)
    finish(bench, "x" * 200_000)
    before = bench.engine._outcomes.size_bytes
    for _ in range(20):
        bench.clock.moment += 10
        finish(bench, "y")
        bench.let_it_work()
        bench.reopen()
    assert bench.engine._outcomes.size_bytes < before / 4


@pytest.mark.parametrize("results", ["durable", "memory"])
def test_results_take_no_more_bytes_than_they_may(make_bench, fs, results):
    bench = make_bench(fs, result_bytes=1 << 20, results=results)
    for value in range(60):
        finish(bench, f"{value}" * 50_000)
        bench.let_it_work()
    assert bench.engine._outcomes.size_bytes < 1.3 * (1 << 20)
    assert bench.outcome(59) is not None
    assert bench.outcome(0) is None
    assert "result_bytes" in bench.engine.endings.missing().reason


def test_an_unknown_choice_is_refused_with_the_choices(make_bench, fs):
    with pytest.raises(ValueError, match='"durable", "memory", "none"'):
        make_bench(fs, results="disk")
    with pytest.raises(ValueError, match="result_count must be at least 0"):
        make_bench(fs, result_count=-1)


def test_results_of_what_was_acked_before_it_ran_follow_the_same_rules(make_bench, fs):
    bench = make_bench(fs, results="none")
    bench.put("a", "b")
    hand = bench.lease()
    bench._soon(bench.engine.leases.ack, hand.receipt, [Run(0, 2)], None)
    bench._soon(bench.engine.leases.complete, "pool", "carol", "returned", [Run(0, 1)], b"")
    assert bench.outcome(0) is None
