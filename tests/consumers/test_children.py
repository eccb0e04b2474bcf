"""Child processes run slices: what they return, what they survive, and what they leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pathlib
import random
import signal
import sys
import threading
import time
from collections import Counter

import numpy.random
import psutil
import pytest

from daskqueue.actors.work import Note
from daskqueue.consumer import ConsumerBaseClass
from daskqueue.errors import JobFailedError, QueueLostError, TaskTimeoutError
from daskqueue.message import Message, Terms
from daskqueue.running import Reject, Snooze, current

PATIENCE_SECONDS = 30


def double(number):
    return 2 * number


def fail(text):
    raise ValueError(text)


def stop_iteration():
    raise StopIteration


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code):
    os._exit(code)


def process():
    return os.getpid()


def wait_for(path):
    """Wait until the test writes the file."""
    again = threading.Event()
    while not os.path.exists(path):
        again.wait(0.01)
    return path


def come_and_wait_for(here, path):
    """Say that it runs, then wait for the test."""
    with open(here, "a") as lines:
        lines.write(f"{os.getpid()}\n")
    return wait_for(path)


async def double_soon(number):
    await asyncio.sleep(0)
    return 2 * number


async def test_a_child_that_dies_idle_is_replaced(bench, monkeypatch):
    monkeypatch.setattr("daskqueue.actors.processes.runner.AGAIN_SECONDS", 0.05)
    async with bench() as runs:
        runs.feed([(process,)])
        await runs.run()
        os.kill(runs.results[0], signal.SIGKILL)
        runs.feed([(process,)], first=1)
        await runs.run()
    # It may have had the message already, and not begun it.
    assert runs.crashed == []
    assert runs.results[1] != runs.results[0]


def note_terms(first, last, **terms):
    return Note(first, last, 0, 0, Terms(**terms), None)


async def test_results_come_back_in_their_places(bench):
    async with bench(2) as runs:
        runs.feed([(double, number) for number in range(500)])
        runs.feed([(double, number) for number in range(500, 800)], first=500)
        await runs.run()
    assert runs.results == {number: 2 * number for number in range(800)}
    assert sum(timing.messages for timing in runs.timings) == 800
    assert {timing.task for timing in runs.timings} == {"double"}


async def test_a_failure_is_alone_and_keeps_its_exception(bench):
    async with bench() as runs:
        runs.feed([(double, 1), (fail, "bad"), (stop_iteration,), (sys.exit, 3), (double, 2)])
        await runs.run()
    assert runs.results == {0: 2, 4: 4}
    assert str(runs.failures[1]) == "bad"
    assert isinstance(runs.failures[2], RuntimeError)
    assert "SystemExit" in str(runs.failures[3])


POISONS = {20: (die,), 21: (leave, 0), 150: (leave, 7), 299: (ctypes.string_at, 0)}


async def test_of_a_slice_with_messages_that_end_their_process_only_these_have_crashed(bench):
    async with bench(2) as runs:
        runs.feed([POISONS.get(number, (double, number)) for number in range(300)])
        await runs.run()
    assert runs.crashed == sorted(POISONS)
    assert runs.results == {number: 2 * number for number in range(300) if number not in POISONS}


async def test_whatever_happens_each_message_comes_to_one_end(bench, monkeypatch):
    """Crashes, time-outs, killed servers, messages taken back: at random, and all at once."""
    chance = random.Random(20)
    monkeypatch.setattr("daskqueue.actors.processes.runner.AGAIN_SECONDS", 0.05)
    async with bench(3) as runs:
        begun = withdrawn = 0
        for _ in range(12):
            calls = [
                chance.choices(MISHAPS, weights=MISHAP_WEIGHTS)[0] for _ in range(chance.choice([1, 30, 200]))
            ]
            notes = [note_terms(begun, begun + len(calls), timeout_seconds=1.0)]
            work = runs.feed(calls, notes, first=begun)
            begun += len(calls)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() / 10)
                withdrawn += sum(end - start for start, end in runs.runner.withdraw(work))
            if chance.random() < 0.15:
                runs.runner._crew._server.kill()
        await runs.run()
    ended = Counter(runs.ended)
    assert max(ended.values()) == 1
    assert sum(ended.values()) + withdrawn == begun


MISHAPS = [(double, 1), (time.sleep, 0.002), (fail, "bad"), (double_soon, 2), (die,), (time.sleep, 100)]
MISHAP_WEIGHTS = [100, 20, 5, 5, 1, 0.1]


async def test_siblings_of_a_crash_are_untouched(bench, tmp_path):
    here, go = tmp_path / "here", tmp_path / "go"
    async with bench(2) as runs:
        runs.feed([(come_and_wait_for, str(here), str(go))])
        runs.feed([(die,)], first=1)
        await runs.until(lambda: runs.crashed == [1])
        runs.feed([(process,)], first=2)
        await runs.until(lambda: 2 in runs.results)  # another child is there in its place
        go.touch()
        await runs.run()
    assert runs.results[0] == str(go)
    assert here.read_text() == f"{int(here.read_text())}\n"  # it ran once


class DiesWhenLoaded:
    def __reduce__(self):
        return os._exit, (9,)


@pytest.mark.parametrize("size", [1, 300_000], ids=["small", "large"])
async def test_a_message_that_ends_the_process_where_it_is_loaded_is_found_among_its_neighbours(bench, size):
    """Large arguments are loaded a few at a time, between messages that run."""
    async with bench() as runs:
        calls = [(len, bytes(size)) for _ in range(10)]
        calls[4] = (len, DiesWhenLoaded())
        runs.feed([(double, number) for number in range(300)], first=100)  # its pace: portions of many
        runs.feed(calls)
        await runs.run()
    assert runs.crashed == [4]
    assert set(runs.results) == {*range(100, 400), *range(10)} - {4}


class DiesWhenKept:
    def __reduce__(self):
        os._exit(9)


async def test_a_result_that_ends_the_process_where_it_is_pickled_is_its_own_messages_crash(bench):
    async with bench() as runs:
        runs.feed([(double, number) for number in range(300)], first=100)
        runs.feed([(double, 1), (DiesWhenKept,), (time.sleep, 0.03), (double, 3)])
        await runs.run()
    assert runs.crashed == [1]
    assert set(runs.results) == {*range(100, 400), 0, 2, 3}


async def test_an_attempt_that_takes_too_long_ends_with_its_child(bench, tmp_path):
    never = str(tmp_path / "never")
    async with bench() as runs:
        calls = [(double, 1), (wait_for, never), (double, 3), (hold_the_interpreter, 60)]
        runs.feed(calls, [note_terms(0, 4, timeout_seconds=0.5)])
        await runs.run()
    assert runs.results == {0: 2, 2: 6}
    assert all(isinstance(runs.failures[number], TaskTimeoutError) for number in (1, 3))
    assert runs.crashed == []


def hold_the_interpreter(seconds):
    """Keep every other Python thread of this process waiting, as a C extension does."""
    return ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


async def sleep_for_ever():
    await asyncio.Event().wait()


async def test_a_coroutine_that_takes_too_long_is_cancelled_and_its_child_lives(bench):
    async with bench() as runs:
        runs.feed([(process,)])
        runs.feed([(sleep_for_ever,)], [note_terms(1, 2, timeout_seconds=0.3)], first=1)
        runs.feed([(process,)], first=2)
        await runs.run()
    assert isinstance(runs.failures[1], TaskTimeoutError)
    assert runs.results[0] == runs.results[2]


async def test_coroutines_are_awaited(bench):
    async with bench() as runs:
        runs.feed([(double_soon, number) for number in range(30)])
        await runs.run()
    assert runs.results == {number: 2 * number for number in range(30)}


def tell():
    me = current()
    me.progress(1, 2, state="half")
    return me.id, me.attempt, me.deliveries, me.state, me.deadline is not None


async def test_a_task_knows_itself_and_its_progress_is_told(bench):
    async with bench() as runs:
        runs.feed([(tell,), (tell,)], [Note(1, 2, 2, 1, Terms(timeout_seconds=60.0), None)])
        await runs.run()
    assert runs.results[0][:3] == (0, 1, 1)
    assert runs.results[1][:3] == (1, 3, 4)
    assert (runs.results[0][4], runs.results[1][4]) == (False, True)
    assert [(work, index) for work, index, _ in runs.notes] == [(runs.works[0], 0), (runs.works[0], 1)]


def snooze():
    raise Snooze("90s")


def reject():
    raise Reject("never")


async def test_snooze_and_reject_are_no_attempts(bench):
    async with bench() as runs:
        runs.feed([(snooze,), (reject,)])
        await runs.run()
    assert runs.released == [0]
    assert [said.delay for said in runs.settlements if said.released] == [90.0]
    assert [said.reason for said in runs.settlements if said.raised] == ["rejected"]


def wait_until_cancelled(here):
    with open(here, "w"):
        pass
    again = threading.Event()
    while not current().cancelled:
        again.wait(0.01)
    current().raise_if_cancelled()


async def until_there(path):
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not path.exists():
            await asyncio.sleep(0.01)


async def test_a_running_task_sees_its_cancel_and_one_that_waits_behind_it_does_not_run(bench, tmp_path):
    here = tmp_path / "here"
    async with bench() as runs:
        runs.feed([(double, number) for number in range(300)], first=100)
        await runs.run()
        work = runs.feed(
            [(wait_until_cancelled, str(here)), (come_and_wait_for, str(tmp_path / "ran"), "/"), (double, 3)]
        )
        await until_there(here)
        work.cancelled.update({0, 1})
        runs.runner.tell_cancelled(work, [0, 1])
        await runs.run()
    stopped = [pair for said in runs.settlements for pair in said.stopped]
    assert sorted(number for first, last in stopped for number in range(first, last)) == [0, 1]
    assert runs.results[2] == 6
    assert not (tmp_path / "ran").exists()


async def test_what_has_not_begun_can_be_taken_back_while_a_message_before_it_runs(bench, tmp_path):
    here, go = tmp_path / "here", tmp_path / "go"
    async with bench() as runs:
        runs.feed([(double, number) for number in range(300)], first=100)
        await runs.run()
        work = runs.feed(
            [(come_and_wait_for, str(here), str(go))] + [(double, number) for number in range(1, 50)]
        )
        await until_there(here)
        taken = [index for start, end in runs.runner.withdraw(work) for index in range(start, end)]
        await runs.until(lambda: len(taken) + len(runs.released) == 49)
        go.touch()
        await runs.run()
    assert sorted([*taken, *runs.released]) == list(range(1, 50))
    assert 0 in runs.results
    assert not set(range(1, 50)) & set(runs.results)


async def test_what_ended_is_known_while_a_later_message_of_its_portion_runs(bench, tmp_path):
    here, go = tmp_path / "here", tmp_path / "go"
    async with bench() as runs:
        runs.feed([(double, number) for number in range(300)], first=100)
        await runs.run()
        runs.feed([(double, 0), (double, 1), (come_and_wait_for, str(here), str(go)), (double, 3)])
        await until_there(here)
        await runs.until(lambda: {0, 1} <= set(runs.results))
        go.touch()
        await runs.run()


async def test_a_stop_lets_what_runs_end_and_begins_nothing(bench, tmp_path):
    here, go = tmp_path / "here", tmp_path / "go"
    async with bench() as runs:
        runs.feed([(double, number) for number in range(300)], first=100)
        await runs.run()
        work = runs.feed(
            [(come_and_wait_for, str(here), str(go)), *[(double, number) for number in range(1, 40)]]
        )
        await until_there(here)
        runs.runner.stop()
        go.touch()
        assert await runs.runner.wait_stopped(PATIENCE_SECONDS)
        runs.collect()
    assert runs.results[0] == str(go)
    assert work.unfinished == 39
    assert runs.crashed == []


async def test_what_does_not_end_in_time_is_killed_and_no_crash(bench, tmp_path):
    here = tmp_path / "here"
    async with bench() as runs:
        work = runs.feed([(come_and_wait_for, str(here), str(tmp_path / "never"))])
        await until_there(here)
        runs.runner.stop()
        assert not await runs.runner.wait_stopped(0.1)
        runs.collect()
    assert not psutil.pid_exists(int(here.read_text()))
    assert work.unfinished == 1
    assert runs.settlements == []


async def test_messages_acked_early_never_run_twice(bench, tmp_path):
    log = tmp_path / "log"
    async with bench(late=True) as runs:
        runs.feed([(double, number) for number in range(300)], first=100)
        await runs.run()
        runs.feed([(come_and_wait_for, str(log), "/"), (die,), *[(come_and_wait_for, str(log), "/")] * 3])
        await runs.run()
    assert len(log.read_text().split()) == 4
    assert isinstance(runs.failures[1], JobFailedError)
    assert "SIGKILL" in str(runs.failures[1])
    assert runs.crashed == []
    assert all(said.late for said in runs.settlements)


async def test_never_more_run_than_there_are_processes(bench, tmp_path):
    def enter_and_leave(folder):
        mine = folder / str(os.getpid())
        mine.touch()
        seen = len(list(folder.iterdir()))
        again = threading.Event()
        again.wait(0.02)
        seen = max(seen, len(list(folder.iterdir())))
        mine.unlink()
        return seen

    async with bench(3) as runs:
        runs.feed([(enter_and_leave, tmp_path)] * 60)
        await runs.run()
    assert set(runs.results.values()) <= {1, 2, 3}
    assert max(runs.results.values()) == 3


async def test_children_end_with_a_process_that_is_killed(tmp_path):
    """Their owner is killed with -9 while they hold the interpreter; nothing could tell them."""
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    owner = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(tmp_path / "here"), stdout=asyncio.subprocess.PIPE, cwd=os.getcwd()
    )
    assert owner.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await owner.stdout.readline() == b"they run\n"
    family = psutil.Process(owner.pid).children(recursive=True)
    assert len(family) == 3  # two children and what has forked them
    owner.kill()
    await owner.wait()
    assert psutil.wait_procs(family, timeout=PATIENCE_SECONDS)[1] == []
    assert (tmp_path / "here").read_text() == "main\n"  # __main__ was run once


OWNER = """
import asyncio, ctypes, sys, os, pathlib

