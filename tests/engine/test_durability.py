"""What is on the disk when a reply leaves, and what happens when the disk refuses."""

from __future__ import annotations

import asyncio
import errno
from contextlib import ExitStack

import pytest
from storage.faults import FaultyFileSystem

from daskqueue.batch import encode_items
from daskqueue.errors import QueueFailedError, StorageError
from daskqueue.message import PutOptions, Run

from .bench import ALICE, Bench
from .power import PowerCutFileSystem


def survivor_of(bench, **torn):
    """Cut the power; return the bench that opens what is left."""
    fs = bench.fs.after_power_cut(**torn)
    bench.kill()
    other = Bench(fs, bench.folder)
    other.clock.moment = bench.clock.moment
    return other.open(create=False)


@pytest.fixture
def cut(make_bench):
    """Cuts the power of a bench and clears the survivors away."""
    with ExitStack() as stack:

        def cut(bench, **torn):
            survivor = survivor_of(bench, **torn)
            stack.callback(survivor.clear_away)
            stack.callback(survivor.check)
            return survivor

        yield cut


def next_sync(bench):
    """Return an event of the bench's loop that the next sync sets."""
    synced = asyncio.Event()
    bench.fs.on_sync = lambda: bench.loop.call_soon_threadsafe(synced.set)
    return synced


@pytest.mark.parametrize("torn", [0, 1, 7, 40, 10_000])
def test_what_put_returned_survives_a_power_cut(make_bench, cut, torn):
    bench = make_bench(PowerCutFileSystem())
    for number in range(5):
        bench.put(*range(10 * number, 10 * number + 10), number=number)
        bench = cut(bench, torn=torn)
    assert bench.drain() == {number: number for number in range(50)}


@pytest.mark.parametrize("fsync", ["never", "interval:50"])
def test_without_always_put_does_not_wait_for_the_disk(make_bench, cut, fsync):
    bench = make_bench(PowerCutFileSystem(), fsync=fsync)
    before = bench.fs.syncs
    bench.put("a")
    assert bench.fs.syncs == before
    assert bench.lease().values == {0: "a"}
    bench = cut(bench)
    assert bench.drain() == {}


def test_an_interval_puts_it_on_the_disk_soon(make_bench, cut):
    bench = make_bench(PowerCutFileSystem(), fsync="interval:1")
    synced = next_sync(bench)
    bench.put("a")
    bench.run(asyncio.wait_for(synced.wait(), 10))
    bench.let_it_work()
    bench = cut(bench)
    assert bench.drain() == {0: "a"}


def test_with_never_only_a_close_syncs(make_bench, cut):
    bench = make_bench(PowerCutFileSystem(), fsync="never")
    bench.put("a")
    before = bench.fs.syncs
    bench.run(bench.engine.writable())
    assert (bench.fs.syncs, bench.engine._commit._timer) == (before, None)
    fs = bench.fs
    bench.close()
    other = Bench(fs.after_power_cut(), bench.folder).open(create=False)
    assert other.drain() == {0: "a"}
    other.clear_away()


def test_acks_follow_soon_without_being_waited_for(make_bench, cut):
    bench = make_bench(PowerCutFileSystem())
    bench.put("a")
    hand = bench.lease()
    synced = next_sync(bench)
    bench.ack(hand)
    bench.run(asyncio.wait_for(synced.wait(), 10))
    bench.let_it_work()
    bench = cut(bench)
    assert bench.drain() == {}
    assert bench.results() == {0: ("done", "a")}


@pytest.mark.parametrize("torn_suffix", [".log", ".results", ""])
@pytest.mark.parametrize("torn", [0, 30, 100, 10_000])
def test_a_power_cut_leaves_no_ack_without_its_result(make_bench, cut, torn, torn_suffix):
    bench = make_bench(PowerCutFileSystem())
    bench.put(*range(10))
    for number in range(10):
        hand = bench.lease(1)
        bench.ack(hand)
        if number == 4:
            bench.let_it_work()
    bench = cut(bench, torn=torn, torn_suffix=torn_suffix)
    bench.clock.moment += 10
    bench.expire()
    settled = {sequence for sequence in range(10) if bench.state(sequence) == "settled"}
    assert settled >= set(range(5))
    assert settled <= set(bench.results())
    assert set(bench.drain()) == set(range(10)) - settled
    assert bench.results() == {sequence: ("done", sequence) for sequence in range(10)}


def test_a_power_cut_after_a_power_cut_still_tells_results_from_none(make_bench, cut):
    """An ack that did not count once does not count later, when the results' log has grown past it."""
    bench = make_bench(PowerCutFileSystem())
    bench.put(*range(4))
    bench.let_it_work()
    for _ in range(2):
        bench.ack(bench.lease(1))
    bench = cut(bench, torn=10_000, torn_suffix=".log")  # the acks are there, their results are not
    assert bench.results() == {}
    bench.clock.moment += 10
    bench.expire()
    assert bench.lease(4).values == {0: 0, 1: 1}
    bench.ack(bench.lease(4), [2, 3])
    bench.let_it_work()
    index = bench.folder / f"{bench.folder.name}.index"
    bench.fs.remove(index)  # so that all of the log is read again
    bench.kill()
    bench.open(create=False)
    bench.clock.moment += 10
    bench.expire()
    assert bench.results() == {2: ("done", 2), 3: ("done", 3)}
    assert bench.drain() == {0: 0, 1: 1}


