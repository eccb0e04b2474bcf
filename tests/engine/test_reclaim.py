"""A long history in small segments: the disk stays bounded, what lives is moved on, nothing comes back."""

from __future__ import annotations

import itertools

import pytest
from core.stage import comparable

from daskqueue.engine import outcome_log
from daskqueue.message import Run
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.memory import MemoryFileSystem

SEGMENT = 4096


@pytest.fixture
def small(make_bench, fs):
    """An open queue with small segments on each file system."""
    return make_bench(fs, segment_bytes=SEGMENT)


@pytest.fixture
def small_results(monkeypatch):
    """Results' segments are small too."""
    monkeypatch.setattr(outcome_log, "SEGMENT_BYTES", SEGMENT)


def segments(bench):
    return [segment.number for segment in bench.engine._files.log.segments]


def pass_through(bench, rounds, size=200, each=4):
    """Let messages come and go; return the last sequence."""
    last = 0
    for _ in range(rounds):
        last = bench.put(*[bytes(size) for _ in range(each)]) + each
        bench.ack(bench.lease(each))
    bench.let_it_work()
    return last


def test_the_disk_stays_bounded_over_a_long_history(make_bench, fs, small_results):
    bench = make_bench(fs, segment_bytes=SEGMENT, result_bytes=4 * SEGMENT)
    sizes = []
    for _ in range(10):
        pass_through(bench, 50)
        sizes.append(bench.disk_bytes())
    assert max(sizes) < 12 * SEGMENT
    assert sizes[-1] < 1.5 * sizes[2]
    assert len(segments(bench)) <= 4
    bench.reopen(kill=True)
    assert bench.engine._files.recovered.frames < 200
    assert bench.drain() == {}


@pytest.mark.parametrize("kill", [False, True], ids=["closed", "killed"])
def test_nothing_is_resurrected(small, kill):
    total = pass_through(small, 100)
    small.put("alive")
    for _ in range(3):
        small.reopen(kill=kill)
        assert small.counts == {"ready": 1, "delayed": 0, "leased": 0, "dead": 0}
    assert small.drain() == {total: "alive"}
    small.reopen(kill=kill)
    small.clock.moment += 100
    small.expire()
    assert small.lease() is None


def test_a_few_survivors_in_old_segments_are_moved_forward(small):
    """Ready, delayed and dead ones; with their bytes, tallies and times."""
    delayed = small.put("delayed", delay=10_000.0, retries=2)
    dead = small.put("dead")
    small.nack(small.lease(1), [dead])
    retried = small.put("retried", retries=5)
    small.nack(small.lease(1), [retried])
    first = segments(small)[0]
    pass_through(small, 100)
    assert segments(small)[0] > first
    assert len(segments(small)) <= 6
    for kill in (False, True):
        small.reopen(kill=kill)
        assert small.state(delayed) == "delayed"
        assert small.outcome(dead) == ("failed", f"no {dead}")
    small.clock.moment += 10_000.0
    seen = small.drain()
    assert seen == {delayed: "delayed", retried: "retried"}
    assert small.outcome(dead) == ("failed", f"no {dead}")


def test_moved_survivors_are_moved_again_and_again(small):
    small.put("delayed", delay=1e9)
    small.put("dead")
    small.nack(small.lease(1))
    for _ in range(8):
        pass_through(small, 40)
        small.reopen(kill=True)
    assert len(segments(small)) <= 8
    assert small.outcome(1) == ("failed", "no 1")
    small.clock.moment += 1e9
    assert small.drain() == {0: "delayed"}


def test_a_moved_message_that_is_acked_does_not_come_back(small):
    small.put("delayed", delay=1e6)
    pass_through(small, 60)
    small.clock.moment += 1e6
    assert small.drain() == {0: "delayed"}
    for _ in range(2):
        pass_through(small, 60)
        small.reopen(kill=True)
        small.clock.moment += 100
        small.expire()
        assert small.counts["ready"] == 0


def test_a_leased_message_stays_readable_while_history_goes_on(small):
    small.put("slow")
    hand = small.lease(1, consumer="slowpoke")
    for _ in range(5):
        small.clock.moment += 9
        small._soon(small.engine.leases.extend, "slowpoke", [hand.receipt.lease])
        pass_through(small, 30)
    again = small.lease(1, consumer="slowpoke", request=0)
    assert again.values == hand.values
    small.lose("slowpoke")
    assert small.drain() == {0: "slow"}


