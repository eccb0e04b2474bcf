"""Bytes that are not what was written: found out, put aside, and never served; everything else is."""

from __future__ import annotations

import random
from contextlib import contextmanager

import pytest
from core.stage import comparable
from engine.bench import BOB

from daskqueue.core.facts import Died, Enqueued
from daskqueue.engine.gaps import SKIPPED
from daskqueue.errors import FolderError
from daskqueue.storage.quarantine import NAME
from daskqueue.storage.segment import HEADER_BYTES

from .injected import ROUNDS, injected, seeds
from .spoiled import VALUES, Spoiled, check, ends, silent, twin

OPENING = range(HEADER_BYTES, HEADER_BYTES + 32)
# Where one bit is like the other, only each so-manieth is tried in a short run.
SOME = 7 if ROUNDS == 1 else 1


@pytest.fixture(scope="module")
def killed():
    """Killed, and nothing but its log tells what it was."""
    made = Spoiled(closed=False)
    made.fs.remove(made.file(".index"))
    with silent():
        yield made
    made.end()


@pytest.fixture(scope="module")
def closed():
    """Closed, so that its checkpoint says where everything is, and the log is read when it is needed."""
    made = Spoiled(closed=True)
    with silent():
        yield made
    made.end()


@contextmanager
def told(place):
    """Say in a failure where the damage was."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"the damage: {place}")
        raise


def aftermath(spoiled, fs, **expected):
    """Open, check, and return the reading."""
    rig = spoiled.opened(fs)
    try:
        check(rig, **expected)
        return rig.engine.reading()
    finally:
        rig.kill()


def is_kept(spoiled, fs, path):
    return fs.exists(spoiled.folder / NAME / path.name)


def test_every_bit_of_a_log_is_missed(killed):
    path = killed.file(".log")
    last = killed.frames(".log")[-1][2]
    for bit in range(8 * len(killed.bytes_of(path))):
        fs = killed.flipped(path, bit)
        touched, kind = killed.touched(".log", bit // 8)
        with told(f"bit {bit} of {path.name}, {kind} of {touched}"):
            reading = aftermath(killed, fs, touched=touched, kind=kind, last=last)
            assert reading.corrupt_records > 0
            assert is_kept(killed, fs, path)
        injected["flipped bit of a log"] += 1


def test_what_was_found_out_of_damage_once_is_found_for_ever(killed):
    path = killed.file(".log")
    for start, end, *_ in killed.frames(".log"):
        fs = killed.flipped(path, 8 * ((start + end) // 2))
        with told(f"the middle of bytes {start} to {end} of {path.name}"):
            expected = fates(killed, fs)
            assert fates(killed, fs) == expected, "opened again"
            fs.remove(killed.folder / "test-queue-0.index")
            assert fates(killed, fs) == expected, "opened again, from the log alone"
        injected["damage met at three openings"] += 1


def fates(spoiled, fs):
    """Open and return what is known of each message, and the next number."""
    rig = spoiled.opened(fs)
    try:
        known = {s: (rig.state(s), rig.outcome(s)) for s in VALUES}
        return known, rig.engine._queue.next_sequence % SKIPPED, dict(rig.engine._queue.counters.dead)
    finally:
        rig.kill()


def test_what_a_checkpoint_covers_is_found_when_it_is_read(closed):
    path = closed.file(".log")
    for byte in range(len(closed.bytes_of(path))):
        fs = closed.flipped(path, 8 * byte + byte % 8)
        touched, kind = closed.touched(".log", byte)
        with told(f"bit {byte % 8} of byte {byte} of {path.name}, {kind} of {touched}"):
            reading = aftermath(closed, fs, touched=touched, kind=kind, saved=True)
            if kind is Died or (kind is Enqueued and touched & {2, 3, 4, 5}):
                assert reading.corrupt_records > 0
                assert is_kept(closed, fs, path)
        injected["flipped bit of a log"] += 1


@pytest.mark.parametrize("way", ["killed", "closed"])
def test_every_bit_of_the_results_is_missed(way, killed, closed):
    spoiled = killed if way == "killed" else closed
    path = spoiled.file(".results")
    for bit in range(0, 8 * len(spoiled.bytes_of(path)), 1 if way == "killed" else SOME):
        fs = spoiled.flipped(path, bit)
        touched, _ = spoiled.touched(".results", bit // 8)
        if way == "killed" and bit // 8 in OPENING:
            touched = {0}  # it is not known what this was, so the ack that no later one proves does not count
        with told(f"bit {bit} of {path.name}, of {touched}"):
            reading = results_aftermath(spoiled, fs, touched)
            assert reading.corrupt_records > 0
            assert is_kept(spoiled, fs, path)
        injected["flipped bit of the results"] += 1


def results_aftermath(spoiled, fs, touched):
    """Open and look: an ack without its result counts for nothing, or says that the result is gone."""
    rig = spoiled.opened(fs)
    try:
        rig.check()
        found = rig.outcome(0)
        assert found == ("returned", ("done", VALUES[0])) or (found is None and touched == {0})
        assert rig.outcome(1) == ("failed", "no 1")
        rig.clock.moment += 100
        rig.expire()
        seen = rig.drain(want=1)
        assert {s: VALUES[s] for s in seen} == seen
        assert {2, 3, 4, 5} <= set(seen) <= {0, 2, 3, 4, 5}
        return rig.engine.reading()
    finally:
        rig.kill()


def test_every_bit_of_a_checkpoint_is_missed_and_the_log_says_the_same(closed):
    path = closed.file(".index")
    expected = state(closed, twin(closed.fs))
    for bit in range(8 * len(closed.bytes_of(path))):
        fs = closed.flipped(path, bit)
        with told(f"bit {bit} of the checkpoint"):
            assert state(closed, fs, damaged=1) == expected
            assert is_kept(closed, fs, path)
            if bit % 32 == 0:
                aftermath(closed, closed.flipped(path, bit))
        injected["flipped bit of a checkpoint"] += 1


def state(spoiled, fs, damaged=0):
    """Open and return what is known of the queue."""
    rig = spoiled.opened(fs)
    try:
        assert rig.engine.reading().corrupt_records == damaged
        return comparable(rig.engine._queue, spoiled.moment)
    finally:
        rig.kill()


@pytest.mark.parametrize("name", ["lock", "reserve"])
def test_no_bit_of_a_file_without_records_matters(closed, name):
    path = closed.folder / name
    expected = state(closed, twin(closed.fs))
    for bit in range(0, 8 * min(len(closed.bytes_of(path)), 512), SOME):
        with told(f"bit {bit} of {name}"):
            assert state(closed, closed.flipped(path, bit)) == expected
        injected[f"flipped bit of the {name} file"] += 1


def test_any_bit_of_a_large_batch_is_missed(closed):
    path = closed.file(".batch")
    for bit in range(0, 8 * len(closed.bytes_of(path)), SOME):
        fs = closed.flipped(path, bit)
        with told(f"bit {bit} of the large batch"):
            rig = closed.opened(fs)
            seen = ends(rig)[1]
            assert seen == {s: VALUES[s] for s in (2, 4, 5)}
            assert rig.outcome(3) == ("failed", "damaged")
            assert rig.engine.reading().corrupt_records > 0
            assert is_kept(closed, fs, path)
            rig.kill()
        injected["flipped bit of a large batch"] += 1


def test_a_log_cut_at_any_byte_of_its_last_put_loses_that_at_most(killed):
    path = killed.file(".log")
    start, end, last, _ = killed.frames(".log")[-1]
    for length in range(start, end):
        fs = killed.with_bytes(path, killed.bytes_of(path)[:length])
        with told(f"cut to {length} bytes"):
            reading = gone(killed, fs, last)
            assert reading.corrupt_records == 0, "a write that was cut off is no damage"
        injected["write that was cut off"] += 1


def gone(spoiled, fs, lost):
    """Open and look: the messages of the last put are not there, as if nobody had put them."""
    rig = spoiled.opened(fs)
    try:
        rig.check()
        assert {s: rig.state(s) for s in lost} == dict.fromkeys(lost, "unknown")
        rig.clock.moment += 100
        rig.expire()
        assert rig.drain(want=1) == {s: VALUES[s] for s in (2, 3, 4)}
        assert rig.put("again", producer=BOB) == min(lost), "nobody was answered, so its number is free"
        return rig.engine.reading()
    finally:
        rig.kill()


def tails(spoiled, rng):
    """Yield what may lie behind the end of a log, and what it is."""
    path = spoiled.file(".log")
    whole = spoiled.bytes_of(path)
    yield "zeros", bytes(rng.choice([1, 8, 512, 4096, 70_000]))
    yield "random bytes", rng.randbytes(rng.choice([1, 7, 8, 100, 513, 5000]))
    start, end, *_ = rng.choice(spoiled.frames(".log"))
    yield "a frame of the same segment", bytes(rng.choice([0, 8, 64])) + whole[start:end]
    yield "the same segment", whole
    yield "frames of the results", spoiled.bytes_of(spoiled.file(".results"))[64:]
    other = Spoiled(closed=False)
    yield "frames of another queue", other.bytes_of(other.file(".log"))[rng.choice([0, 64, start]) :]
    other.end()
    yield "half a frame", whole[start : start + rng.randrange(1, end - start)]


@pytest.mark.parametrize("seed", seeds(15))
def test_what_lies_behind_the_end_is_never_served(killed, seed):
    path = killed.file(".log")
    for name, tail in tails(killed, random.Random(seed)):
        fs = killed.with_bytes(path, killed.bytes_of(path) + tail)
        with told(f"{name}, {len(tail)} bytes"):
            aftermath(killed, fs)
        injected[f"tail: {name}"] += 1


def test_a_copy_of_a_segment_inside_a_message_of_it_is_never_served(killed):
    rig = killed.opened(twin(killed.fs))
    rig.put("a victim", producer=BOB)
    path = max(path for path in rig.fs._files if path.suffix == ".log")
    rig.put(*(bytes(pad) + bytes(rig.fs._files[path].data) for pad in range(8)), producer=BOB)
    rig.kill()
    rig.fs.remove(killed.folder / "test-queue-0.index")
    size = len(rig.fs._files[path].data)
    for place in range(size - 3000, size, 37):
        fs = twin(rig.fs)
        fs._files[path].data[place] ^= 0x10
        with told(f"byte {place} of {path.name}"):
            again = killed.opened(fs)
            _, seen = ends(again)
            assert seen == {s: VALUES[s] for s in (2, 3, 4, 5)} | {6: "a victim"}
            assert again.engine.reading().corrupt_records > 0
            again.kill()
        injected["damage round a copy of the log"] += 1


@pytest.mark.parametrize("seed", seeds(250))
def test_whatever_is_damaged_at_once_nothing_is_served_that_was_not_put(killed, closed, seed):
    rng = random.Random(seed)
    spoiled = rng.choice([killed, closed])
    fs = twin(spoiled.fs)
    whole = (".log", ".results", ".index", ".batch")
    paths = [path for path in fs._files if path.suffix in whole]
    for _ in range(rng.randrange(1, 5)):
        data = fs._files[rng.choice(paths)].data
        start = rng.randrange(len(data))
        end = min(start + rng.choice([1, 8, 64, 512]), len(data))
        data[start:end] = rng.choice(
            [bytes(end - start), rng.randbytes(end - start), bytes(data[: end - start])]
        )
        if rng.random() < 0.2:
            del data[rng.randrange(64, max(len(data), 65)) :]
    try:
        rig = spoiled.opened(fs)
    except FolderError:
        assert not names_its_queue(spoiled, fs) or not has_frames_left(spoiled, fs), (
            "it could have been opened"
        )
        return
    rig.check()
    for s in VALUES:
        found = rig.outcome(s)
        assert found in (None, ("failed", "damaged"), ("failed", "no 1"), ("returned", ("done", VALUES[0])))
    rig.clock.moment += 100
    rig.expire()
    seen = rig.drain(want=1)
    assert {s: VALUES[s] for s in seen} == seen
    rig.kill()
    injected["several damages at once"] += 1


def names_its_queue(spoiled, fs):
    paths = [spoiled.file(".log"), spoiled.file(".results")]
    return any(bytes(fs._files[path].data[:64]) == spoiled.bytes_of(path)[:64] for path in paths)


def has_frames_left(spoiled, fs):
    data = bytes(fs._files[spoiled.file(".log")].data)
    whole = spoiled.bytes_of(spoiled.file(".log"))
    return any(data[start:end] == whole[start:end] for start, end, *_ in spoiled.frames(".log"))
