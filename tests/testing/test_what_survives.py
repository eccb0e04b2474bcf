"""What was chosen for a message, and what has become of it, is there again when its queue was killed.

The folder is copied while its queues are open: what a process leaves behind that is killed at that moment.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import ExitStack
from operator import truediv

import pytest

from daskqueue import Reject, Snooze, current, testing
from daskqueue.errors import (
    JobCancelledError,
    JobExpiredError,
    QueueFullError,
    ResultExpiredError,
    TaskTimeoutError,
)

START = 1_800_000_000.0


class Lives:
    """One pool after another in the same folder, as of the moment at which the one before was killed."""

    def __init__(self, folder, stack):
        self._folder = folder
        self._stack = stack
        self._number = 0
        self._options = {}

    def first(self, n_queues=1, **options):
        """Return the first pool."""
        self._options = {"n_queues": n_queues, "fsync": "never", "backoff": "10s", **options}
        return self._open(START)

    def after_killing(self, pool):
        """Return the pool that finds what *pool* has left behind."""
        left = self._folder / str(self._number)
        self._number += 1
        shutil.copytree(left, self._folder / str(self._number))
        return self._open(pool.clock.now())

    def _open(self, now):
        folder = self._folder / str(self._number)
        return self._stack.enter_context(testing.pool(dirpath=folder, now=now, **self._options))


@pytest.fixture
def lives(tmp_path):
    """Pools that are killed."""
    with ExitStack() as stack:
        yield Lives(tmp_path, stack)


def lose(pool):
    """Lease the next message, and never be heard of again."""

    async def lease():
        work = await pool._hand.next()
        assert work is not None
        pool._hands.clear()

    pool.sync(lease)


def names(pool, count=10):
    """Return the first arguments of what waits, in order."""
    return [waiting.args[0] for waiting in pool.peek(count)]


def attempts():
    """Return what a task knows of its tries."""
    return current().attempt, current().deliveries


def tells_and_fails_once():
    """Say how far it is and fail; then say what is known of that."""
    if current().attempt == 1:
        current().progress(3, 9, state={"row": 3})
        raise ConnectionError("in the middle")
    return current().last_progress.done, current().state


def snoozes_once(until):
    """Come again later."""
    if current().last_progress is None:
        current().progress(0)
        raise Snooze(until)
    return current().attempt


def rejects():
    """Say that this will never do."""
    raise Reject("never")


def test_retries_and_their_pause(lives):
    pool = lives.first()
    job_id = pool.options(retries=2).submit(truediv, 1, 0).id
    assert pool.run_all() == 1
    pool = lives.after_killing(pool)
    assert pool.run_all() == 0
    assert pool.run_all(delayed=True) == 2
    assert type(pool.job(job_id).exception()) is ZeroDivisionError
    assert [letter.attempts for letter in pool.dead.list()] == [3]


def test_back_off_of_single_messages(lives):
    pool = lives.first()
    pool.options(retries=1, backoff="1h").submit(truediv, 1, 0)
    pool.run_all()
    pool = lives.after_killing(pool)
    pool.clock.advance("29m")
    assert pool.run_all() == 0
    pool.clock.advance("31m")
    assert pool.run_all() == 1


@pytest.mark.parametrize("only", [{"retry_on": OSError}, {"no_retry_on": ArithmeticError}])
def test_which_exceptions_are_retried(lives, only):
    pool = lives.first()
    pool.options(retries=5, **only).submit(truediv, 1, 0)
    pool = lives.after_killing(pool)
    assert pool.run_all(delayed=True) == 1
    assert [letter.reason for letter in pool.dead.list()] == ["not_retryable"]


@pytest.mark.parametrize("options", [{"delay": "1h"}, {"not_before": START + 3600}])
def test_when_a_message_is_due(lives, options):
    pool = lives.first()
    pool.options(**options).submit(abs, -1)
    pool = lives.after_killing(pool)
    pool.clock.advance("59m")
    assert pool.run_all() == 0
    pool.clock.advance("1m")
    assert pool.run_all() == 1


def test_when_a_message_expires(lives):
    pool = lives.first()
    job_id = pool.options(expires="1h").submit(abs, -1).id
    pool = lives.after_killing(pool)
    pool.clock.advance("61m")
    assert pool.run_all() == 0
    pool = lives.after_killing(pool)
    with pytest.raises(JobExpiredError):
        pool.job(job_id).result()


def spin():
    """Run for ever, in Python."""
    while True:
        pass


def test_how_long_an_attempt_may_take(lives):
    pool = lives.first()
    job_id = pool.options(timeout="50ms").submit(spin).id
    pool = lives.after_killing(pool)
    assert pool.run_all() == 1
    assert type(pool.job(job_id).exception()) is TaskTimeoutError


def test_priorities(lives):
    pool = lives.first()
    for priority in (0, 5, -5, 5):
        pool.options(priority=priority).submit(print, priority)
    pool = lives.after_killing(pool)
    assert names(pool) == [5, 5, 0, -5]


def test_a_key_while_its_message_waits_and_within_its_window(lives):
    pool = lives.first()
    job_id = pool.options(key="once", key_window="1h").submit(abs, -1).id
    for step in ("0s", "30m", "29m"):
        pool = lives.after_killing(pool)
        assert pool.options(key="once", key_window="1h").submit(abs, -2).id == job_id
        pool.run_all()
        pool.clock.advance(step)
    pool = lives.after_killing(pool)
    pool.clock.advance("61m")
    assert pool.options(key="once").submit(abs, -2).id != job_id


def test_the_order_of_a_group_and_that_nothing_in_it_overtakes_a_retry(lives):
    pool = lives.first(n_queues=2)
    grouped = pool.options(group="one", retries=1)
    for divisor in (0, 1, 2):
        grouped.submit(truediv, divisor, divisor)
    assert pool.run_one()
    pool = lives.after_killing(pool)
    assert pool.run_all() == 0
    pool.clock.advance("10s")
    assert pool.run_one()
    pool = lives.after_killing(pool)
    assert names(pool) == [1, 2]
    assert pool.run_all() == 2


def test_the_progress_of_an_attempt(lives):
    pool = lives.first()
    job_id = pool.options(retries=1).submit(tells_and_fails_once).id
    pool.run_all()
    pool = lives.after_killing(pool)
    assert pool.job(job_id).progress() == (3, 9, {"row": 3})
    pool.run_all(delayed=True)
    assert pool.job(job_id).result() == (3, {"row": 3})


def test_a_snooze(lives):
    pool = lives.first()
    job_id = pool.submit(snoozes_once, "1h").id
    assert pool.run_all() == 1
    pool = lives.after_killing(pool)
    pool.clock.advance("59m")
    assert pool.run_all() == 0
    pool.clock.advance("1m")
    assert (pool.run_all(), pool.job(job_id).result()) == (1, 1)


def test_dead_letters_with_their_reason_and_what_was_done_about_them(lives):
    pool = lives.first()
    pool.submit(truediv, 1, 0)
    pool.submit(rejects)
    pool.run_all()
    pool = lives.after_killing(pool)
    letters = pool.dead.list()
    assert sorted(letter.reason for letter in letters) == ["raised", "rejected"]
    assert {type(letter.exception) for letter in letters} == {ZeroDivisionError, Reject}
    assert pool.dead.redrive(where=lambda letter: letter.reason == "raised") == 1
    pool = lives.after_killing(pool)
    assert (pool.dead.count(), pool.run_all(), pool.dead.count()) == (1, 1, 2)
    assert pool.dead.purge() == 2
    assert lives.after_killing(pool).dead.count() == 0


def test_a_cancel(lives):
    pool = lives.first()
    job = pool.submit(abs, -1)
    assert job.cancel()
    pool = lives.after_killing(pool)
    assert pool.run_all() == 0
    with pytest.raises(JobCancelledError):
        pool.job(job.id).result()


def test_a_pause(lives):
    pool = lives.first()
    pool.submit(abs, -1)
    pool.pause()
    pool = lives.after_killing(pool)
    assert pool.run_all() == 0
    pool.resume()
    assert lives.after_killing(pool).run_all() == 1


def test_a_full_queue(lives):
    pool = lives.first(max_messages=1)
    pool.submit(abs, -1)
    pool = lives.after_killing(pool)
    with pytest.raises(QueueFullError):
        pool.options(overflow="raise").submit(abs, -1)


def test_what_had_to_make_room(lives):
    pool = lives.first(max_messages=1, overflow="drop_oldest")
    dropped, kept = pool.submit(abs, -1).id, pool.submit(abs, -2).id
    pool = lives.after_killing(pool)
    assert pool.run_all() == 1
    assert pool.job(kept).result() == 2
    with pytest.raises(JobCancelledError):
        pool.job(dropped).result()


@pytest.mark.parametrize("results", ["durable", "memory", "none"])
def test_a_result_that_is_durable_and_no_other(lives, results):
    pool = lives.first(results=results)
    job_id = pool.submit(abs, -1).id
    pool.run_all()
    pool = lives.after_killing(pool)
    job = pool.job(job_id)
    assert (pool.run_all(), job.done()) == (0, True)
    if results == "durable":
        assert job.result() == 1
    else:
        with pytest.raises(ResultExpiredError):
            job.result()


def test_a_lost_consumer_costs_a_delivery_and_no_attempt(lives):
    pool = lives.first()
    job_id = pool.submit(attempts).id
    lose(pool)
    pool = lives.after_killing(pool)
    assert pool.run_all() == 0
    pool.clock.advance("1h")
    assert (pool.run_all(), pool.job(job_id).result()) == (1, (1, 2))


def test_how_often_a_message_may_be_lost(lives):
    pool = lives.first(max_deliveries=3)
    pool.submit(abs, -1)
    for _ in range(3):
        lose(pool)
        pool = lives.after_killing(pool)
        pool.clock.advance("1h")
    assert pool.run_all() == 0
    assert [(letter.reason, letter.deliveries) for letter in pool.dead.list()] == [("crash_loop", 3)]


def test_the_same_with_an_asynchronous_pool(lives):
    pool = lives.first()
    pool.options(delay="1h", priority=3).submit(abs, -1)
    left = lives.after_killing(pool)
    left.close()

    async def story():
        folder = left.dirpath
        async with testing.pool(dirpath=folder, now=START, fsync="never", asynchronous=True) as again:
            assert await again.run_all() == 0
            await again.clock.advance("1h")
            return await again.run_all()

    assert asyncio.run(story()) == 1