def test_dead_letters_of_different_kinds_keep_each_its_own_failure(make_bench, fs):
    """Moved together: with a failure, without one (their process died), with another reason."""
    bench = make_bench(fs, segment_bytes=SEGMENT, max_losses=1)
    bench.put(*[f"message {number}" for number in range(6)])
    bench.nack(bench.lease(1), reason="raised")
    bench.lease(1)
    bench.lose("carol")
    bench.nack(bench.lease(1), reason="cannot_load", final=True)
    bench.lease(1)
    bench.lose("carol")
    hand = bench.lease(2)
    bench.nack(hand, [4, 5])
    wanted = [
        ("failed", "no 0"),
        ("failed", "crash_loop"),
        ("failed", "no 2"),
        ("failed", "crash_loop"),
        ("failed", "no 4"),
        ("failed", "no 5"),
    ]
    assert [bench.outcome(sequence) for sequence in range(6)] == wanted
    first = segments(bench)[0]
    for kill in (False, True):
        pass_through(bench, 60)
        assert segments(bench)[0] > first
        assert [bench.outcome(sequence) for sequence in range(6)] == wanted
        assert len(bench.run(bench.engine.endings.outcomes(Run(0, 6)))) >= 3
        bench.reopen(kill=kill)
        assert [bench.outcome(sequence) for sequence in range(6)] == wanted


def test_dead_letters_that_died_in_another_segment_are_moved_with_their_failures(small):
    small.put("a", "b", "c")
    hand = small.lease(3, consumer="slow")
    for sequence in range(3):
        pass_through(small, 10)
        small._soon(small.engine.leases.extend, "slow", [hand.receipt.lease])
        small.nack(hand, [sequence])
    first = segments(small)[0]
    pass_through(small, 80)
    assert segments(small)[0] > first
    small.reopen(kill=True)
    assert [small.outcome(sequence) for sequence in range(3)] == [("failed", f"no {s}") for s in range(3)]


def test_a_damaged_frame_among_survivors_shifts_no_message(make_bench):
    """What is moved are the messages that can be read, each under its own number."""
    bench = make_bench(LocalFileSystem(), segment_bytes=SEGMENT)
    for number in range(5):
        bench.put(f"survivor {number}", delay=1e6)
    path = bench.folder / f"{segments(bench)[0]:020d}.log"
    bench.close()
    data = path.read_bytes()
    place = data.index(b"survivor 1")
    path.write_bytes(data[:place] + b"X" + data[place + 1 :])
    bench.open(create=False)
    pass_through(bench, 100)
    bench.clock.moment += 1e6
    seen = bench.drain()
    assert {sequence: value for sequence, value in seen.items() if isinstance(value, str)} == {
        sequence: f"survivor {sequence}" for sequence in (0, 2, 3, 4)
    }
    assert bench.counts["ready"] == bench.counts["leased"] == 0


def test_dead_letters_here_and_there_do_not_keep_what_lies_between_them(make_bench, fs):
    """One task in 1,200 fails for good: what is kept are those with their chunks, not all their neighbours."""
    bench = make_bench(fs, segment_bytes=128 << 10)
    sizes = []
    for turn in range(60):
        bench.put(*["x" * 200 for _ in range(300)])
        hand = bench.lease(300)
        bad = [300 * turn + 50] if turn % 4 == 0 else []
        bench.nack(hand, bad, final=True)
        bench.ack(hand, sorted(set(hand.values) - set(bad)))
        bench.let_it_work()
        sizes.append(sum(segment.length for segment in bench.engine._files.log.segments))
    assert bench.counts["dead"] == 15
    assert max(sizes) < 3 << 19, sizes  # of 3.7 MB that went through
    assert bench.outcome(50) == ("failed", "no 50")


def test_disk_is_bounded_though_the_oldest_segment_is_full_of_survivors(small):
    """A backlog that never moves (delayed, dead) must not keep all later history."""
    while len(segments(small)) < 3:
        small.put(*[bytes(100) for _ in range(4)], delay=1e9)
        small.let_it_work()
    backlog = small.disk_bytes()
    sizes = []
    for _ in range(6):
        pass_through(small, 60)
        sizes.append(sum(segment.length for segment in small.engine._files.log.segments))
    assert sizes[-1] < 3 * backlog + 8 * SEGMENT, f"{backlog} bytes of backlog, {sizes} on the disk"


def test_producers_are_remembered_across_dropped_segments(small):
    small.put("first", number=1000)
    small.drain()
    pass_through(small, 100)
    small.reopen(kill=True)
    small.put("second", number=1001)
    small.drain()
    last = small.put("third", number=1002)
    assert small.put("third", number=1002) == last
    assert small.put("second", number=1001) == last - 1
    assert small.drain() == {last: "third"}


def test_results_are_bounded_by_bytes_and_the_oldest_go_first(make_bench, fs, small_results):
    bench = make_bench(fs, segment_bytes=SEGMENT, result_bytes=3 * SEGMENT)
    for number in range(200):
        bench.put(number)
        bench.ack(bench.lease(), results=[bytes(200)])
        bench.let_it_work()
    kept = bench.results()
    assert 10 < len(kept) < 100
    assert set(kept) == set(range(200 - len(kept), 200))
    assert bench.outcome(199) == ("returned", bytes(200))
    assert bench.outcome(0) is None
    assert bench.state(0) == "settled"
    bench.reopen(kill=True)
    assert set(bench.results()) == set(kept)
    assert bench.outcome(0) is None


