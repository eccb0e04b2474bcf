"""``daskqueue demo``, as its users run it, and when it has to say that something went wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daskqueue.cli import demo
from daskqueue.cli.main import app
from daskqueue.cli.proof import Proof
from daskqueue.errors import QueueLostError


@pytest.fixture
def run():
    """Runs the command in this process, with a width that keeps messages on one line."""

    def run(*args):
        return CliRunner(env={"COLUMNS": "300"}).invoke(app, ["demo", *map(str, args)])

    return run


def test_the_demo_kills_all_workers_and_no_task_is_missing(tmp_path):
    command = Path(sys.executable).with_name("daskqueue")
    done = subprocess.run(
        [command, "demo", "--dir", tmp_path / "kept"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "submitted  100,000 tasks" in done.stdout
    assert re.search(r"killed  all worker processes with -9: (\d+, ){3}\d+\n", done.stdout)
    assert "missing  0 of the 100,000 submitted tasks" in done.stdout
    assert "wrong  0 results" in done.stdout
    assert "No task is missing." in done.stdout
    assert (tmp_path / "kept" / "queues" / "pool.json").exists()


def test_the_demo_fails_when_a_task_is_missing(run, monkeypatch):
    monkeypatch.setattr(demo, "rehearse", lambda *_: Proof(submitted=10, missing=1, wrong=0, unknown=0))
    result = run()
    assert result.exit_code == 1
    assert "missing or wrong" in result.output


@pytest.mark.parametrize("kind", [QueueLostError, PermissionError, RuntimeError])
def test_the_demo_tells_an_error_in_one_line(run, monkeypatch, kind):
    def fail(*_):
        raise kind("no worker came up")

    monkeypatch.setattr(demo, "rehearse", fail)
    result = run()
    assert result.exit_code == 1
    assert result.output == "The demo failed: no worker came up\n"


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--tasks", 999, "greater than or equal to 1000"),
        ("--tasks", "many", "integer"),
        ("--workers", 0, "greater than or equal to 1"),
        ("--queues", 65, "less than or equal to 64"),
    ],
)
def test_a_bad_option_is_refused_with_its_bounds(run, option, value, complaint):
    result = run(option, value)
    assert result.exit_code == 2
    assert option in result.output
    assert complaint in result.output


def test_a_folder_with_something_in_it_is_refused_and_left_alone(run, tmp_path):
    (tmp_path / "precious").write_text("mine")
    result = run("--dir", tmp_path)
    assert result.exit_code == 2
    assert "is not empty" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_folder_that_cannot_be_made_is_refused(run, tmp_path):
    (tmp_path / "file").touch()
    result = run("--dir", tmp_path / "file")
    assert result.exit_code == 2
    assert "cannot be used: File exists" in result.output
