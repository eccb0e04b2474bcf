"""Real processes are killed at any moment; what all of them wrote down must fit together, and nothing be missing."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from .injected import ROUNDS, injected, seeds
from .ledger import ten_million
from .ledger.engine_play import FORGETFUL, MODULE, kill_again_and_again, kill_when_it_has_told
from .ledger.forgetful import TOLD
from .ledger.hosted_play import HostedPlay
from .ledger.lines import Line
from .ledger.play import MODULES
from .ledger.pool_play import PoolPlay
from .ledger.rules import account_of, broken
from .ledger.theatre import Theatre

LIVES = 80
SHORT_LIVES = 3
MESSAGES = 200_000
ACTS = {HostedPlay: 25, PoolPlay: 12}


@contextmanager
def told_how_to_run_it_again(seed, folder):
    """Say with a failure which seed it was, and where the files are."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"DASKQUEUE_CRASH_SEED={seed}; files, ledgers and logs are kept in {folder}")
        raise


@pytest.fixture(scope="module")
def engine_theatre():
    """A process that has imported what a life of an engine needs."""
    with Theatre(MODULE, FORGETFUL) as theatre:
        yield theatre


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", seeds(2))
def test_an_engine_killed_at_any_moment_keeps_what_it_has_answered(engine_theatre, tmp_path, seed):
    with told_how_to_run_it_again(seed, tmp_path):
        killed = kill_again_and_again(engine_theatre, tmp_path, seed, LIVES)
    injected["kill -9 of an engine over real files"] += killed


@pytest.mark.parametrize("kind", TOLD)
def test_an_engine_killed_as_soon_as_it_has_told_keeps_what_it_said(engine_theatre, tmp_path, kind):
    assert kill_when_it_has_told(engine_theatre, tmp_path, SHORT_LIVES, kind, forgets="") == []
    injected["kill -9 of an engine over real files"] += SHORT_LIVES


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("Enqueued", "was answered, or ran, and is unknown at the end"),
        ("Leased", "follows"),
        ("Acked", "after it was told to be finished"),
        ("Died", "after it was told to be error"),
    ],
)
def test_an_engine_that_forgets_is_found_out(engine_theatre, tmp_path, kind, words):
    found = kill_when_it_has_told(engine_theatre, tmp_path, SHORT_LIVES, kind, forgets=kind)
    assert any(words in fault for fault in found), found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", seeds(1))
@pytest.mark.parametrize("kind", [HostedPlay, PoolPlay])
def test_processes_that_are_killed_again_and_again_lose_nothing(tmp_path, kind, seed):
    theatre = Theatre(*MODULES)
    with told_how_to_run_it_again(seed, tmp_path):
        with theatre:
            play = kind(theatre, tmp_path, seed)
            for _ in range(ACTS[kind]):
                play.act()
            play.end()
        assert theatre.left_behind() == []
    injected.update(play.killed)


@pytest.mark.timeout(600)
def test_disk_memory_and_openings_follow_the_backlog_and_not_the_history(tmp_path):
    """In small; `make soak` lets 10,000,000 messages through."""
    with Theatre(*MODULES, *ten_million.MODULES) as theatre:
        stream = ten_million.Stream(theatre, tmp_path, MESSAGES * ROUNDS)
        stream.run()
    for what, figure, most in ten_million.bounds_of(stream):
        assert figure <= most, (
            f"{what}: {figure:,.2f}, at most {most:,.2f} is allowed; files are in {tmp_path}"
        )
    injected["kill -9 of a queue"] += len(stream.reopened)


# The rules

SOUND = [
    ["submitting", "a", "group"],
    ["answered", "a", 1],
    ["submitting", "b", "group"],
    ["answered", "b", 2],
    ["submitting", "c", ""],
    ["began", 1, "a", 1, 1],
    ["began", 1, "a", 1, 2],
    ["ended", 1, "a", 2, "raised"],
    ["began", 1, "a", 2, 3],
    ["ended", 1, "a", 3, "returned"],
    ["settled", 1, "finished", "done a"],
    ["began", 2, "b", 1, 1],
    ["ended", 2, "b", 1, "raised"],
    ["settled", 2, "error"],
    ["began", 3, "c", 1, 1],
    ["ended", 3, "c", 1, "returned"],
    ["final", 1, "finished", "done a"],
    ["final", 2, "error", "no b"],
    ["final", 3, "finished", "done c"],
    ["rest", 0],
]


def faults(told):
    return broken(account_of(Line(at, what, tuple(rest)) for at, (what, *rest) in enumerate(told)))


def changed(place, *line):
    return [*SOUND[:place], *([list(line)] if line else []), *SOUND[place + 1 :]]


def added(place, *line):
    return [*SOUND[:place], list(line), *SOUND[place:]]


def test_ledgers_that_fit_together_break_no_rule():
    assert faults(SOUND) == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (changed(16, "final", 1, "unknown", ""), "a was answered, or ran, and is unknown"),
        (changed(18), "c was answered, or ran, and is unknown"),
        (changed(16, "final", 1, "finished", "done b"), "a is finished with 'done b'"),
        (changed(17, "final", 2, "finished", "done b"), "b is finished and never returned"),
        (changed(17, "final", 2, "error", "no a"), "b is error with 'no a'"),
        (changed(10, "settled", 1, "finished", "done b"), "a was told to be finished with 'done b'"),
        (changed(10, "settled", 1, "error", "no a"), "a was told to be error and is finished"),
        ([*SOUND[:14], ["answered", "c", 3], *SOUND[16:]], "c is finished and never ran"),
        (added(11, "began", 1, "a", 2, 4), "a ran again 0.000 s after it was told to be finished"),
        (added(16, "began", 1, "a", 2, 4), "a ran after b, which is behind it in group group"),
        (added(9, "began", 2, "b", 1, 0), "b began before a ended"),
        (changed(6, "began", 1, "a", 1, 1), "follows"),
        (changed(8, "began", 1, "a", 0, 3), "follows"),
        (added(16, "began", 4, "c", 1, 1), "c was put once and is there as [3, 4]"),
        (changed(3, "answered", "b", 1), "1 is the id of a, b"),
        (changed(19, "rest", 2), "2 messages still wait or run"),
        (changed(19), "None messages still wait or run"),
    ],
)  # fmt: skip
def test_each_rule_finds_what_breaks_it(told, words):
    assert any(words in fault for fault in faults(told)), faults(told)
