"""What hosts are told acts: bounds, results, retries that clients take over, and where tasks run."""

from __future__ import annotations

import asyncio
import os

import pytest
from clusters import until
from typer.testing import CliRunner

import daskqueue
from daskqueue.cli.serve import app
from daskqueue.errors import QueueFullError, ResultExpiredError

from . import around_tasks


def connect(site, **options):
    return daskqueue.connect(site.name, site.address, **options)


def double(x):
    return 2 * x


def note_and_fail(path, times):
    """Fail so many times, and then return how often it was run."""
    with open(path, "a") as file:
        file.write("x")
    ran = os.path.getsize(path)
    if ran <= times:
        raise ValueError(f"run {ran}")
    return ran


@pytest.fixture
def scheduler(site):
    return site.scheduler()


def test_clients_take_the_retries_of_the_hosts_unless_they_have_their_own(site, scheduler, tmp_path):
    site.queue(0, "--retries", 2, "--backoff", "10ms")
    site.consumer().wait_ready()
    with connect(site) as pool:
        assert pool.submit(note_and_fail, tmp_path / "a", 2).result(timeout=60) == 3
        with pytest.raises(ValueError, match="run 1"):
            pool.options(retries=0).submit(note_and_fail, tmp_path / "b", 1).result(timeout=60)
    with connect(site, retries=0) as pool, pytest.raises(ValueError, match="run 1"):
        pool.submit(note_and_fail, tmp_path / "c", 1).result(timeout=60)


def test_an_asynchronous_client_takes_them_too(site, scheduler, tmp_path):
    async def use():
        async with connect(site, asynchronous=True) as pool:
            job = await pool.submit(note_and_fail, tmp_path / "a", 1)
            return await job.result(timeout=60)

    site.queue(0, "--retries", 1, "--backoff", "10ms")
    site.consumer().wait_ready()
    assert asyncio.run(use()) == 2


def test_a_full_shard_refuses_or_drops_as_its_host_was_told(site, scheduler):
    site.queue(0, "--max-messages", 3, "--overflow", "raise").wait_ready()
    with connect(site) as pool:
        jobs = pool.map(double, range(3))
        with pytest.raises(QueueFullError):
            pool.submit(double, 4)
        newest = pool.options(overflow="drop_oldest").submit(double, 5)
        assert pool.get_queue_size() == dict.fromkeys(pool.get_queue_size(), 3)
        site.consumer().wait_ready()
        assert newest.result(timeout=60) == 10
        assert jobs[0].status == "cancelled"


def test_a_shard_has_room_for_so_many_bytes(site, scheduler):
    site.queue(0, "--max-bytes", "1MiB", "--overflow", "raise").wait_ready()
    with connect(site) as pool:
        pool.submit(len, bytes(900_000))
        with pytest.raises(QueueFullError):
            pool.submit(len, bytes(900_000))


def test_results_that_hosts_do_not_keep_are_said_to_be_gone(site, scheduler):
    site.queue(0, "--results", "none").wait_ready()
    site.consumer().wait_ready()
    with connect(site) as pool, pytest.raises(ResultExpiredError):
        pool.submit(double, 2).result(timeout=60)


def test_tasks_run_in_processes_and_one_that_dies_costs_only_itself(site, scheduler):
    site.queue(0, "--max-deliveries", 2)
    consumer = site.consumer("--executor", "processes", "--slots", 2)
    consumer.wait_ready()
    with connect(site) as pool:
        assert consumer.process.pid not in pool.gather(pool.map(lambda _: os.getpid(), range(20)), timeout=60)
        poison = pool.submit(os._exit, 1)
        others = pool.map(double, range(50))
        assert pool.gather(others, timeout=60) == [2 * x for x in range(50)]
        until(lambda: pool.dead.reasons() == {"crash_loop": 1}, 60)
        assert poison.status == "error"
        told = consumer.get("/metrics")[1]
        assert 'daskqueue_processing_seconds_count{outcome="returned",task="double"} 50.0' in told
        assert 'daskqueue_slots{state="idle"} 2.0' in told
    assert consumer.process.poll() is None