def test_puts_that_arrive_together_share_syncs(make_bench):
    bench = make_bench(PowerCutFileSystem())
    before = bench.fs.syncs

    async def many():
        puts = (
            bench.engine.put(ALICE, [(number, encode_items([number]), PutOptions())]) for number in range(200)
        )
        return await asyncio.gather(*puts)

    firsts = bench.run(many())
    assert sorted(first for (first,) in firsts) == list(range(200))
    assert bench.fs.syncs - before <= 6


def test_a_put_is_not_leased_before_it_is_on_the_disk(make_bench):
    """Nobody runs what a power cut could still take back."""
    bench = make_bench(PowerCutFileSystem())

    async def meanwhile():
        putting = asyncio.ensure_future(bench.engine.put(ALICE, [(1, encode_items(["a"]), PutOptions())]))
        await asyncio.sleep(0)
        early = bench.engine.leasable() if not putting.done() else 0
        await putting
        return early, bench.engine.leasable()

    assert bench.run(meanwhile()) == (0, 1)


@pytest.fixture
def faulty(make_bench):
    """An open queue on a disk that can be told to fail."""
    return make_bench(FaultyFileSystem())


def test_a_failed_sync_fails_all_who_wait_for_it(faulty):
    faulty.put("good")
    faulty.fs.fail("sync")

    async def many():
        puts = (
            faulty.engine.put(ALICE, [(10 + number, encode_items([number]), PutOptions())])
            for number in range(10)
        )
        return await asyncio.gather(*puts, return_exceptions=True)

    answers = faulty.run(many())
    assert all(isinstance(answer, QueueFailedError) for answer in answers)
    assert faulty.engine.failure is not None
    # Also later ones: a second sync would prove nothing.
    with pytest.raises(QueueFailedError):
        faulty.put("more")
    with pytest.raises(QueueFailedError):
        faulty.lease()
    faulty.reopen(kill=True)
    assert faulty.drain()[0] == "good"
    assert faulty.put("again") > 0


def test_a_failed_write_fails_the_engine(faulty):
    faulty.put("good")
    faulty.fs.fail("write", after=20)
    with pytest.raises(QueueFailedError):
        faulty.put("bad")
    with pytest.raises(QueueFailedError):
        faulty.put("more")
    faulty.reopen(kill=True)
    assert faulty.drain() == {0: "good"}


def test_closing_a_failed_engine_gives_up_the_folder(faulty):
    faulty.put("good")
    faulty.fs.fail("sync")
    with pytest.raises(QueueFailedError):
        faulty.put("bad")
    faulty.close()
    faulty.open(create=False)
    assert faulty.drain()[0] == "good"


def test_a_full_disk_refuses_puts_and_goes_on_when_there_is_room(faulty):
    faulty.put("a", "b")
    hand = faulty.lease(1)
    faulty.fs.fail("write", errno.ENOSPC, after=10)
    with pytest.raises(StorageError, match="full"):
        faulty.put("c", number=50)
    assert faulty.engine.failure is None
    faulty.ack(hand)
    assert faulty.put("c", number=50) == 2
    assert faulty.drain() == {1: "b", 2: "c"}
    faulty.reopen(kill=True)
    assert set(faulty.results()) == {0, 1, 2}


def test_a_put_that_was_refused_in_the_middle_of_a_call_can_be_said_again(faulty):
    batches = [(number, encode_items([number]), PutOptions()) for number in range(3)]
    faulty.fs.fail("write", errno.ENOSPC)
    with pytest.raises(StorageError):
        faulty.run(faulty.engine.put(ALICE, batches))
    assert faulty.run(faulty.engine.put(ALICE, batches)) == [0, 1, 2]
    assert len(faulty.drain()) == 3


def test_an_ack_on_a_full_disk_keeps_neither_half(faulty):
    faulty.put("a")
    hand = faulty.lease()
    faulty.fs.fail("write", errno.ENOSPC, times=3)  # twice the reserve gives room, in vain
    with pytest.raises(StorageError):
        faulty.ack(hand)
    assert faulty.state(0) == "leased"
    assert faulty.ack(hand) == 0
    assert faulty.results() == {0: ("done", "a")}
    assert faulty.state(0) == "settled"


def test_a_segment_that_cannot_be_begun_leaves_the_old_one_in_use(make_bench):
    bench = make_bench(FaultyFileSystem(), segment_bytes=2000)
    bench.fs.fail("create", errno.ENOSPC, times=3)
    for number in range(40):
        bench.put(bytes(200) + bytes([number]))
        bench.let_it_work()
    assert bench.engine.failure is None
    assert len(bench.engine._files.log.segments) > 2
    bench.reopen(kill=True)
    assert len(bench.drain()) == 40


def test_outcomes_of_a_damaged_results_segment_hurt_no_others(make_bench):
    bench = make_bench(FaultyFileSystem())
    for number in range(3):
        bench.put(number)
        bench.ack(bench.lease())
    folder = bench.folder
    bench.close()
    (path,) = (folder / name for name in bench.fs.names(folder) if name.endswith(".results"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    bench.open(create=False)
    kept = bench.results()
    assert len(kept) == 2
    assert all(value == ("done", sequence) for sequence, value in kept.items())
    for sequence in range(3):
        outcome = bench.outcome(sequence)
        assert outcome == (("returned", ("done", sequence)) if sequence in kept else None)
    assert bench.engine.states(Run(0, 3))[0][1] == "settled"
