"""Results in three ways: durable with the ack, in memory, and not at all."""

from __future__ import annotations

import pytest

from daskqueue.errors import ResultExpiredError


def double(number):
    return 2 * number


def fail(number):
    raise ValueError(f"no {number}")


def finished(make, **options):
    """Return a pool, a job that returned 6, and one that failed."""
    pool = make.queues(durable=True, **options)
    good, bad = pool.submit(double, 3), pool.submit(fail, 3)
    make.consumers(pool).join(timeout=30)
    return pool, good, bad


@pytest.mark.parametrize("results", ["durable", "memory"])
def test_results_are_there_while_the_queue_is(make, results):
    _, good, bad = finished(make, results=results)
    assert good.result(timeout=10) == 6
    assert good.status == "finished"
    with pytest.raises(ValueError, match="no 3"):
        bad.result(timeout=10)


def test_results_in_memory_end_with_a_restart_and_say_so_but_failures_stay(make_fragile):
    pool, good, bad = finished(make_fragile, results="memory")
    make_fragile.client.restart()
    with pytest.raises(ResultExpiredError, match='results="memory"'):
        pool.job(good.id).result(timeout=30)
    assert isinstance(pool.job(bad.id).exception(timeout=30), ValueError)
    assert list(pool.get_queue_size().values()) == [0], "nothing runs again"


def test_without_results_a_job_is_finished_and_says_why_it_has_none(make):
    pool, good, bad = finished(make, results="none")
    with pytest.raises(ResultExpiredError, match='results="none"'):
        good.result(timeout=10)
    assert good.done()
    assert good.status == "finished"
    assert good.exception(timeout=10) is None
    assert isinstance(bad.exception(timeout=10), ValueError)
    assert pool.dead.count() == 1


def test_only_the_newest_results_are_kept_where_their_number_is_bounded(make, durable):
    pool = make.queues(durable=durable, result_count=10)
    jobs = pool.map(double, range(30), batch_size=30)
    consumers = make.consumers(pool)
    consumers.join(timeout=30)
    kept = [value for found in consumers.results().values() for value in found.values()]
    assert len(kept) == 10
    assert jobs[29].result(timeout=10) == 58
    with pytest.raises(ResultExpiredError, match="result_count"):
        jobs[0].result(timeout=10)


def test_old_results_are_gone(make):
    pool = make.queues(result_ttl="1ms")
    job = pool.submit(double, 3)
    make.consumers(pool).join(timeout=30)
    with pytest.raises(ResultExpiredError, match="result_ttl"):
        job.result(timeout=10)


def test_an_unknown_choice_is_refused_at_the_call(make):
    with pytest.raises(ValueError, match='"durable", "memory"'):
        make.queues(results="disk")
