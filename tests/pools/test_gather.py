"""``QueuePool.gather`` where a client has made the queues; tests/hosts/test_connect.py has what else it does."""

from __future__ import annotations

import pytest


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
    with pytest.raises(ValueError, match='choose "raise" or "return"'):
        pool.gather([], errors="skip")


def test_a_pool_can_be_used_with_with(make):
    with make.queues() as pool:
        job = pool.submit(double, 1)
    with pytest.raises(Exception, match="closed"):
        job.status  # noqa: B018
