"""The commands for people: dead letters and queues that hosts serve, from a shell."""

from __future__ import annotations

import pytest
from clusters import until
from typer.testing import CliRunner

import daskqueue
from daskqueue.cli.main import app


def broken(number):
    raise LookupError(f"no such customer: {number}")


def rejected(number):
    raise daskqueue.Reject(f"customer {number} has moved")


@pytest.fixture
def command(shared_site):
    """Run the command on the shared site; return what it printed."""

    def run(*arguments, code=0, stdin=None):
        where = ["--name", shared_site.name, "--scheduler", shared_site.address]
        done = CliRunner().invoke(app, [*map(str, arguments), *where], input=stdin)
        assert done.exit_code == code, done.output
        return done.output

    yield run
    with daskqueue.connect(shared_site.name, shared_site.address) as pool:
        pool.resume()
        pool.purge()
        pool.dead.purge()


@pytest.fixture
def pool(shared_site):
    with daskqueue.connect(shared_site.name, shared_site.address) as connected:
        yield connected


@pytest.fixture
def dead(pool):
    """Three dead letters of one kind and one of another."""
    jobs = [*pool.map(broken, range(3)), pool.submit(rejected, 7)]
    pool.gather(jobs, timeout=30, errors="return")
    return jobs


def test_dead_letters_are_listed_with_what_was_raised(command, dead):
    lines = command("dead", "list").splitlines()
    assert lines[0].split() == ["job", "function", "reason", "error", "attempts", "deliveries", "died"]
    assert sum("LookupError: no such customer: " in line and "raised" in line for line in lines) == 3
    (line,) = [line for line in lines if str(dead[3].id) in line]
    assert "rejected" in line
    assert "customer 7 has moved" in line
    assert lines[-1] == "4 shown of 4 dead letters"


def test_some_of_them_are_listed_with_their_tracebacks(command, dead):
    said = command("dead", "list", "--function", "broken", "--limit", 2, "--traceback")
    assert said.count('raise LookupError(f"no such customer: {number}")') == 2
    assert "customer 7" not in said
    assert said.endswith("2 shown of 4 dead letters\n")


def test_they_are_counted_by_reason(command, dead):
    rows = [line.split() for line in command("dead", "count").splitlines()]
    assert rows[1:] == [["raised", "3"], ["rejected", "1"], ["all", "4"]]


def test_those_of_a_reason_run_again(command, dead, pool):
    assert command("dead", "redrive", "--reason", "rejected", "--rate", 100) == "1 run again\n"
    until(lambda: pool.dead.count() == 4, 30)
    assert command("dead", "redrive", "--limit", 2) == "2 run again\n"
    until(lambda: pool.dead.count() == 4, 30)


def test_they_are_dropped_when_somebody_says_yes(command, dead, pool):
    asked = command("dead", "purge", stdin="n\n", code=1)
    assert f"Drop all of 4 dead letters of {pool.name!r} for ever?" in asked
    assert pool.dead.count() == 4
    assert command("dead", "purge", "--reason", "raised", "--yes") == "3 dropped\n"
    assert "1 dropped" in command("dead", "purge", stdin="y\n")
    assert pool.dead.count() == 0


def test_a_queue_is_paused_looked_at_emptied_and_resumed(command, pool):
    assert "paused" in command("queue", "pause")
    job = pool.options(priority=3).submit(broken, 1)
    later = pool.options(delay="1h").submit(broken, 2)
    rows = [line.split() for line in command("queue", "peek").splitlines()]
    name = f"{broken.__module__}.broken"
    assert rows[1][:5] == [str(job.id), name, "ready", "0", "3"]
    assert rows[2][:5] == [str(later.id), name, "delayed", "0", "0"]
    header, *shards = [line.split() for line in command("queue", "stats").splitlines()]
    assert header[:5] == ["shard", "ready", "delayed", "leased", "dead"]
    assert [row[:5] for row in shards] == [
        [f"{pool.name}-0", "1", "1", "0", "0"],
        ["all", "1", "1", "0", "0"],
    ]
    assert [row[-1] for row in shards] == ["paused", "paused"]
    assert "Drop 2 messages that wait" in command("queue", "purge", stdin="n\n", code=1)
    assert command("queue", "purge", "--yes") == "2 dropped\n"
    assert command("queue", "resume") == "resumed\n"
    assert command("queue", "drain", "--within", "30s") == "nothing waits, nothing runs\n"
    assert "paused" not in command("queue", "stats")


def test_a_queue_that_is_not_there_is_a_sentence_and_no_traceback(shared_site):
    where = ["--name", "nobody", "--scheduler", shared_site.address, "--timeout", "1s"]
    done = CliRunner().invoke(app, ["dead", "list", *where])
    assert done.exit_code == 1
    assert (
        f"there is no queue 'nobody' at {shared_site.address}; there are: {shared_site.name}" in done.output
    )
    assert "Traceback" not in done.output


def test_without_a_name_the_ways_to_say_it_are_told(monkeypatch):
    monkeypatch.delenv("DASKQUEUE_NAME", raising=False)
    done = CliRunner().invoke(app, ["queue", "stats"])
    assert done.exit_code == 2
    assert "DASKQUEUE_NAME" in done.output