def test_a_stopped_host_lets_its_processes_finish_and_gives_back_the_rest(site, scheduler, gate):
    queue = site.queue()
    consumer = site.consumer("--executor", "processes", "--drain", "60s")
    consumer.wait_ready()
    with connect(site) as pool:
        jobs = [pool.submit(gate.wait, number) for number in range(3)]
        gate.expect(1)
        consumer.process.terminate()
        consumer.says("Stopping")
        gate.let(1)
        assert consumer.process.wait(60) == 0
        assert jobs[0].result(timeout=60) == 0
        assert queue.stats["messages"]["dead"] == 0
        until(lambda: queue.stats["messages"]["ready"] == 2, 60)


def test_a_drained_host_of_processes_gives_back_what_has_not_begun_and_goes_on_when_told(
    site, scheduler, gate
):
    queue = site.queue()
    consumer = site.consumer("--executor", "processes")
    consumer.wait_ready()
    with connect(site) as pool:
        jobs = pool.map(gate.wait, range(3))
        gate.expect(1)
        assert consumer.get("/drain", "POST")[0] == 200
        until(lambda: queue.stats["messages"]["ready"] == 2, 60)
        gate.let(1)
        until(lambda: consumer.stats["held"] == 0, 60)
        assert consumer.stats["busy"] == 0
        assert consumer.get("/drain", "DELETE")[0] == 200
        gate.let(2)
        assert pool.gather(jobs, timeout=60) == [0, 1, 2]


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_tasks_find_what_the_host_was_told_to_open_and_are_wrapped(site, scheduler, tmp_path, executor):
    said = tmp_path / "said"
    site.queue()
    around = [
        "--middleware",
        "hosts.around_tasks:Diary",
        "--resources",
        "answer=hosts.around_tasks:open_answer",
    ]
    environment = {"DIARY": str(said)}
    consumer = site.consumer("--executor", executor, *around, environment=environment)
    consumer.wait_ready()
    with connect(site) as pool:
        assert pool.submit(around_tasks.ask).result(timeout=60) == 42
    assert consumer.stop(60) == 0
    assert said.read_text().split() == ["opened", "before:ask", "after:42", "closed"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--middleware", "tracing"], "middleware has 'tracing'; write it as package.module:name"),
        (["--middleware", "no.such:thing"], "which cannot be imported here: No module named 'no'"),
        (["--resources", "db"], "resources has 'db'; write it as name=package.module:function"),
        (["--resources", "a=os:sep"], "resources has a, of which the paths name no function"),
        (["--resources", "a=os:getcwd,a=os:getcwd"], "resources has 'a' twice"),
    ],
)
def test_what_is_to_be_imported_and_cannot_be_is_refused(arguments, said):
    assert said in refusal("consumer", *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-bytes", "many"], "max-bytes is 'many'; give a number of bytes, or text such as"),
        (["--result-bytes", "-1"], "result-bytes is '-1'"),
        (["--backoff", "1h"], "backoff is '1h', longer than backoff-max"),
        (["--overflow", "burst"], "'burst' is not one of 'block', 'raise', 'drop_oldest'"),
        (["--results", "redis"], "'redis' is not one of 'durable', 'memory', 'none'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_the_choices(arguments, said):
    assert said in refusal("queue", "--dir", "q", *arguments)


def refusal(*arguments):
    """Return what ``daskqueue serve`` says of arguments that cannot be, without the box that it draws around."""
    where = ["--name", "x", "--scheduler", "tcp://127.0.0.1:1"]
    done = CliRunner().invoke(app, [*arguments, *where])
    assert done.exit_code == 2, done.output
    return " ".join(done.output.replace("\u2502", " ").split())
