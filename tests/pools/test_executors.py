"""Tasks in threads and in child processes: what both promise, and what only processes can."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import Counter

import psutil
import pytest
from clusters import kill, pids, until, worker_of_consumer, worker_of_queue
from distributed import Client, get_client

from daskqueue import ConsumerBaseClass, Message, Middleware, current
from daskqueue.errors import DaskQueueError, JobFailedError, TaskTimeoutError

from .conftest import values_of

BOTH = pytest.mark.parametrize("executor", ["threads", "processes"])


def double(number):
    return 2 * number


async def double_soon(number):
    return 2 * number


def fail(text):
    raise ValueError(text)


def die():
    os.kill(os.getpid(), 9)


def process_and_parent():
    return os.getpid(), os.getppid()


@BOTH
def test_results_failures_and_coroutines(make, durable, executor):
    pool = make.queues(2, durable)
    consumers = make.consumers(pool, 2, executor=executor, max_concurrency=2)
    jobs = pool.map(double, range(3000), batch_size=500)
    soon, bad = pool.submit(double_soon, 4), pool.submit(fail, "bad")
    consumers.join(timeout=60)
    assert sorted(values_of(consumers.results())) == sorted([*(2 * number for number in range(3000)), 8])
    assert jobs[2999].result(timeout=10) == 5998
    assert soon.result(timeout=10) == 8
    with pytest.raises(ValueError, match="bad"):
        bad.result(timeout=10)


class Adder(ConsumerBaseClass):
    def setup(self):
        self.added = self.resources["base"]

    def process_item(self, item):
        return (item.run() if isinstance(item, Message) else item or 0) + self.added


@BOTH
def test_a_consumer_of_ones_own_takes_items_and_calls(make, executor):
    pool = make.queues(1)
    consumers = make.consumers(
        pool, consumer_class=Adder, executor=executor, resources={"base": lambda: 1000}
    )
    pool.put_many([0, 1, None, ""])
    pool.submit(double, 4)
    consumers.join(timeout=60)
    assert sorted(values_of(consumers.results())) == [1000, 1000, 1000, 1001, 1008]


@BOTH
def test_concurrency_is_never_exceeded(make, tmp_path, executor):
    """Case 6, with the number of threads of the worker smaller and the batches larger than it."""

    def enter_and_leave(folder):
        mine = folder / f"{os.getpid()}-{threading.get_ident()}"
        mine.touch()
        seen = [len(list(folder.iterdir()))]
        threading.Event().wait(0.005)
        seen.append(len(list(folder.iterdir())))
        mine.unlink()
        return max(seen)

    pool = make.queues(1)
    jobs = pool.batch_submit([(enter_and_leave, tmp_path)] * 300, batch_size=100)
    consumers = make.consumers(pool, 1, executor=executor, max_concurrency=3)
    consumers.join(timeout=60)
    assert max(job.result(timeout=10) for job in jobs) == 3


def test_tasks_in_processes_are_neither_in_the_worker_nor_in_each_others(make):
    pool = make.queues(1)
    consumers = make.consumers(pool, 1, executor="processes", max_concurrency=2)
    worker = pids(make.client)[worker_of_consumer(consumers)]
    found = {pool.submit(process_and_parent).result(timeout=30) for _ in range(5)}
    consumers.join(timeout=30)
    assert worker not in {pid for pid, _ in found}
    assert len({parent for _, parent in found}) == 1
    until(lambda: not any(psutil.pid_exists(pid) for pid, _ in found), seconds=30)


def test_a_message_that_kills_its_process_is_a_dead_letter_and_the_worker_lives(make, tmp_path):
    """Case 19 with child processes."""
    pool = make.queues(1, durable=True)
    jobs = pool.batch_submit([*[(double, 1)] * 100, (die,), *[(double, 2)] * 100], batch_size=50)
    consumers = make.consumers(pool, 2, executor="processes", max_concurrency=2)
    workers = pids(make.client)
    consumers.join(timeout=100)
    assert pids(make.client) == workers
    with pytest.raises(DaskQueueError, match="crash_loop"):
        jobs[100].result(timeout=10)
    assert Counter(values_of(consumers.results())) == {2: 100, 4: 100}


def hold_the_interpreter(seconds):
    """Keep every other Python thread of this process waiting, as a C extension does."""
    return ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


def test_a_task_that_holds_the_interpreter_keeps_its_lease_and_stops_nobody(make, tmp_path):
    def note_and_hold(path):
        with path.open("a") as lines:
            lines.write("run\n")
        return hold_the_interpreter(4)

    pool = make.queues(1, lease=1.0)
    consumers = make.consumers(pool, 1, executor="processes")
    job = pool.submit(note_and_hold, tmp_path / "runs")
    until((tmp_path / "runs").exists, seconds=30)
    # The worker, the queue on it and the consumer go on: each of these takes turns with the interpreter.
    assert worker_of_queue(pool) == worker_of_consumer(consumers)
    asked = 0
    while not job.done():
        began = time.monotonic()
        assert pool[0].qsize() in {0, 1}
        assert "GeneralConsumer-0" in repr(consumers)
        assert time.monotonic() - began < 2
        asked += 1
    assert asked > 3
    assert job.result(timeout=10) == 0
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_timeout_ends_whatever_a_process_does(make):
    pool = make.queues(1)
    consumers = make.consumers(pool, 1, executor="processes")
    job = pool.options(timeout=0.5).submit(hold_the_interpreter, 60)
    after = pool.submit(double, 1)
    with pytest.raises(TaskTimeoutError):
        job.result(timeout=30)
    assert after.result(timeout=30) == 2
    consumers.join(timeout=30)


def wait_and_tell_attempt(gate):
    gate.wait()
    return current().attempt, current().deliveries


def is_stopping(pool_id, dask_worker):
    services = [door._service for door in dask_worker.state.actors.values()]
    return any(service._stopping for service in services if service._spec.pool_id == pool_id)


@BOTH
def test_a_stop_finishes_what_runs_and_gives_back_the_rest_without_burning_an_attempt(make, gate, executor):
    pool = make.queues(1)
    consumers = make.consumers(pool, 1, executor=executor)
    jobs = pool.map(wait_and_tell_attempt, [gate] * 3)
    gate.expect()
    stopping = threading.Thread(target=consumers.cancel, args=(60.0,))
    stopping.start()
    until(lambda: any(make.client.run(is_stopping, consumers.pool_id).values()), seconds=30)
    gate.let(3)  # one runs to its end, and the other two are not begun
    stopping.join(timeout=60)
    assert pool[0].qsize() == 2
    again = make.consumers(pool, 1, executor=executor)
    again.join(timeout=60)
    assert [job.result(timeout=10) for job in jobs] == [(1, 1)] * 3


def test_a_stop_kills_what_does_not_end_in_time_without_burning_an_attempt(make, gate):
    pool = make.queues(1)
    consumers = make.consumers(pool, 1, executor="processes")
    job = pool.submit(wait_and_tell_attempt, gate)
    gate.expect()
    consumers.cancel(timeout=0.2)
    assert pool[0].qsize() == 1
    gate.let(2)  # the system may offer one to the process that is gone
    again = make.consumers(pool, 1, executor="processes")
    again.join(timeout=60)
    assert job.result(timeout=10)[0] == 1


def test_children_end_with_a_worker_that_is_killed_and_what_they_ran_is_run_again(make_fragile, gate):
    make = make_fragile
    pool = make.queues(1, durable=True)
    consumers = make.consumers(pool, 2, executor="processes", batch_size=1)
    jobs = pool.map(wait_and_tell_process, [gate] * 2, batch_size=1)
    gate.expect(2)
    away = worker_of_consumer(consumers, 1)
    worker = psutil.Process(pids(make.client)[away])
    family = worker.children(recursive=True)
    assert len(family) == 2  # one child, and what has forked it
    kill(worker.pid)
    assert psutil.wait_procs(family, timeout=30)[1] == []
    gate.let(5)
    consumers.join(timeout=60)
    assert len({job.result(timeout=10) for job in jobs}) == 2
    assert len(values_of(consumers.results())) == 2


def wait_and_tell_process(gate):
    gate.wait()
    return current().id


@pytest.mark.timeout(240)
@BOTH
def test_a_consumer_that_is_lost_again_and_again_is_replaced_each_time(make_fragile, executor):
    make = make_fragile
    pool = make.queues(1, durable=True)
    consumers = make.consumers(pool, 2, executor=executor)
    done = []
    for number in range(2):
        make.client.wait_for_workers(2, timeout=60)
        until(lambda: len(consumers._consumers._held) == 2, seconds=60)
        lost = worker_of_consumer(consumers, 1)
        kill(pids(make.client)[lost])
        assert repr(consumers).startswith("Consumers : 2 Consumers(s)")
        jobs = pool.map(double, range(100 * number, 100 * number + 100))
        assert [job.result(timeout=60) for job in jobs] == [
            2 * n for n in range(100 * number, 100 * number + 100)
        ]
        done += [job.id for job in jobs]
        assert {i for found in consumers.results().values() for i in found} >= set(done)
    until(lambda: consumers.nb_consumed() == 200, seconds=60)
    consumers.join(timeout=60)
    assert sorted(values_of(consumers.results())) == [2 * n for n in range(200)]


# Middleware and resources


class Counting(Middleware):
    """Keeps an account of what it was told, and shows it as a result."""

    def on_start(self, consumer):
        self.lines = [f"start {consumer.name}"]
        consumer.resources["middleware"].append(self)

    def before_run(self, message):
        self.lines.append(f"before {message.id == current().id}")

    def after_run(self, message, result):
        self.lines.append(f"after {result}")

    def on_failure(self, message, error):
        self.lines.append(f"failure {type(error).__name__}")


def tell_lines():
    return current().resources["middleware"][0].lines[:]


@BOTH
def test_middleware_and_resources_are_there_once_in_each_process(make, executor):
    pool = make.queues(1)
    consumers = make.consumers(
        pool, 1, executor=executor, middleware=[Counting()], resources={"middleware": list}
    )
    assert pool.submit(double, 4).result(timeout=30) == 8
    with pytest.raises(ValueError, match="bad"):
        pool.submit(fail, "bad").result(timeout=30)
    assert pool.submit(double_soon, 5).result(timeout=30) == 10
    lines = pool.submit(tell_lines).result(timeout=30)
    assert lines == [
        "start GeneralConsumer-0",
        *(
            "before True",
            "after 8",
            "before True",
            "failure ValueError",
            "before True",
            "after 10",
            "before True",
        ),
    ]
    consumers.join(timeout=30)


def count_workers():
    return len(get_client().scheduler_info()["workers"])


def test_a_client_as_a_resource_lets_tasks_in_processes_use_the_cluster(make):
    pool = make.queues(1)
    consumers = make.consumers(pool, 1, executor="processes", resources={"client": Client})
    assert pool.submit(count_workers).result(timeout=60) == 2
    consumers.join(timeout=30)


class Appending:
    """A resource that writes into a file when it is opened and closed."""

    def __init__(self, path):
        self.path = path

    def note(self, word):
        with self.path.open("a") as lines:
            lines.write(f"{word} {os.getpid()}\n")

    def __enter__(self):
        self.note("open")
        return self

    def __exit__(self, *_):
        self.note("close")


@BOTH
def test_resources_are_closed_at_the_stop(make, tmp_path, executor):
    path = tmp_path / "lines"
    pool = make.queues(1)
    consumers = make.consumers(
        pool, 1, executor=executor, max_concurrency=2, resources={"file": lambda: Appending(path)}
    )
    pool.map(double, range(10))
    consumers.join(timeout=30)
    lines = path.read_text().splitlines()
    processes = {line.split()[1] for line in lines}
    assert sorted(lines) == sorted(f"{word} {pid}" for word in ("open", "close") for pid in processes)
    assert len(processes) == (2 if executor == "processes" else 1)


def fail_to_open():
    raise ConnectionError("the database is away")


@BOTH
def test_a_resource_that_cannot_be_opened_ends_the_start(make, executor):
    pool = make.queues(1)
    consumers = make.consumers(pool, 1, executor=executor, resources={"db": fail_to_open}, start=False)
    with pytest.raises(ConnectionError, match="the database is away"):
        consumers.start()
    assert not consumers.started


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"executor": "process"}, ValueError, 'choose "threads" or "processes"'),
        ({"executor": 3}, ValueError, "choose"),
        ({"middleware": Middleware()}, TypeError, "give a list"),
        ({"middleware": [Middleware]}, TypeError, "give an object of the class"),
        ({"middleware": ["log"]}, TypeError, "subclass Middleware"),
        ({"resources": [list]}, TypeError, "by name"),
        ({"resources": {"db": 5}}, TypeError, "each process has to open its own"),
        ({"resources": {5: list}}, TypeError, "names are text"),
    ],
)
def test_bad_arguments_are_said_at_the_call(make, wrong, error, words):
    pool = make.queues(1)
    with pytest.raises(error, match=words):
        make.consumers(pool, 1, start=False, **wrong)


def test_a_crash_after_an_early_ack_is_said_and_not_run_again(make, tmp_path):
    def note_and_die(path):
        with path.open("a") as lines:
            lines.write("run\n")
        die()

    pool = make.queues(1)
    consumers = make.consumers(pool, 1, executor="processes", early_ack=True)
    job, after = pool.submit(note_and_die, tmp_path / "runs"), pool.submit(double, 3)
    consumers.join(timeout=60)
    with pytest.raises(JobFailedError, match="SIGKILL"):
        job.result(timeout=10)
    assert after.result(timeout=10) == 6
    assert (tmp_path / "runs").read_text() == "run\n"