here = pathlib.Path(sys.argv[1])
with here.open("a") as lines:  # not guarded by __name__
    lines.write("main\\n")

from daskqueue.actors.handling import Equipment
from daskqueue.actors.processes.runner import ProcessRunner
from daskqueue.batch import encode_calls
from daskqueue.consumer import GeneralConsumer

def hold(path):
    open(path, "w").close()
    ctypes.PyDLL(None).usleep(100_000_000)

async def main():
    runner = ProcessRunner(Equipment("owner", GeneralConsumer), 2, lambda: None, print, late=False)
    await runner.start()
    for number in range(2):
        data = encode_calls([(hold, f"{here}.{number}")])
        runner.feed(runner.work(0, (1, 1), 0, number, [(1, data)], (), "q"))
    while not all(pathlib.Path(f"{here}.{number}").exists() for number in range(2)):
        await asyncio.sleep(0.01)
    print("they run", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class CannotBeSetUp(ConsumerBaseClass):
    def setup(self):
        raise ConnectionError("the database is away")

    def process_item(self, item):
        return item


async def test_what_setup_raises_in_a_child_is_raised_by_the_start(bench):
    with pytest.raises(ConnectionError, match="the database is away"):
        async with bench(2, CannotBeSetUp):
            pass


class DiesAtSetup(CannotBeSetUp):
    def setup(self):
        os._exit(5)


async def test_a_child_that_dies_at_its_start_ends_the_start(bench):
    with pytest.raises(QueueLostError, match="exit code 5"):
        async with bench(2, DiesAtSetup):
            pass


class FailsOnceReplaced(ConsumerBaseClass):
    """Opened once, then refused until the test allows it."""

    path = None

    def setup(self):
        if os.path.exists(self.path + ".used") and not os.path.exists(self.path):
            raise ConnectionError("not now")
        open(self.path + ".used", "w").close()

    def process_item(self, item):
        return item.run() if isinstance(item, Message) else item


async def test_a_replacement_that_cannot_be_opened_is_tried_again(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("daskqueue.actors.processes.runner.AGAIN_SECONDS", 0.05)
    path = tmp_path / "now"
    kind = type("Fails", (FailsOnceReplaced,), {"path": str(path)})
    async with bench(1, kind) as runs:
        runs.feed([(die,)])
        await runs.run()
        runs.feed([(double, 1)], first=1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while runs.runner._refused < 2:
                await asyncio.sleep(0.01)
        path.touch()
        await runs.run()
    assert runs.crashed == [0]
    assert runs.results == {1: 2}


async def test_the_server_that_forks_them_may_be_killed(bench, tmp_path):
    """Its children end with it, even those that hold the interpreter and could not be told."""
    here = tmp_path / "here"
    async with bench(2) as runs:
        runs.feed([(come_and_hold_the_interpreter, here)])
        await until_there(here)
        server = psutil.Process(int(here.read_text())).parent()
        family = server.children()
        server.kill()
        assert psutil.wait_procs(family, timeout=PATIENCE_SECONDS)[1] == []
        runs.feed([(process,), (process,)], first=1)
        await runs.run()
    assert runs.crashed == [0]
    assert not {child.pid for child in family} & {runs.results[1], runs.results[2]}


def come_and_hold_the_interpreter(here):
    here.with_suffix(".new").write_text(str(os.getpid()))
    here.with_suffix(".new").rename(here)
    hold_the_interpreter(60)


async def test_what_took_long_is_known_before_the_next_message_holds_the_interpreter(bench):
    async with bench() as runs:
        runs.feed([(double, number) for number in range(300)], first=100)
        await runs.run()
        runs.feed([(time.sleep, 0.03), (hold_the_interpreter, 2)])
        await runs.until(lambda: 0 in runs.results)
        assert 1 not in runs.results
        await runs.run()


async def test_children_have_random_numbers_of_their_own(bench):
    async with bench(3) as runs:
        runs.feed([(_random_and_process,)] * 30)
        await runs.run()
    by_process = {pid: numbers for numbers, pid in runs.results.values()}
    for numbers in zip(*by_process.values(), strict=True):
        assert len(set(numbers)) == len(by_process)


def _random_and_process():
    time.sleep(0.005)  # so that each has some
    return (random.random(), numpy.random.random()), os.getpid()


def oom_score():
    return int(pathlib.Path("/proc/self/oom_score_adj").read_text())


async def test_where_memory_is_short_the_kernel_chooses_a_child_before_the_worker(bench):
    async with bench() as runs:
        runs.feed([(oom_score,)])
        await runs.run()
    assert runs.results[0] > oom_score()


async def test_no_process_and_no_descriptor_is_left(bench):
    async with bench(2) as runs:
        runs.feed([(process,), (die,), (process,)])
        await runs.run()
    before = psutil.Process().num_fds()
    family = set(psutil.Process().children(recursive=True))
    async with bench(2) as runs:
        runs.feed([(process,), (die,), (process,)])
        await runs.run()
    assert psutil.Process().num_fds() <= before
    assert set(psutil.Process().children(recursive=True)) <= family


async def test_a_task_may_leave_a_process_behind_that_holds_the_pipe(bench):
    async with bench() as runs:
        runs.feed([(_fork_and_die,), (double, 1)])
        await runs.run()
        left = runs.crashed
    assert left == [0]
    assert runs.results[1] == 2


def _fork_and_die():
    if os.fork() == 0:
        with contextlib.suppress(BaseException):
            signal.alarm(5)
            signal.pause()
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
