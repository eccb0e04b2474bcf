"""Large record batches in files of their own: there before the log speaks of them, gone when nobody needs them."""

from __future__ import annotations

import pytest

from daskqueue.engine import batches, engine
from daskqueue.errors import QueueFullError, StorageError

BIG = "x" * 5000


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    """Let a few kilobytes be a large batch."""
    monkeypatch.setattr(engine, "LARGE_BYTES", 4000)


def files(bench):
    folder = bench.folder / "large"
    return sorted(bench.fs.names(folder)) if bench.fs.exists(folder) else []


def test_a_large_batch_lies_beside_the_log_until_its_last_message_is_settled(bench):
    bench.put(BIG, "second")
    bench.put("small")
    assert len(files(bench)) == 1
    assert bench.engine._files.log.size_bytes < 4000
    assert bench.engine.reading().message_bytes > 5000
    bench.ack(bench.lease(1))
    bench.let_it_work()
    assert len(files(bench)) == 1
    assert bench.drain() == {1: "second", 2: "small"}
    bench.let_it_work()
    assert files(bench) == []
    assert bench.outcome(0) == ("returned", ("done", BIG))


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "closed"])
def test_large_batches_are_there_after_a_restart(bench, kill):
    bench.put(BIG, "a")
    bench.put(BIG, "b")
    bench.ack(bench.lease(3))
    bench.reopen(kill=kill)
    assert len(files(bench)) == 1
    assert bench.drain() == {3: "b"}
    bench.reopen(kill=kill)
    assert files(bench) == []


@pytest.mark.parametrize("end", ["cancel", "purge", "nack"])
def test_whatever_ends_the_messages_removes_the_file_but_dead_letters_keep_it(bench, end):
    bench.put(BIG)
    if end == "cancel":
        bench.cancel(0)
    elif end == "purge":
        bench.purge()
    else:
        bench.nack(bench.lease())
        bench.let_it_work()
        assert len(files(bench)) == 1
        bench.reopen()
        ((row,), _) = bench.run(bench.engine.dead.page(0, 9, 1 << 20, whole=True))
        assert len(row.batch) > 5000
        bench.run(bench.engine.dead.purge(None))
    bench.let_it_work()
    assert files(bench) == []


def test_what_a_crash_left_behind_is_removed_at_the_next_opening(bench):
    bench.put(BIG)
    bench.engine._files.large.write("ab" * 16, b"never spoken of")
    handle = bench.fs.create(bench.folder / "large" / "cd.batch.tmp")
    bench.fs.close(handle)
    assert len(files(bench)) == 3
    bench.reopen(kill=True)
    assert len(files(bench)) == 1
    assert bench.drain() == {0: BIG}


def test_a_put_that_is_refused_or_comes_twice_leaves_no_file(make_bench, fs):
    bench = make_bench(fs, max_messages=1)
    bench.put(BIG, number=1)
    bench.put(BIG, number=1)
    with pytest.raises(QueueFullError):
        bench.put(BIG, number=2)
    bench.let_it_work()
    assert len(files(bench)) == 1


def test_a_full_disk_refuses_the_put_and_the_queue_goes_on(bench, monkeypatch):
    def full(_name, _data):
        raise StorageError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(bench.engine._files.large, "write", full)
        with pytest.raises(StorageError, match="no space"):
            bench.put(BIG)
    bench.put("small")
    assert bench.drain() == {0: "small"}


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_damaged_file_costs_its_own_messages_and_is_never_unpickled(bench, damage):
    bench.put(BIG)
    bench.put("small")
    path = bench.folder / "large" / files(bench)[0]
    handle = bench.fs.open(path)
    data = bytearray(bench.fs.read(handle, 0, bench.fs.size(handle)))
    bench.fs.close(handle)
    bench.fs.remove(path)
    if damage != "gone":
        data[3000] ^= 1
        handle = bench.fs.create(path)
        bench.fs.write(handle, [data[:3000] if damage == "cut" else data])
        bench.fs.close(handle)
    assert bench.lease().values == {1: "small"}
    assert bench.outcome(0)[0] == "failed"
    assert bench.engine.dead.count() == {"damaged": 1}


def test_survivors_of_an_old_segment_move_into_the_log(make_bench, fs):
    bench = make_bench(fs, segment_bytes=4096)
    bench.put(BIG, retries=0)
    bench.nack(bench.lease())
    for _ in range(60):
        bench.put(*("x" * 50 for _ in range(20)))
        bench.drain()
        bench.let_it_work()
    assert bench.engine._files.log.segments[0].number > 0
    assert files(bench) == []
    bench.reopen(kill=True)
    ((row,), _) = bench.run(bench.engine.dead.page(0, 9, 1 << 20, whole=True))
    assert len(row.batch) > 5000
    bench.run(bench.engine.dead.redrive(None, None))
    assert bench.drain() == {0: BIG}


def test_one_that_is_larger_than_the_cache_is_not_kept_in_memory(quick, monkeypatch):
    monkeypatch.setattr(batches, "CACHE_BYTES", 1000)
    quick.put(BIG)
    quick.put(BIG)
    hand = quick.lease(max_bytes=100_000)
    assert list(hand.values.values()) == [BIG, BIG]
    assert quick.engine._reader._cached_bytes == 0


def test_a_lease_is_bounded_by_the_bytes_of_large_batches_too(quick):
    for _ in range(4):
        quick.put(BIG)
    assert len(quick.lease(max_bytes=11_000).values) == 2
