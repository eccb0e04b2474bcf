"""What a task can find out about itself, wherever in it the question is asked."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from daskqueue import current
from daskqueue.actors.seat import Desk, Seat
from daskqueue.consumer import ConsumerBaseClass
from daskqueue.errors import JobCancelledError, NotInTaskError
from daskqueue.running import PROGRESS_BYTES, Progress

from .slices import FIRST, bench, endings, note, run, values, work_of


def who():
    here = current()
    return here.id, here.queue, here.attempt, here.deliveries, here.group, here.key


async def who_later():
    await asyncio.sleep(0)
    return await asyncio.create_task(_who())


async def _who():
    return who()


class Asker(ConsumerBaseClass):
    """A consumer of one's own."""

    def process_item(self, item):
        return who()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("task", [who, who_later])
@pytest.mark.parametrize("consumer", [None, Asker()], ids=["functions", "process_item"])
def test_a_task_knows_which_message_it_is(threads, task, consumer):
    found = values(run([(task,)] * 250, threads=threads, consumer=consumer))
    assert found == [(FIRST + index, "pool-0", 1, 1, "", "") for index in range(250)]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("task", [who, who_later])
def test_a_task_knows_what_the_queue_said_of_it(threads, task):
    notes = [
        note(1, 2, attempts=2, losses=1, group="customer-7"),
        note(3, key="a.png", timeout_seconds=50),
        note(6, losses=3),
    ]
    found = values(run([(task,)] * 8, notes, threads))
    assert found[0] == (FIRST, "pool-0", 1, 1, "", "")
    assert found[1] == (FIRST + 1, "pool-0", 3, 4, "customer-7", "")
    assert found[2] == (FIRST + 2, "pool-0", 3, 4, "customer-7", "")
    assert found[3] == (FIRST + 3, "pool-0", 1, 1, "", "a.png")
    assert found[4] == (FIRST + 4, "pool-0", 1, 1, "", "")
    assert found[6] == (FIRST + 6, "pool-0", 1, 4, "", "")


def test_outside_of_a_task_the_question_is_an_error_that_says_where_to_ask():
    with pytest.raises(NotInTaskError, match="in a function that a consumer runs"):
        current()


def ask_in_a_thread():
    here = current()
    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(NotInTaskError):
            threads.submit(current).result()
        return threads.submit(lambda: here.id).result()


def test_what_a_task_knows_can_be_given_to_threads_of_its_own():
    assert values(run([(ask_in_a_thread,)])) == [FIRST]


LATER: list[asyncio.Task[int]] = []


async def leave_something_behind(go_on):
    LATER.append(asyncio.create_task(_ask_when(go_on)))


async def _ask_when(go_on):
    await asyncio.sleep(0.2)
    return current().id


def test_what_a_coroutine_leaves_on_the_loop_stays_its_own():
    async def story():
        LATER.clear()
        async with bench() as made:
            await made.run([(leave_something_behind, 0), (who,), (leave_something_behind, 0), (who,)])
            return await asyncio.gather(*LATER)

    assert asyncio.run(story()) == [FIRST, FIRST + 2]


# Cancelling

ASKED = threading.Event()


def wait_for_the_cancel():
    ASKED.set()
    here = current()
    while not here.cancelled:
        pass
    here.raise_if_cancelled()


def take_no_notice():
    ASKED.set()
    return "done anyway"


async def sleep_for_long():
    ASKED.set()
    await asyncio.sleep(60)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("task", [wait_for_the_cancel, sleep_for_long])
def test_a_running_task_sees_its_cancel_and_a_coroutine_is_cancelled(threads, task):
    async def story():
        async with bench(threads) as made:
            work = work_of([(task,)])
            ASKED.clear()
            made.runner.feed(work)
            assert await asyncio.to_thread(ASKED.wait, 30)
            work.cancelled.add(0)
            made.runner.tell_cancelled(work, [0])
            await made.wait(work)
            return endings(work)

    assert asyncio.run(story()) == {0: ("stopped", None)}


@pytest.mark.parametrize("task", [take_no_notice, sleep_for_long])
def test_a_cancel_that_comes_before_the_beginning_is_seen_by_coroutines(task):
    async def story():
        async with bench() as made:
            work = work_of([(task,)])
            work.cancelled.add(0)
            made.runner.feed(work)
            await made.wait(work)
            return endings(work)

    expected = ("returned", "done anyway") if task is take_no_notice else ("stopped", None)
    assert asyncio.run(story()) == {0: expected}


def raise_it():
    current().raise_if_cancelled()
    return "not cancelled"


def test_nothing_is_raised_while_nobody_cancelled():
    assert values(run([(raise_it,)])) == ["not cancelled"]


def test_what_is_raised_names_the_job():
    work = run([(who,)])
    work.cancelled.add(0)
    with pytest.raises(JobCancelledError, match=f"job {FIRST}"):
        _current_of(work).raise_if_cancelled()


def _current_of(work):
    seat = Seat(Desk(lambda *_: None, None, {}), replaceable=False)
    seat.work, seat.index = work, 0
    return seat.current()


# Progress


def tell(*steps):
    for step in steps:
        current().progress(step, 10, state={"at": step})
    return current().state


@pytest.mark.parametrize("threads", [1, 3])
def test_progress_is_told_with_its_message(threads):
    async def story():
        async with bench(threads) as made:
            work = await made.run([(tell, 1, 2), (tell,), (tell, 7)])
            return values(work), sorted(made.notes)

    found, notes = asyncio.run(story())
    assert [(index, Progress.decode(blob)) for index, blob in notes] == [
        (0, Progress(1, 10, {"at": 1})),
        (0, Progress(2, 10, {"at": 2})),
        (2, Progress(7, 10, {"at": 7})),
    ]
    assert len(found) == 3


def resume():
    here = current()
    return here.state, here.last_progress


def test_the_next_attempt_finds_what_the_one_before_has_told():
    said = Progress(3, None, ["page", 3])
    found = values(run([(resume,), (resume,)], [note(1, attempts=1, progress=said.encode())]))
    assert found == [(None, None), (["page", 3], said)]


def tell_and_ask():
    here = current()
    here.progress(1, state="a")
    return here.state, here.last_progress.done


def test_a_task_finds_what_it_has_told_itself():
    assert values(run([(tell_and_ask,)])) == [("a", 1)]


def tell_too_much():
    current().progress(1, state=b"x" * PROGRESS_BYTES)


def test_progress_that_is_too_large_is_refused_where_it_is_told():
    ((_, error),) = endings(run([(tell_too_much,)])).values()
    assert isinstance(error, ValueError)
    assert "keep the data elsewhere" in str(error)
