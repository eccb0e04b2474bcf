"""The time-out of one attempt: what is interrupted, what is left behind, and that nothing else is hit."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import random
import sys
import threading
import time

import pytest

from daskqueue import current
from daskqueue.actors import alarm
from daskqueue.errors import TaskTimeoutError
from daskqueue.running import Interrupted

from .slices import Bench, bench, endings, note, run, values

BUSY_SECONDS = 60


def spin(seconds=BUSY_SECONDS):
    """Be busy in Python code."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return seconds


def same(value):
    return value


def spin_and_ignore():
    """Catch what it can, as careless code does."""
    while True:
        with contextlib.suppress(Exception):
            spin()


DONE = []


def spin_and_clean_up():
    try:
        spin()
    finally:
        DONE.append(True)


def spin_and_answer():
    try:
        spin()
    except Interrupted:
        return "a partial answer"


def spin_and_fail():
    try:
        spin()
    except Interrupted:
        raise ValueError("not finished") from None


@pytest.mark.parametrize("threads", [1, 3])
def test_python_code_is_interrupted_and_its_siblings_are_unharmed(threads):
    calls = [(same, 0), (spin,), (same, 2), (same, 3)]
    ends = endings(run(calls, [note(1, timeout_seconds=0.1)], threads))
    assert [ends[index] for index in (0, 2, 3)] == [("returned", 0), ("returned", 2), ("returned", 3)]
    reason, error = ends[1]
    assert reason == "raised"
    assert isinstance(error, TaskTimeoutError)
    assert "0.1 s" in str(error)
    assert "in spin" in str(error.__cause__), "the traceback says where it was interrupted"


@pytest.mark.parametrize("threads", [1, 3])
def test_a_task_within_its_time_returns(threads):
    work = run([(same, number) for number in range(50)], [note(0, 50, timeout_seconds=30)], threads)
    assert values(work) == list(range(50))


def test_the_interruption_passes_through_code_that_catches_every_exception():
    ((reason, error),) = endings(run([(spin_and_ignore,)], [note(0, timeout_seconds=0.1)])).values()
    assert (reason, type(error)) == ("raised", TaskTimeoutError)


def test_an_interrupted_task_cleans_up():
    DONE.clear()
    run([(spin_and_clean_up,)], [note(0, timeout_seconds=0.1)])
    assert DONE == [True]


def test_a_task_may_answer_its_interruption():
    assert values(run([(spin_and_answer,)], [note(0, timeout_seconds=0.1)])) == ["a partial answer"]


def test_what_a_task_raises_when_it_is_interrupted_is_its_failure():
    ((reason, error),) = endings(run([(spin_and_fail,)], [note(0, timeout_seconds=0.1)])).values()
    assert (reason, str(error)) == ("raised", "not finished")


def when_is_it_over():
    return current().deadline, current().remaining


def test_a_task_knows_its_deadline():
    began = time.time()
    (timed, plain) = values(run([(when_is_it_over,), (when_is_it_over,)], [note(0, timeout_seconds=50)]))
    deadline, remaining = timed
    assert began + 50 - 0.1 < deadline < time.time() + 50 + 0.1
    assert 40 < remaining <= 50
    assert plain == (None, None)


# Coroutines


async def linger(seconds=BUSY_SECONDS):
    await asyncio.sleep(seconds)
    return seconds


async def linger_and_clean_up():
    try:
        await asyncio.sleep(BUSY_SECONDS)
    except asyncio.CancelledError:
        return "cleaned up"


async def block_and_linger():
    spin(0.3)
    await asyncio.sleep(BUSY_SECONDS)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("interrupts", [True, False])
@pytest.mark.parametrize("task", [linger, block_and_linger])
def test_a_coroutine_is_cancelled(threads, interrupts, task):
    calls = [(same, 0), (task,), (linger, 0.01)]
    ends = endings(run(calls, [note(1, timeout_seconds=0.1)], threads, interrupts=interrupts))
    assert [ends[0], ends[2]] == [("returned", 0), ("returned", 0.01)]
    assert isinstance(ends[1][1], TaskTimeoutError)
    assert f"in {task.__name__}" in str(ends[1][1].__cause__)


def test_a_coroutine_may_answer_its_cancellation():
    assert values(run([(linger_and_clean_up,)], [note(0, timeout_seconds=0.1)])) == ["cleaned up"]


# Where threads are not to be interrupted


def spin_until_cancelled():
    here = current()
    while not here.cancelled:
        pass
    return here.remaining


def test_without_interruptions_a_task_still_sees_that_its_time_is_over():
    assert values(run([(spin_until_cancelled,)], [note(0, timeout_seconds=0.1)], interrupts=False)) == [0.0]


# What cannot be interrupted

STUCK = threading.Event()


def get_stuck():
    """Wait where no exception gets through, as a call into C does."""
    STUCK.wait()
    return "too late"


async def ignore_cancellation():
    while not STUCK.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)


@pytest.fixture
def short_grace(monkeypatch):
    monkeypatch.setattr(alarm, "GRACE_SECONDS", 0.2)


@pytest.fixture
def stuck():
    STUCK.clear()
    yield STUCK
    STUCK.set()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("task", [get_stuck, ignore_cancellation])
