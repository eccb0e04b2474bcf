"""Two owners of one folder: one that was stopped, and whose lock was taken away, changes nothing when it wakes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clusters import until
from engine.bench import Bench
from hosts.processes import Site

from daskqueue import connect
from daskqueue.errors import FolderInUseError, QueueFailedError, StorageError
from daskqueue.storage.folder import NAME, FolderLock
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.log import Log
from daskqueue.storage.memory import MemoryFileSystem

from .injected import injected, seeds
from .ledger.theatre import Theatre
from .owners import CHANGES, Owner, take_away
from .rig import HandLoop, Rig, small
from .writers import FENCED, read

FOLDER = Path("/queues/test-queue-0")
SETTINGS = {"segment_bytes": 700, "max_losses": 9}
LARGE = {False: 1 << 20, True: 150}
SEGMENTS = {".log", ".results"}
AS_LONG_AS_IT_TAKES = -1
STOPS = 20
HISTORIES = 60


@pytest.fixture(params=[False, True], ids=["", "large batches"])
def files(request):
    """Small files, and batches in the log or in files of their own."""
    with small(LARGE[request.param], 4000, 700):
        yield


def calls_of_one_life():
    owner = Owner(0, MemoryFileSystem(), FOLDER, **SETTINGS)
    assert owner.finish() is None
    return len(owner.fs.calls)


def look_at_what_is_left(disk, owners):
    """Open the folder as the next owner does, and look for everything that was promised."""
    take_away(disk, FOLDER, unlink=True)
    loop = HandLoop()
    rig = Rig(loop, disk, **SETTINGS)
    rig.folder = FOLDER
    try:
        rig.open(create=False)
        rig.check()
        put = {}
        for owner in owners:
            assert not put.keys() & owner.put.keys(), "a sequence was given twice"
            put |= owner.put
        acked, dead, said = (
            set().union(*sets) for sets in zip(*((o.acked, o.dead, o.said) for o in owners), strict=True)
        )
        states = {sequence: rig.state(sequence) for sequence in put.keys() | said}
        assert {s for s in put if states[s] == "unknown"} == set(), "an answered put is gone"
        assert {s: states[s] for s in acked if states[s] != "settled"} == {}, "an answered ack is gone"
        assert {s: states[s] for s in dead if states[s] != "dead"} == {}, "a dead letter is gone"
        settled = {s for s, state in states.items() if state == "settled"}
        assert settled <= said, "settled, and nobody said so"
        results = rig.results()
        assert {s for s in settled & put.keys() if results[s][1] != put[s]} == set()
        rig.clock.moment += 100
        rig.expire()
        rest = rig.drain()
        assert not rest.keys() & acked
        assert {s for s in put.keys() - settled - dead if s not in rest and states[s] != "dead"} == set()
        assert {s for s in rest.keys() & put.keys() if rest[s] != put[s]} == set()
        tried = set().union(*(owner.tried for owner in owners))
        assert set(rest.values()) <= tried
    finally:
        rig.clear_away()
        loop.close()


def split(calls):
    """Return what a former owner did before its first look at the lock since it was stopped, and after it."""
    looks = [at for at, (verb, args) in enumerate(calls) if verb == "open" and args[0].name == NAME]
    return (calls[: looks[0]], calls[looks[0] :]) if looks else (calls, [])


def content(disk):
    return {path: bytes(file.data) for path, file in disk._files.items()}


def touched(before, after, calls):
    """Return the files that are not as they were, but for bytes at the end, and for names in *calls*."""
    named = {path for verb, args in calls if verb in {"rename", "remove"} for path in args}
    return {
        path.name
        for path in before.keys() | after.keys()
        if path not in named and not after.get(path, b"").startswith(before.get(path, b""))
    }


@pytest.mark.parametrize("unlink", [True, False], ids=["lock removed", "lock forgotten"])
@pytest.mark.parametrize("seed", seeds(2))
def test_an_owner_that_is_stopped_at_any_file_call_changes_nothing_when_another_one_came(files, unlink, seed):
    total, rng = calls_of_one_life(), random.Random(seed)
    for stop_at in rng.sample(range(1, total), STOPS):
        disk = MemoryFileSystem()
        former, latter = Owner(0, disk, FOLDER, **SETTINGS), Owner(1, disk, FOLDER, **SETTINGS)
        try:
            former.run(stop_at)
            had_signed = any(verb == "write" for verb, _ in former.fs.calls)
            take_away(disk, FOLDER, unlink=unlink)
            latter.run(rng.choice((total // 2, AS_LONG_AS_IT_TAKES)))
            before = content(disk)
            error = former.finish()
            before_it_knew, since = split(former.fs.calls[stop_at:])
            assert error is None or isinstance(error, StorageError), error
            if had_signed:  # or else it is the one that came last
                assert touched(before, content(disk), before_it_knew) == set()
                assert latter.finish() is None
                assert former.late == [], "it answered a put that was begun after it had lost its folder"
                assert [call for call in since if call[0] in CHANGES] == []
            look_at_what_is_left(disk, [former, latter])
        except BaseException as failure:
            failure.add_note(f"stopped before call {stop_at} of {total}; seed {seed}")
            raise
        finally:
            former.finish()
            latter.finish()
        injected["an owner that was stopped while its folder was taken over"] += 1


@pytest.mark.parametrize("seed", seeds(HISTORIES))
def test_however_many_owners_take_turns_nothing_that_one_of_them_answered_is_lost(seed):
    rng, disk, owners, turns = random.Random(seed), MemoryFileSystem(), [], []
    settings = {**SETTINGS, "fsync": rng.choice(("always", "always", "interval:50", "never"))}
    with small(LARGE[rng.random() < 0.3], 4000, 700):
        try:
            owners.append(Owner(0, disk, FOLDER, **settings))
            while not owners[
                0
            ].put:  # three owners in the very first opening are too many: see docs/limits.md
                owners[0].run(10)
            for _ in range(rng.randint(6, 14)):
                if len(owners) < 2 or rng.random() < 0.3:
                    take_away(disk, FOLDER, unlink=rng.random() < 0.5)
                    owners.append(Owner(len(owners), disk, FOLDER, **settings))
                    turns.append((owners[-1], rng.randint(1, 250)))
                else:
                    turns.append((rng.choice(owners), rng.choice((1, 3, 10, 30, 100))))
                turns[-1][0].run(turns[-1][1])
            for owner in rng.sample(owners, len(owners)):
                assert owner.finish() is None or isinstance(owner.error, StorageError), owner.error
                assert owner.late == []
            look_at_what_is_left(disk, owners)
        except BaseException as failure:
            failure.add_note(f"seed {seed}, turns {[(owner.number, calls) for owner, calls in turns]}")
            raise
        finally:
            for owner in owners:
                owner.finish()
    injected["an owner that was stopped while its folder was taken over"] += len(owners) - 1


def test_the_word_of_a_new_owner_is_on_the_disk_before_it_looks_at_the_folder():
    owner = Owner(0, MemoryFileSystem(), FOLDER, **SETTINGS)
    assert owner.finish() is None
    verbs = [verb for verb, _ in owner.fs.calls]
    lock, signed = verbs.index("lock"), verbs.index("write")
    looks = [
        at
        for at, (verb, args) in enumerate(owner.fs.calls)
        if verb in {"names", "open"} and args[0].name != NAME
    ]
    assert lock < signed < verbs.index("sync") < min(looks)


def last_look(calls, at):
    """Return the verbs between the last look at the lock before a call and the call."""
    looks = [place for place in range(at) if calls[place][0] == "open" and calls[place][1][0].name == NAME]
    return {verb for verb, _ in calls[looks[-1] + 1 : at]}


def test_nothing_is_made_replaced_or_removed_without_a_look_at_the_lock_right_before(files):
    owner = Owner(0, MemoryFileSystem(), FOLDER, **SETTINGS)
    assert owner.finish() is None
    calls, seen = owner.fs.calls, Counter()
    for at, (verb, args) in enumerate(calls):
        path = args[0]
        if verb == "rename" and args[1].suffix == ".index":
            between = last_look(calls, at) - {"read", "close"}
        elif verb == "remove" and path.suffix in SEGMENTS | {".batch"}:
            between = last_look(calls, at) - {"read", "close", "remove", "sync_folder"}
        elif verb == "create" and path.suffix in SEGMENTS:
            between = last_look(calls, at) - {"read", "close"}
            before_the_header = next(place for place in range(at, len(calls)) if calls[place][0] == "write")
            assert "create" not in last_look(calls, before_the_header), f"{at}: {path} has its header unseen"
        elif verb == "create" and path.parent.name == "large":
            between = last_look(calls, at) - {"read", "close", "make_folder", "sync_folder"}
        else:
            continue
        assert between == set(), f"call {at}, {verb} {path.name}: {between} since the last look at the lock"
        seen[verb] += 1
    assert min(seen[verb] for verb in ("rename", "remove", "create")) > 3, seen


def test_a_segment_that_a_former_owner_has_removed_is_dropped_all_the_same():
    disk = MemoryFileSystem()
    disk.make_folder(FOLDER)
    for _ in range(3):
        log = Log.open(disk, FOLDER, queue_id=bytes(range(16)))
        list(log.replay())
        log.start(frames=[(16, [b"a fact"])])
        log.close()
    log = Log.open(disk, FOLDER)
    list(log.replay())
    log.start()
    oldest, following = [segment.number for segment in log.segments][:2]
    disk.remove(FOLDER / f"{oldest:020d}.log")
    log.drop(oldest)
    log.drop(following)
    assert [segment.number for segment in log.segments] == [2, 3]


def test_a_queue_that_never_syncs_and_only_hands_out_is_fenced_too():
    disk = MemoryFileSystem()
    former, latter = (Bench(disk, FOLDER, fsync="never") for _ in range(2))
    try:
        former.open()
        former.put(*range(20))
        take_away(disk, FOLDER, unlink=True)
        latter.open(create=False)
        former.ack(former.lease(1))
        until(lambda: former.run(asyncio.sleep(0.01)) or former.engine.failure)
        with pytest.raises(QueueFailedError, match=r"taken over by pid 1, epoch 2"):
            former.lease(1)
        assert isinstance(former.engine.ousted.result(), FolderInUseError)
        assert former.engine.ousted.result().owner == {"pid": 1, "epoch": 2}
    finally:
        former.clear_away()
        latter.clear_away()
    injected["an owner that was stopped while its folder was taken over"] += 1


# Real processes


@pytest.fixture(scope="module")
def theatre():
    with Theatre("crash.writers") as opened:
        yield opened


class Pair:
    """Two processes that work on one folder, one after the other, or so they think."""

    def __init__(self, theatre, place):
        self.folder = place / "queue"
        self._place, self._theatre = place, theatre
        self.players = []

    def start(self):
        number = len(self.players)
        log, said = str(self._place / "log"), str(self.said(number))
        self.players.append(
            self._theatre.start("crash.writers:work", str(self.folder), number, said, log=log)
        )
        return self.players[-1]

    def said(self, number):
        return self._place / f"said-{number}"

    def hear(self, number, lines):
        until(lambda: len(read(self.said(number))) >= lines, seconds=20)

    def content(self):
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def close(self):
        for player in self.players:
            player.kill()
        sys.stdout.write((self._place / "log").read_text())  # shown if the test has failed


@pytest.fixture
def pair(theatre, tmp_path):
    made = Pair(theatre, tmp_path)
    yield made
    made.close()


def look_for_all_that_was_said(folder, former, latter, woken_at):
    """Open the folder and look for every put that was answered, and every ack but those after the waking."""
    with small(3000, 8000, 3000):
        bench = Bench(LocalFileSystem(), folder, segment_bytes=3000, max_losses=9)
        try:
            bench.open(create=False)
            bench.check()
            bench.clock.moment += 100
            bench.expire()
            rest = bench.drain()
        finally:
            bench.clear_away()
    put, acked, maybe = {}, set(), set()
    for at, (what, *words) in enumerate([*former, *latter]):
        if what == "put":
            first, number, turn, size = words
            assert first not in put, "a sequence was given twice"
            put |= {first + step: f"{number}/{turn}/{step} {'x' * size}" for step in range(3)}
        elif what == "acking":
            maybe.update(words[0])
        elif what == "acked":
            (maybe if woken_at <= at < len(former) else acked).update(words[0])
    assert {s for s in put if s not in rest and s not in acked | maybe} == set(), "an answered put is gone"
    assert {s for s in acked if s in rest} == set(), "an answered ack is gone"
    assert {s for s in rest if s in put and rest[s] != put[s]} == set()


@pytest.mark.parametrize("seed", seeds(10))
def test_a_process_that_is_stopped_while_another_one_takes_its_folder_ends_when_it_wakes(pair, seed):
    rng = random.Random(seed)
    former = pair.start()
    pair.hear(0, rng.randint(1, 80))
    time.sleep(rng.random() / 100)  # anywhere in a turn
    former.signal(signal.SIGSTOP)
    answered = len(read(pair.said(0)))
    with pytest.raises(FolderInUseError, match="pid 1, epoch 1"):
        FolderLock.take(LocalFileSystem(), pair.folder, {})
    (pair.folder / NAME).unlink()
    old = pair.content()
    latter = pair.start()
    pair.hear(1, rng.randint(1, 60))
    latter.signal(signal.SIGSTOP)
    before = pair.content()
    former.signal(signal.SIGCONT)
    assert former.wait(20) == FENCED
    said = read(pair.said(0))
    assert said[-1][0] == "ended"
    assert "taken over by pid 1, epoch 2" in said[-1][1]
    assert len([line for line in said[answered:] if line[0] == "put"]) <= 1, (
        "only what was on its way is answered"
    )
    after = pair.content()
    made = [path for path in before.keys() - old.keys() if path.suffix in {".log", ".results", ".batch"}]
    assert {path.name for path in made if after.get(path) != before[path]} == set()
    kept = [path for path in before.keys() & old.keys() & after.keys() if path.suffix in {".log", ".results"}]
    assert {path.name for path in kept if not after[path].startswith(before[path])} == set()
    latter.signal(signal.SIGCONT)
    pair.hear(1, len(read(pair.said(1))) + 20)
    latter.kill()
    look_for_all_that_was_said(pair.folder, said, read(pair.said(1)), answered)
    injected["a process that was stopped while its folder was taken over"] += 1


@pytest.fixture
def site(tmp_path, name):
    made = Site(tmp_path, name)
    yield made
    made.close()


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_a_host_that_was_stopped_while_another_one_took_its_shard_ends_and_says_who_has_it(site, busy):
    site.scheduler()
    former = site.queue()
    former.wait_ready()
    with ThreadPoolExecutor(1) as aside, connect(site.name, site.address) as pool:
        jobs = [pool.submit(sum, [number]) for number in range(5)]
        os.kill(former.process.pid, signal.SIGSTOP)
        late = aside.submit(pool.submit, sum, [5]) if busy else None
        (lock,) = site.folder.glob("data/**/lock")
        lock.unlink()
        latter = site.queue()
        latter.says("is open")
        os.kill(former.process.pid, signal.SIGCONT)
        assert former.process.wait(20) == 1
        assert "was taken over by host" in former.text
        assert f"pid {latter.process.pid}," in former.text
        site.consumer().wait_ready()
        if late is not None and not isinstance(late.exception(60), QueueFailedError):
            jobs.append(late.result())
        assert [job.result(timeout=60) for job in jobs] == list(range(len(jobs)))
    injected["a process that was stopped while its folder was taken over"] += 1
