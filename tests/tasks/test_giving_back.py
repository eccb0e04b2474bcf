"""What has not started is taken back from threads, whatever they are doing in that moment."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from daskqueue.actors.course import Course
from daskqueue.batch import Group

from .slices import Bench, bench, endings, note, values, work_of

BEGUN = threading.Event()
GO_ON = threading.Event()


def hold(value):
    """Say that a task has begun, and wait."""
    BEGUN.set()
    GO_ON.wait(60)
    return value


def same(value):
    return value


@pytest.fixture(autouse=True)
def holding():
    BEGUN.clear()
    GO_ON.clear()
    yield
    GO_ON.set()


@pytest.mark.parametrize("notes", [(), [note(0, 200, timeout_seconds=60)]], ids=["plain", "timed"])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_waits_behind_a_running_task_is_taken_back_once(threads, notes):
    async def story():
        async with bench(threads) as made:
            work = work_of([(hold, 0)] * threads + [(same, number) for number in range(threads, 200)], notes)
            made.runner.feed(work)
            assert await asyncio.to_thread(BEGUN.wait, 30)
            while work.finished is not None and len(made.runner._unstarted[work]) > 200 - threads:
                await asyncio.sleep(0)  # the other thread has begun, too
            taken = made.runner.withdraw(work)
            again = made.runner.withdraw(work)
            GO_ON.set()
            await made.wait(work)
            return taken, again, endings(work)

    taken, again, ends = asyncio.run(story())
    given_back = [index for start, end in taken for index in range(start, end)]
    assert again == []
    assert sorted([*ends, *given_back]) == list(range(200)), "each has come to an end or was given back"
    assert {word for word, _ in ends.values()} == {"returned"}
    assert given_back, "most had not started"


class LastStep:
    """Arguments whose end, when somebody asks for it, lets the running task come to its own end first."""

    def __init__(self, arguments, work):
        self._arguments = iter(arguments)
        self._work = work

    def __iter__(self):
        return self

    def __next__(self):
        for item in self._arguments:
            return item
        if not GO_ON.is_set():
            GO_ON.set()
            while not self._work.outcomes:
                pass
            # Long enough for a wrong step of the thread, which waits for the lock if it does right.
            threading.Event().wait(0.2)
        raise StopIteration


def test_a_task_that_ends_while_the_rest_is_taken_back_is_not_told_to_have_failed():
    work = work_of([(hold, 0), (same, 1), (same, 2)])
    rest = LastStep([("first",), ("second",), ("third",)], work)
    course = Course(work, iter([Group(3, hold, rest, (hold,))]), lambda *_: None)
    thread = threading.Thread(target=course.run, args=(None,))
    thread.start()
    assert BEGUN.wait(30)
    assert course.close() == 1
    thread.join(30)
    assert work.outcomes == ["first"]


def test_slices_are_forgotten_when_they_have_run():
    async def story():
        async with bench(3) as several, bench() as one:
            for made in (several, one):
                values(await made.run([(same, number) for number in range(50)]))
                assert not made.runner._unstarted
                await _until(lambda made=made: not made.runner._courses)

    asyncio.run(story())


async def _until(holds):
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


def test_nothing_starts_after_a_stop():
    async def story():
        made = Bench()
        await made.runner.start()
        work, later = work_of([(hold, 0), (same, 1)]), work_of([(same, 2)])
        made.runner.feed(work)
        made.runner.feed(later)
        assert await asyncio.to_thread(BEGUN.wait, 30)
        made.runner.stop()
        GO_ON.set()
        assert await made.runner.wait_stopped(30)
        return work.outcomes, later.outcomes

    assert asyncio.run(story()) == ([0], [])


async def leave():
    sys.exit(3)


def test_a_coroutine_that_exits_fails_alone_and_the_loop_goes_on():
    async def story():
        async with bench() as made:
            ends = endings(await made.run([(leave,), (same, 1)]))
            return ends[0][0], ends[1]

    assert asyncio.run(story()) == ("raised", ("returned", 1))


def test_slices_can_be_run_in_the_thread_that_calls():
    async def story():
        made = Bench()
        work = work_of([(threading.get_ident,), (same, 1)])
        made.runner.run_here(work)
        return values(work)

    assert asyncio.run(story()) == [threading.get_ident(), 1]
