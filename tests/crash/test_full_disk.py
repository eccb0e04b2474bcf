"""A full disk takes nothing new; what was accepted is handed out, settled and read, and it goes on by itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from engine.bench import ALICE, Bench, HandClock

from daskqueue.batch import encode_items
from daskqueue.engine import room
from daskqueue.engine.opening import open_files
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import DiskFullError
from daskqueue.message import PutOptions
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.memory import MemoryFileSystem
from daskqueue.storage.reserve import SMALLEST_BYTES

from .customers import Customers
from .faulty import BLOCK, FaultyDisk
from .injected import injected, seeds
from .rig import HandLoop, Rig

KIB = 1 << 10


@pytest.fixture
def loop():
    made = HandLoop()
    yield made
    made.close()


@pytest.fixture
def make(loop):
    """Opens queues on small disks."""
    made = []

    def make(kib=256, **settings):
        rig = Rig(loop, FaultyDisk(size_bytes=kib * KIB), **{"segment_bytes": 64 * KIB, **settings})
        made.append(rig)
        return rig.open()

    yield make
    for rig in made:
        rig.check()
        rig.clear_away()


def put_until_full(rig, size=1000):
    """Put until the disk is full; return what was accepted, and the refusal."""
    accepted = {}
    while True:
        value = f"{len(accepted)} {'x' * size}"
        try:
            accepted[rig.put(value)] = value
        except DiskFullError as error:
            injected["disk full"] += 1
            return accepted, error


def work_off(rig, want=7):
    """Lease and ack as a consumer does that is refused now and then; return what it has got."""
    seen, hands = {}, []
    for _ in range(2000):
        try:
            while hands:
                rig.ack(hands[-1], results=[None] * len(hands[-1].values))
                hands.pop()
            hand = rig.lease(want)
        except DiskFullError:
            look_for_room(rig)
            continue
        if hand is None:
            return seen
        seen |= hand.values
        hands.append(hand)
    raise AssertionError("it is not worked off")


def look_for_room(rig):
    """Let the time go by after which a full disk is looked at again."""
    for _ in range(2):
        rig.tick()


def fill(disk):
    """Let somebody else take all that is left."""
    disk.foreign_bytes += disk.free_bytes
    injected["disk filled by others"] += 1


def test_a_full_disk_says_where_how_much_and_what_to_do(make):
    rig = make()
    _, error = put_until_full(rig)
    assert str(rig.folder) in str(error)
    assert "bytes are free" in str(error)
    assert "Delete something" in str(error)
    assert error.retryable
    assert rig.engine.reading().full
    assert rig.engine.failure is None


def test_what_a_full_disk_holds_is_handed_out_acked_and_found_and_that_makes_room(make):
    rig = make()
    accepted, _ = put_until_full(rig)
    assert work_off(rig) == accepted
    assert rig.results() == dict.fromkeys(accepted)
    look_for_room(rig)
    first = rig.put("there is room again")
    assert first == len(accepted)
    assert not rig.engine.reading().full
    assert rig.drain() == {first: "there is room again"}


def test_nothing_is_needed_but_time_when_others_give_back_the_room(make):
    rig = make()
    rig.put("before")
    fill(rig.fs)
    with pytest.raises(DiskFullError):
        rig.put("x" * 5000)
    rig.fs.foreign_bytes = 0
    look_for_room(rig)
    assert not rig.engine.reading().full
    assert rig.drain() == {0: "before"}


def test_failures_and_leases_and_results_go_on_while_others_fill_the_disk(make):
    rig = make()
    for number in range(6):
        rig.put(f"message {number}")
    fill(rig.fs)
    hand = rig.lease(2)
    rig.ack(hand, [0])
    rig.nack(hand, [1], final=True)
    hand = rig.lease(2)
    rig.release(hand, [2])
    rig.cancel(5)
    rig.ack(hand, [3])
    rig.tick()
    assert rig.outcome(1) == ("failed", "no 1")
    assert rig.outcome(5) == ("cancelled", "")
    assert rig.results() == {0: ("done", "message 0"), 3: ("done", "message 3")}
    rig.reopen(kill=True)
    assert rig.drain() == {2: "message 2", 4: "message 4"}


def test_a_note_of_progress_takes_no_reserve_but_prolongs_the_lease(make):
    rig = make()
    rig.put("long")
    hand = rig.lease()
    fill(rig.fs)
    rig.clock.moment += 8.0
    reserve = rig.engine._files.reserve
    before = reserve.size
    assert rig._soon(rig.engine.leases.progress, hand.receipt, 0, b"n" * 8000)
    assert reserve.size == before
    rig.clock.moment += 8.0
    rig.expire()
    assert rig.state(0) == "leased"


@pytest.mark.parametrize("kill", [False, True], ids=["closed", "killed"])
def test_a_queue_opens_on_a_full_disk_and_is_worked_off(make, kill):
    rig = make()
    accepted, _ = put_until_full(rig)
    fill(rig.fs)
    seen = {}
    for _ in range(3):
        rig.reopen(kill=kill)
        hand = rig.lease(5)
        seen |= hand.values
        rig.ack(hand)
    assert seen.items() <= accepted.items()
    rig.fs.foreign_bytes = 0
    rig.reopen(kill=kill)
    assert work_off(rig) == {s: value for s, value in accepted.items() if s not in seen}


def test_with_the_reserve_used_up_acks_are_refused_and_count_when_there_is_room(make):
    """The consumer keeps what it has done, and its lease."""
    rig = make(results="durable")
    for number in range(40):
        rig.put(f"message {number}")
    hand = rig.lease(40)
    fill(rig.fs)
    refused = set()
    for sequence in range(40):
        try:
            rig.ack(hand, [sequence], results=[bytes(1500)])
        except DiskFullError:
            refused.add(sequence)
            injected["reserve used up"] += 1
    assert refused
    assert all(rig.state(sequence) == "leased" for sequence in refused)
    assert all(rig.state(sequence) == "settled" for sequence in set(range(40)) - refused)
    with pytest.raises(DiskFullError):
        rig.put("more")
    rig.clock.moment += 9.0
    assert rig._soon(rig.engine.leases.extend, "carol", [hand.receipt.lease]) == (hand.receipt.lease,)
    rig.fs.foreign_bytes = 0
    for sequence in refused:
        assert rig.ack(hand, [sequence], results=[bytes(1500)]) == 0
    rig.tick()
    assert rig.results() == {sequence: bytes(1500) for sequence in range(40)}
    assert rig.put("more") == 40
    assert rig.engine._files.reserve.size >= SMALLEST_BYTES


def test_leases_leave_a_part_of_the_reserve_to_acks(make):
    rig = make()
    for number in range(400):
        rig.put(f"message {number}")
    fill(rig.fs)
    hands = []
    with pytest.raises(DiskFullError):
        hands.extend(rig.lease(1, consumer=f"consumer {number}") for number in range(400))
    for hand in hands:
        rig.ack(hand, results=[None])
    assert rig.engine._queue.counters.acked == len(hands) > 10


def test_a_queue_full_of_its_own_settled_messages_frees_itself_again_and_again(make):
    """Not by a checkpoint, which has no room; nothing comes back, and no restart is needed."""
    rig = make(kib=320, results="none")
    total = 0
    for _ in range(5):
        accepted, _ = put_until_full(rig, size=3000)
        assert len(accepted) > 20
        total += len(accepted)
        fill(rig.fs)
        assert work_off(rig, want=3) == accepted
        rig.fs.foreign_bytes = 0
        look_for_room(rig)
    rig.reopen(kill=True)
    assert rig.engine.enqueued == total
    assert rig.drain() == {}


def test_a_few_messages_that_wait_do_not_keep_a_disk_full(make):
    rig = make(kib=1024, segment_bytes=4 << 20, results="none")
    rig.put("later", delay=1e6)
    accepted, _ = put_until_full(rig, size=4000)
    assert work_off(rig) == accepted
    look_for_room(rig)
    again, _ = put_until_full(rig, size=4000)
    assert len(again) > len(accepted) / 2
    rig.clock.moment += 1e6
    assert work_off(rig) == {0: "later"} | again


# Halves


def puts(*values, first=0, **options):
    return [(first + step, encode_items([value]), PutOptions(**options)) for step, value in enumerate(values)]


def test_of_a_call_with_several_batches_those_that_fit_are_answered_and_the_others_can_be_said_again(make):
    rig = make()
    big = "x" * 60_000
    batches = puts("one", big, big, big, big, big, "the last")
    firsts = rig.run(rig.engine.put(ALICE, batches))
    assert 1 < len(firsts) < len(batches)
    injected["disk full"] += 1
    with pytest.raises(DiskFullError):
        rig.run(rig.engine.put(ALICE, batches[len(firsts) :]))
    # What was answered is durable, can be leased, and is known when it is said again, full disk or not.
    assert rig.run(rig.engine.put(ALICE, batches[: len(firsts)])) == firsts
    rig.fs.size_bytes *= 4
    assert rig.run(rig.engine.put(ALICE, batches)) == list(range(7))
    assert rig.engine.enqueued == 7
    assert list(rig.drain().values()) == ["one", *[big] * 5, "the last"]


def test_a_put_that_has_no_room_makes_none_in_the_queue(make):
    """Those that would have been dropped for it stay."""
    rig = make(max_messages=3)
    for number in range(3):
        rig.put(number)
    fill(rig.fs)
    injected["disk full"] += 1
    with pytest.raises(DiskFullError):
        rig.put("x" * 5000, drop_oldest=True)
    rig.reopen(kill=True)
    assert rig.counts["ready"] == 3
    rig.fs.foreign_bytes = 0
    rig.put("new", drop_oldest=True)
    assert rig.outcome(0) == ("displaced", "")
    assert rig.drain() == {1: 1, 2: 2, 3: "new"}


@pytest.mark.parametrize("verb", ["cancel", "purge"])
@pytest.mark.parametrize("results", ["durable", "none"])
def test_a_cancel_without_room_has_not_happened_and_leaves_no_trace(make, verb, results):
    rig = make(results=results)
    rig.put("a", "b")
    reserve = rig.engine._files.reserve
    fill(rig.fs)
    reserve.fill(0)  # nothing is left of it
    fill(rig.fs)
    for file in (rig.engine._files.log, rig.engine._files.outcomes.log):
        file.append = _no_room(file.append, allowed=file is not rig.engine._files.log)
    with pytest.raises(DiskFullError):
        rig.cancel(0, 1) if verb == "cancel" else rig.purge()
    assert rig.counts["ready"] == 2
    rig.fs.foreign_bytes = 0
    for file in (rig.engine._files.log, rig.engine._files.outcomes.log):
        del file.append
    assert rig.drain() == {0: "a", 1: "b"}
    kept = ("returned", ("done", "a")) if results == "durable" else None
    assert rig.outcome(0) == kept


def _no_room(append, *, allowed):
    def refuse(frames, reserved=1.0):
        if allowed:
            return append(frames, reserved)
        injected["disk full between two files"] += 1
        raise DiskFullError("no room")

    return refuse


def test_a_large_batch_that_finds_no_room_leaves_no_file(make, monkeypatch):
    monkeypatch.setattr("daskqueue.engine.engine.LARGE_BYTES", 20_000)
    rig = make()
    accepted, _ = put_until_full(rig, size=30_000)
    rig.tick()
    there = {f"{name}.batch" for name in rig.engine._book.large.names}
    assert set(rig.fs.names(rig.folder / "large")) == there
    assert work_off(rig) == accepted


# The reserve itself


def test_the_reserve_follows_what_the_queue_holds(make):
    rig = make(kib=8 * KIB)
    files = rig.engine._files
    assert files.reserve.size == SMALLEST_BYTES
    for number in range(40):
        rig.put(bytes(50_000) + bytes([number]))
    rig.tick()
    assert 500_000 <= files.reserve.size <= 1 << 20
    rig.drain()
    rig.reopen()
    assert rig.engine._files.reserve.size == SMALLEST_BYTES


def test_a_disk_without_reserves_refuses_and_recovers_all_the_same(make):
    rig = make()
    rig.fs.allocate = _unsupported
    room.fill(rig.engine._files)
    rig.fs.remove(rig.folder / "reserve")
    rig.reopen(kill=True)
    accepted, _ = put_until_full(rig)
    rig.fs.size_bytes *= 2
    look_for_room(rig)
    assert not rig.engine.reading().full
    assert rig.put("more") == len(accepted)
    assert len(rig.drain()) == len(accepted) + 1


def _unsupported(handle, length):
    del handle, length
    raise OSError(95, "no such thing here")


def test_a_queue_in_memory_keeps_no_reserve_however_much_it_holds():
    fs, folder = MemoryFileSystem(), Path("/queue")
    files = open_files(fs, folder, {"pid": 1}, QueueSettings(), HandClock(), create=True, on_disk=False)
    assert room.fill(files)
    assert "reserve" not in fs.names(folder)
    files.close()


def test_a_new_queue_with_its_reserve_takes_less_than_64_kib(tmp_path):
    bench = Bench(LocalFileSystem(), tmp_path / "queue").open()
    assert sum(path.stat().st_blocks * 512 for path in bench.folder.rglob("*")) < 64 * KIB
    bench.clear_away()


# A search


@pytest.mark.parametrize("seed", seeds(60))
def test_whoever_fills_the_disk_and_when_nothing_is_lost(loop, seed):
    rng = random.Random(seed)
    size = rng.choice([96, 128, 200, 400]) * KIB
    disk = FaultyDisk(size_bytes=size)
    customers = Customers(loop, disk, segment_bytes=rng.choice([4, 16, 64]) * KIB)
    customers.open()
    try:
        _use_at_random(customers, disk, rng)
        disk.foreign_bytes, disk.size_bytes = 0, 10 * size
        for _ in range(3):
            customers.rest()
        customers.look_at_what_is_left()
    except BaseException as error:
        error.add_note(f"seed {seed}, a disk of {size} bytes")
        raise
    finally:
        customers.bench.clear_away()


def _use_at_random(customers, disk, rng):
    hands = []
    for _ in range(60):
        step = rng.random()
        if step < 0.3:
            _fill_at_random(disk, rng)
        elif step < 0.6:
            customers.try_to_submit(*("x" * rng.choice([10, 500, 4000]) for _ in range(rng.randint(1, 4))))
        elif step < 0.75:
            hand = customers.try_to_take(rng.randint(1, 6))
            hands += [hand] if hand is not None else []
        elif step < 0.9:
            rng.shuffle(hands)
            hands = [hand for hand in hands[:1] if not _acked(customers, hand)] + hands[1:]
        elif step < 0.97:
            customers.rest()
        else:
            _open_again(customers, disk)
    for hand in hands:
        _acked(customers, hand)


def _acked(customers, hand):
    return customers.try_to_ack(hand, sorted(hand.values))


def _fill_at_random(disk, rng):
    part = rng.choice([0.0, 0.3, 0.9, 1.0])
    if not part:
        disk.foreign_bytes = 0
        return
    disk.foreign_bytes += int(part * disk.free_bytes) // BLOCK * BLOCK
    injected["disk filled by others"] += 1


def _open_again(customers, disk):
    try:
        customers.reopen()
    except AssertionError:
        # Each opening takes some of the reserve, and at last there is none.
        assert isinstance(customers.errors[-1], DiskFullError)
        disk.foreign_bytes = 0
        customers.open()
