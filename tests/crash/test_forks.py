"""A process that has a queue open and forks: its children have no part in the queue, whatever they do."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from clusters import until
from engine.bench import Bench

from daskqueue.errors import FolderInUseError
from daskqueue.storage.fs import LocalFileSystem

from .injected import ROUNDS, injected
from .ledger.theatre import Theatre
from .parents import ENDS, RESULTS, SETTINGS

FORKS = 40


@pytest.fixture(scope="module")
def theatre():
    with Theatre("crash.parents") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "queue"


@pytest.fixture
def play(theatre, folder, tmp_path):
    """Start a process; what it says is printed if the test fails."""
    players = []

    def start(what, *args):
        players.append(theatre.start(f"crash.parents:{what}", str(folder), *args, log=tmp_path / "log"))
        return players[-1]

    yield start
    for player in players:
        player.kill()
    sys.stdout.write((tmp_path / "log").read_text())  # shown if the test has failed


def answer(folder):
    path = folder.with_name(RESULTS)
    until(path.exists)
    return json.loads(path.read_text())


@pytest.mark.parametrize("grandchild", [False, True], ids=["child", "grandchild"])
def test_a_child_that_outlives_its_killed_parent_does_not_keep_the_folder(play, folder, grandchild):
    owner = play("stay_with_a_child", grandchild)
    children = answer(folder)
    bench = Bench(LocalFileSystem(), folder, **SETTINGS)
    try:
        with pytest.raises(FolderInUseError):
            bench.open(create=False)
        owner.kill()
        bench.open(create=False)
        assert all(Path(f"/proc/{child}").exists() for child in children)
        bench.clock.moment += 100
        bench.expire()
        assert sorted(bench.drain()) == [1, 2, 3, 4, 5]
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        bench.clear_away()
    injected["a fork that outlives the owner of a queue"] += 1


def test_a_child_can_use_nothing_of_what_its_parent_has_open(play, folder):
    owner = play("try_everything_in_a_child")
    assert owner.wait(20) == 0
    answers = answer(folder)
    assert {name: said["files"] for name, said in answers.items() if said["files"]} == {}
    assert answers["open again"]["came"] == "FolderInUseError"
    assert {name: said["came"] for name, said in answers.items() if said["came"].startswith("did it")} == {}
    injected["a fork that uses its parent's queue"] += len(answers)


@pytest.mark.parametrize("end", [*ENDS, "multiprocessing", "subprocess"])
def test_a_parent_is_unharmed_however_its_child_ends(play, end):
    assert play("outlive", end).wait(20) == 0
    injected["a fork that ends"] += 1


def test_a_child_has_no_file_that_was_just_being_opened(play, folder):
    owner = play("fork_while_files_are_opened", FORKS * ROUNDS)
    assert answer(folder) == 0
    assert owner.wait(20 * ROUNDS) == 0
    injected["a fork while files are opened"] += FORKS * ROUNDS
