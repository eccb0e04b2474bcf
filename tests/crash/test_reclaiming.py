"""Compaction and retention under crashes: nothing comes back, nothing is lost, and the disk has its bound."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from random import Random

import pytest

from .injected import ROUNDS, injected, seeds
from .lives import LONG, OPENINGS, Life, small
from .rolling import LIVES, ResultsByBytes, Rolling
from .tales import NOTHING, SOME, Ending, endings, told

# What is done to the disk where segments are begun, moved out of and dropped; elsewhere a part of the calls will do.
TELLING = ("create", "rename", "remove", "sync_folder")
PART = 12


@pytest.fixture(autouse=True)
def _small_files():
    with small():
        yield


def tale_of(kind, seed):
    """Return a life of a kind, lived with a seed."""
    return told(type(kind.__name__, (kind,), {"seed": seed}))


def around_removals(tale):
    """Return after how many calls something was just removed, or is about to be, or its sync is still to come."""
    removals = [number for number, call in enumerate(tale.disk.calls) if call.verb == "remove"]
    return sorted({number + step for number in removals for step in (0, 1, 2)})


@pytest.mark.parametrize("seed", seeds(2))
@pytest.mark.parametrize("kind", LIVES, ids=lambda kind: kind.__name__)
def test_wherever_a_long_life_ends_nothing_is_lost_and_nothing_comes_back(kind, seed):
    """Results, dead letters and their failures are kept as the settings say."""
    tale, rng = tale_of(kind, seed), Random(seed)
    removed = [call.path.suffix for call in tale.disk.calls if call.verb == "remove"]
    assert removed.count(".log") >= 2, "a life in which no segment goes shows nothing"
    telling = {n + step for n, call in enumerate(tale.disk.calls) if call.verb in TELLING for step in (0, 1)}
    chosen = rng.sample(sorted(telling), len(telling) // PART) + rng.sample(
        range(tale.now + 1), tale.now // PART
    )
    for ending in endings(tale, rng, sorted(set(chosen))):
        tale.check(ending, rng)
        injected[ending.kind] += 1


@pytest.mark.parametrize("seed", seeds(2))
@pytest.mark.parametrize("kind", [Rolling, ResultsByBytes], ids=lambda kind: kind.__name__)
def test_in_whatever_order_removals_reach_the_disk_nothing_comes_back(kind, seed):
    """And where the checkpoint is lost with them, the log alone says the same."""
    tale, rng = tale_of(kind, seed), Random(seed)
    for calls in around_removals(tale):
        for keep in (NOTHING, SOME):
            ending = Ending(calls, cut=True, keep=keep)
            tale.check(ending, rng)
            injected["power cut among removals"] += 1
            tale.check(ending, rng, lose="*.index")
            injected["power cut among removals, and the checkpoint is lost"] += 1


@pytest.mark.parametrize("seed", seeds(3))
def test_a_power_cut_while_a_killed_queue_is_opened_again_loses_nothing(seed):
    tale, rng = tale_of(Rolling, seed), Random(seed)
    for calls in rng.sample(range(20, tale.now), 4 * ROUNDS):
        disk = tale.disk.killed(calls)
        bench = tale.opened(disk)
        bench.clear_away()
        after = rng.sample(range(len(disk.calls) + 1), 5)
        for moment in after:
            for keep in (NOTHING, SOME):
                tale.check(Ending(calls, cut=True, keep=keep), rng, disk=disk, moment=moment)
                injected["killed, and a power cut while it is opened"] += 1


@pytest.mark.parametrize("seed", seeds(3))
def test_what_an_opening_has_found_is_there_after_a_power_cut(seed):
    """What a killed queue had in the page cache only is promised from the next opening on: people are told of it."""
    tale, rng = tale_of(Rolling, seed), Random(seed)
    for calls in rng.sample(range(20, tale.now), 8 * ROUNDS):
        disk = tale.disk.killed(calls)
        bench = tale.opened(disk)
        known, results = tale.states(bench), bench.results()
        bench.clear_away()
        again = tale.opened(disk.power_cut(rng, keep=NOTHING))
        assert tale.states(again) == known
        assert again.results() == results
        again.clear_away()
        injected["killed, opened, and a power cut"] += 1


@pytest.mark.parametrize("kill", [False, True], ids=["closed", "killed"])
def test_opening_a_queue_again_and_again_piles_up_nothing(kill):
    """Whatever it keeps: a waiting message, a dead letter, a result."""
    life = Life()
    life.bench.open()
    life.put("waits", delay=LONG / 2)
    life.put("dead", "done")
    hand = life.bench.lease(2)
    life.bury(hand, [1])
    life.settle(hand, [2])
    for _ in range(50):
        life.reopen(kill=kill)
        injected["killed"] += kill
    names = Counter(PurePath(name).suffix for name in life.disk.names(life.bench.folder))
    assert names[".log"] <= OPENINGS + 1
    assert names[".results"] <= 2
    life.judge(life.bench, Ending(life.now, cut=False))
    life.end()


@pytest.mark.parametrize("seed", seeds(2))
@pytest.mark.parametrize("kind", [Rolling, ResultsByBytes], ids=lambda kind: kind.__name__)
def test_after_a_crash_the_disk_is_back_within_its_bound(kind, seed):
    """Log: what is needed, four times, and five segments; results: what may be kept, and a segment."""
    tale, rng = tale_of(kind, seed), Random(seed)
    for calls in rng.sample(around_removals(tale), 3 * ROUNDS) + rng.sample(range(tale.now), 2 * ROUNDS):
        for ending in (Ending(calls, cut=False), Ending(calls, cut=True, keep=SOME)):
            tale.judge_disk(tale.left(ending, rng), ending)
            injected[ending.kind] += 1