def test_results_are_bounded_by_age(make_bench, fs, small_results):
    bench = make_bench(fs, segment_bytes=SEGMENT, result_ttl_seconds=1000.0)
    for number in range(60):
        bench.put(number)
        bench.ack(bench.lease(), results=[bytes(200)])
        bench.let_it_work()
        bench.clock.moment += 10
    assert len(bench.results()) == 60
    bench.clock.moment += 700
    for number in range(60, 90):
        bench.put(number)
        bench.ack(bench.lease(), results=[bytes(200)])
        bench.let_it_work()
    kept = bench.results()
    assert set(range(60, 90)) <= set(kept)
    assert 0 not in kept
    assert len(kept) < 70


def test_old_results_may_be_dropped_before_anybody_asked_for_them(make_bench, fs, small_results):
    """After a restart they are not read until then, and must not be missed then."""
    bench = make_bench(fs, segment_bytes=SEGMENT, result_bytes=3 * SEGMENT)
    for number in range(40):
        bench.put(number)
        bench.ack(bench.lease(), results=[bytes(200)])
    bench.reopen(kill=True)
    for number in range(40, 140):
        bench.put(number)
        bench.ack(bench.lease(), results=[bytes(200)])
        bench.let_it_work()
    kept = bench.results()
    assert set(kept) == set(range(140 - len(kept), 140))
    assert bench.outcome(0) is None


def test_pages_go_on_where_segments_were_dropped_in_between(make_bench, fs, small_results):
    bench = make_bench(fs, segment_bytes=SEGMENT, result_bytes=3 * SEGMENT)
    for number in range(30):
        bench.put(number)
        bench.ack(bench.lease(), results=[bytes(200)])
        bench.let_it_work()
    page = bench.run(bench.engine.endings.page("pool", None, 1000))
    for number in range(30, 130):
        bench.put(number)
        bench.ack(bench.lease(), results=[bytes(200)])
        bench.let_it_work()
    rest = set()
    after = page.after
    while after is not None:
        page = bench.run(bench.engine.endings.page("pool", after, 1000))
        rest |= {run.first for part in page.outcomes for run in part.runs}
        after = page.after
    assert {128, 129} <= rest


def test_a_checkpoint_makes_no_difference_to_what_is_recovered(small):
    steps = itertools.cycle(["ack", "nack", "final", "release", "cancel"])
    for number in range(120):
        small.put(f"message {number}", retries=1, delay=float(number % 7 == 0) * 50)
        step = next(steps)
        if step == "cancel":
            small.cancel(number)
            continue
        hand = small.lease(1)
        if hand is None:
            continue
        sequences = sorted(hand.values)
        if step == "ack":
            small.ack(hand)
        elif step == "release":
            small.release(hand, sequences)
        else:
            small.nack(hand, final=step == "final")
        small.clock.moment += 0.7
    live = comparable(small.engine._queue, small.clock.moment)
    small.kill()
    index = small.folder / f"{small.folder.name}.index"
    copy = _copy(small.fs, small.folder)
    small.open(create=False)
    with_checkpoint = comparable(small.engine._queue, small.clock.moment)
    small.kill()
    _restore(small.fs, small.folder, copy, without=index.name)
    small.open(create=False)
    without = comparable(small.engine._queue, small.clock.moment)
    assert with_checkpoint == without
    assert with_checkpoint["messages"] == live["messages"]
    assert with_checkpoint["counters"] == live["counters"]
    assert with_checkpoint["producers"] == live["producers"]


def _copy(fs, folder):
    copy = {}
    for name in fs.names(folder):
        handle = fs.open(folder / name)
        copy[name] = fs.read(handle, 0, fs.size(handle))
        fs.close(handle)
    return copy


def _restore(fs, folder, copy, without):
    for name in fs.names(folder):
        fs.remove(folder / name)
    for name, data in copy.items():
        if name != without:
            handle = fs.create(folder / name)
            fs.write(handle, [data])
            fs.close(handle)


@pytest.mark.parametrize("damage", ["missing", "empty", "flipped", "foreign", "temporary"])
def test_an_index_that_cannot_be_used_is_done_without(make_bench, damage):
    bench = make_bench(MemoryFileSystem(), segment_bytes=SEGMENT)
    total = pass_through(bench, 40)
    bench.put("alive")
    bench.close()
    index = bench.folder / f"{bench.folder.name}.index"
    handle = bench.fs.open(index)
    data = bytearray(bench.fs.read(handle, 0, bench.fs.size(handle)))
    bench.fs.close(handle)
    if damage != "temporary":
        bench.fs.remove(index)
    flipped = bytes([*data[:-1], data[-1] ^ 1])
    content = {"empty": b"", "flipped": flipped, "foreign": b"PNG" + data, "temporary": b"half"}.get(damage)
    if content is not None:
        handle = bench.fs.create(index.with_name(index.name + ".tmp") if damage == "temporary" else index)
        bench.fs.write(handle, [content])
        bench.fs.close(handle)
    bench.open(create=False)
    assert bench.drain() == {total: "alive"}
