"""``QueuePool.gather`` where a client has made the queues; tests/hosts/test_connect.py has what else it does."""

from __future__ import annotations

import pytest

from daskqueue.errors import JobCancelledError, WaitTimeoutError


def double(number):
    return 2 * number


def test_gather_returns_all_results_in_order(make):
    pool = make.queues(2)
    make.consumers(pool, 2)
    jobs = pool.map(double, range(500), batch_size=20)
    assert pool.gather(jobs, timeout=20) == [2 * number for number in range(500)]
    assert pool.gather(reversed(jobs), timeout=20)[0] == 998


def test_gather_refuses_what_is_no_job_of_the_pool(make):
    pool, other = make.queues(), make.queues()
    with pytest.raises(ValueError, match="another pool"):
        pool.gather([other.submit(double, 1)])
    with pytest.raises(TypeError, match="no Job"):
        pool.gather([5])
    with pytest.raises(ValueError, match='choose "raise" or "skip" or "return"'):
        pool.gather([], errors="ignore")


def fail_at(wrong, number):
    if number in wrong:
        raise ValueError(number)
    return number


def test_gather_raises_skips_or_returns_what_failed(make):
    pool = make.queues(2)
    make.consumers(pool, 2)
    jobs = pool.batch_submit([(fail_at, [3, 5], number) for number in range(8)], batch_size=2)
    assert pool.gather(jobs, timeout=20, errors="skip") == [0, 1, 2, 4, 6, 7]
    returned = pool.gather(list(jobs), timeout=20, errors="return")
    assert [str(value) for value in returned] == list("01234567")
    assert [type(value) for value in returned[3:6]] == [ValueError, int, ValueError]
    with pytest.raises(ValueError, match=r"3|5"):
        pool.gather(jobs, timeout=20)


def test_gather_raises_as_soon_as_one_has_failed(make, gate):
    pool = make.queues()
    make.consumers(pool)
    failing, waiting = pool.submit(fail_at, [1], 1), pool.submit(gate.wait)
    gate.expect()
    with pytest.raises(ValueError, match="1"):
        pool.gather([waiting, failing], timeout=20)
    assert not waiting.done()
    gate.let()
    assert pool.gather([waiting, waiting], timeout=20) == [None, None]


def test_gather_says_how_many_were_not_done_in_time(make):
    pool = make.queues()
    jobs = pool.map(double, range(5))
    with pytest.raises(WaitTimeoutError, match=r"5 of 5 jobs were not done after 0\.05 s"):
        pool.gather(jobs, timeout=0.05)


def test_what_was_cancelled_is_an_error_in_its_place(make):
    pool = make.queues()
    jobs = pool.map(double, range(3))
    assert jobs[1].cancel()
    make.consumers(pool)
    assert pool.gather(jobs, timeout=20, errors="skip") == [0, 4]
    assert isinstance(pool.gather(jobs, timeout=20, errors="return")[1], JobCancelledError)


def test_a_pool_can_be_used_with_with(make):
    with make.queues() as pool:
        job = pool.submit(double, 1)
    with pytest.raises(Exception, match="closed"):
        job.status  # noqa: B018
