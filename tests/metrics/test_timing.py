"""How long tasks took, as a consumer tells it of its slices."""

from __future__ import annotations

import asyncio
import functools
import threading

import pytest

from daskqueue.actors.report import settlements_of
from daskqueue.actors.threads import ThreadRunner
from daskqueue.actors.timing import TaskNames, timings
from daskqueue.actors.work import Work
from daskqueue.batch import Broken, Group, encode_calls
from daskqueue.consumer import ConsumerBaseClass, GeneralConsumer

PAUSE = threading.Event()


def pause(seconds):
    PAUSE.wait(seconds)


def add(a, b=0):
    return a + b


def fail(_):
    raise ValueError("on purpose")


class Resizer(ConsumerBaseClass):
    """A consumer of one's own."""

    def process_item(self, item):
        return item.args


def run(calls, threads=1, consumer=None):
    """Run calls as one slice; return how long they took as ``{(task, outcome): [(seconds, messages), ...]}``."""
    work = Work(0, (1, 1), 0, 100, [(len(calls), encode_calls(calls))])

    async def to_the_end():
        loop = asyncio.get_running_loop()
        progress = asyncio.Event()
        runner = ThreadRunner(
            consumer or GeneralConsumer(), threads, loop, lambda: loop.call_soon_threadsafe(progress.set)
        )
        await runner.start()
        runner.feed(work)
        while not work.ended:
            await progress.wait()
            progress.clear()
        runner.stop()
        assert await runner.wait_stopped(5)

    asyncio.run(to_the_end())
    told = {}
    for cut in work.cuts():
        for timing in timings(cut, list(settlements_of(cut, late=False))):
            told.setdefault((timing.task, timing.outcome), []).append((timing.seconds, timing.messages))
    return told


def messages(told):
    return {key: sum(number for _, number in parts) for key, parts in told.items()}


def seconds_in_all(told):
    return sum(each * number for parts in told.values() for each, number in parts)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_message_is_told_of_once_by_name_and_outcome(threads):
    told = messages(run([(add, n) for n in range(150)] + [(fail, n) for n in range(5)], threads))
    assert sum(told.values()) == 155
    assert told["add", "returned"] >= 100
    assert sum(number for (_, outcome), number in told.items() if outcome == "raised") == 5


@pytest.mark.parametrize("threads", [1, 3])
def test_a_chunk_of_several_functions_is_mixed(threads):
    assert set(run([(add, 1), (pause, 0.0)] * 4, threads)) == {("mixed", "returned")}


def test_one_slot_shares_its_time_out_evenly():
    told = run([(pause, 0.02), (pause, 0.06)])
    ((each, number),) = told["pause", "returned"]
    assert number == 2
    assert 0.04 <= each < 0.2


def test_several_slots_measure_each_task():
    told = run([(pause, 0.02), (pause, 0.3), (pause, 0.02)], threads=3)
    *short, long = sorted(each for each, _ in told["pause", "returned"])
    assert long >= 0.3
    assert len(short) == 2
    assert all(0.02 <= each < 0.3 for each in short), "a slow task does not make its neighbours slow"


def test_quick_tasks_of_several_slots_are_told_of_by_their_average():
    told = run([(add, n) for n in range(100)], threads=2)
    assert sum(len(parts) for parts in told.values()) < 50
    assert messages(told) == {("add", "returned"): 100}
    assert 0 < seconds_in_all(told) < 0.1


def test_a_task_is_named_after_what_its_user_wrote():
    assert list(run([(functools.partial(add, b=2), 1)])) == [("add", "returned")]
    assert list(run([([].append, 1)])) == [("append", "returned")]
    assert list(run([(lambda x: x, 1)])) == [("<lambda>", "returned")]
    assert list(run([(add, 1)], consumer=Resizer())) == [("Resizer.process_item", "returned")]


def test_names_are_stretches_however_the_groups_are_cut():
    names = TaskNames()
    for group in (
        Group(3, add, (), (add,)),
        Group(2, add, (), (add,)),
        Broken(4, ValueError()),
        Group(1, add, (), (add,)),
    ):
        names.add(group)
    assert len(names) == 3
    assert list(names.within(0, 10)) == [("add", 0, 5), ("unknown", 5, 9), ("add", 9, 10)]
    assert list(names.within(4, 6)) == [("add", 4, 5), ("unknown", 5, 6)]
    assert list(names.within(6, 6)) == []
