"""The notebook's steps, at its own size, in real worker processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "notebook.py"


def run(folder, *args):
    return subprocess.run(
        [sys.executable, SCRIPT, *args], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """What the script printed with 100,000 messages."""
    done = run(tmp_path_factory.mktemp("notebook"))
    assert done.returncode == 0, done.stderr
    return done


def test_two_queues_share_ten_submits_and_all_are_done(notebook):
    assert re.findall(r"TransientQueue-[\w-]{36}: (\d+) pending items", notebook.stdout) == [
        "0",
        "0",
        "5",
        "5",
    ]
    assert notebook.stdout.count(": 328350") == 10
    assert "INFO: All consumers are done ! 10 items processed. \n" in notebook.stderr


def test_five_consumers_receive_what_was_submitted_at_once(notebook):
    assert "Consumers : \n\t5 Consumers(s), \n\t100000 received \n\t0 pending \n" in notebook.stdout


def test_the_durable_queues_keep_all_messages_over_a_restart(notebook):
    pending = re.findall(r"DurableQueue-[\w-]{36}: (\d+) pending items", notebook.stdout)
    assert pending == ["0", "0", "50000", "50000", "50000", "50000", "50000", "50000"]


def test_the_files_are_where_the_notebook_shows_them(notebook):
    for name in ("00000000000000000000.log", "default-queue-1.index"):
        assert f"notebooks/queue_dir/default-queue-1/{name}\n" in notebook.stdout


def test_what_was_kept_is_consumed_after_the_restart(notebook):
    received = re.findall(r"GeneralConsumer-\d: (\d+) received, 0 pending tasks", notebook.stdout)[-4:]
    assert sum(map(int, received)) == 100_000
    assert "INFO: Consumer state : None\n" in notebook.stderr


def test_nothing_ends_in_a_traceback(notebook):
    assert "Traceback" not in notebook.stdout + notebook.stderr


def test_it_can_be_made_smaller(tmp_path):
    assert run(tmp_path, "--n", "100").returncode == 0


def test_a_negative_number_of_messages_is_refused(tmp_path):
    done = run(tmp_path, "--n", "-1")
    assert done.returncode == 2
    assert "--n is -1; it must be 0 or more" in done.stderr