def test_a_thread_that_cannot_be_interrupted_is_left_behind_and_replaced(
    threads, task, short_grace, stuck, caplog
):
    caplog.set_level("WARNING", logger="daskqueue")  # a cluster of another test may have silenced it

    async def story():
        async with bench(threads) as made:
            calls = [(same, 0), (task,), (same, 2), (task,), (same, 4)]
            work = await made.run(calls, [note(1, timeout_seconds=0.1), note(3, timeout_seconds=0.1)])
            ends = endings(work)
            left = made.runner.left_behind
            more = values(await made.run([(same, 5)] * 300))
            stuck.set()
            return ends, left, more

    ends, left, more = asyncio.run(story())
    assert [ends[index] for index in (0, 2, 4)] == [("returned", 0), ("returned", 2), ("returned", 4)]
    assert [type(ends[index][1]) for index in (1, 3)] == [TaskTimeoutError] * 2
    assert left == 2
    assert more == [5] * 300
    assert caplog.text.count("left behind") == 2
    assert "Message 101 " in caplog.text


def test_what_a_thread_says_that_was_left_behind_is_not_heard(short_grace, stuck):
    async def story():
        async with bench() as made:
            work = await made.run([(get_stuck,), (same, 1)], [note(0, timeout_seconds=0.1)])
            stuck.set()
            while made.runner.left_behind:
                await asyncio.sleep(0.01)
            return endings(work), work.outcomes

    ends, outcomes = asyncio.run(story())
    assert isinstance(ends[0][1], TaskTimeoutError)
    assert ends[1] == ("returned", 1)
    assert len(outcomes) == 2


def test_a_stop_does_not_wait_for_what_was_left_behind(short_grace, stuck):
    async def story():
        made = Bench()
        await made.runner.start()
        work = await made.run([(get_stuck,)], [note(0, timeout_seconds=0.1)])
        made.runner.stop()
        return work.ended, await made.runner.wait_stopped(10)

    assert asyncio.run(story()) == (True, True)


# That it hits its own task only


@pytest.fixture
def busy_switching():
    """Threads that take turns every few steps, so that each place in the code is interrupted some time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def spin_some(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return seconds


def count_up(number):
    """A plain task whose work shows if it was disturbed in its middle."""
    return sum(range(number))


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_time_outs_that_fall_on_the_very_end_of_a_task_never_hit_another(threads, seed, busy_switching):
    """Tasks that take about as long as their time-out, between others that have none or a long one."""
    chance = random.Random(seed)
    notes, calls = [], []
    for index in range(0, 1200, 4):
        seconds = 0.001 * chance.uniform(0.5, 1.5)
        calls += [(count_up, index), (spin_some, seconds), (count_up, index), (count_up, index)]
        notes += [note(index + 1, timeout_seconds=0.001), note(index + 2, timeout_seconds=60)]
    ends = endings(run(calls, notes, threads))
    assert sorted(ends) == list(range(len(calls)))
    hit = [index for index, (reason, _) in ends.items() if reason != "returned"]
    assert all(index % 4 == 1 for index in hit)
    assert all(type(ends[index][1]) is TaskTimeoutError for index in hit)
    assert 0 < len(hit) < 300, "some were in time, others were not"
    for index, (_, value) in ends.items():
        if index not in hit:
            assert value == (calls[index][1] if index % 4 == 1 else sum(range(calls[index][1])))


@pytest.mark.parametrize("threads", [1, 4])
def test_time_outs_shorter_than_a_call_itself_hurt_nobody(threads, busy_switching):
    notes = [note(index, timeout_seconds=1e-6) for index in range(0, 600, 2)]
    ends = endings(run([(count_up, 500)] * 600, notes, threads))
    assert {ends[index] for index in range(1, 600, 2)} == {("returned", sum(range(500)))}
    assert {type(ends[index][1]) for index in range(0, 600, 2)} <= {int, TaskTimeoutError}


async def sleep_some(seconds):
    await asyncio.sleep(seconds)
    return seconds


@pytest.mark.parametrize("threads", [1, 4])
def test_time_outs_of_coroutines_never_hit_another(threads):
    chance = random.Random(threads)
    calls = [(sleep_some, 0.002 * chance.uniform(0.2, 1.8)) for _ in range(300)]
    notes = [note(index, timeout_seconds=0.002) for index in range(0, 300, 2)]
    ends = endings(run(calls, notes, threads))
    assert all(ends[index] == ("returned", calls[index][1]) for index in range(1, 300, 2))
    kinds = {type(ends[index][1]) for index in range(0, 300, 2)}
    assert TaskTimeoutError in kinds
    assert kinds <= {float, TaskTimeoutError}


def log_a_lot():
    while True:
        LOGGER.debug("a line")
        count_up(100)


LOGGER = logging.getLogger(f"{__name__}.lines")


def test_a_task_is_not_interrupted_while_it_holds_the_lock_of_a_log(busy_switching):
    handler = logging.StreamHandler(io.StringIO())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False
    try:
        run([(log_a_lot,)] * 40, [note(0, 40, timeout_seconds=0.005)])
        free = []
        other = threading.Thread(target=lambda: free.append(handler.lock.acquire(timeout=5)))
        other.start()
        other.join()
        assert free == [True]
    finally:
        LOGGER.removeHandler(handler)
