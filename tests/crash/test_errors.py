"""Whatever call of the disk is refused, with whatever error: a typed error, nothing lost, and it goes on."""

from __future__ import annotations

import errno
import random
from collections import Counter

import pytest

from .customers import Customers
from .faulty import REFUSALS, Fault, FaultyDisk
from .injected import ROUNDS, injected, seeds
from .rig import HandLoop, small

MODES = ("durable", "memory", "none")


@pytest.fixture(scope="module")
def loop():
    """One event loop for all: nothing outlives its test in it."""
    made = HandLoop()
    yield made
    made.close()


def tell(customers):
    """Put, lease, ack, fail, cancel, look, close; small and large, so that files are sealed, moved and dropped."""
    customers.open()
    for turn in range(5):
        sequences = customers.submit(*(f"message {turn} {step} {'x' * 60}" for step in range(4)))
        if turn % 2:
            customers.submit("large " + "y" * 2000, delay=500.0 if turn == 3 else 0.0)
        if turn == 1:
            customers.cancel(sequences[3])
        customers.rest()
        while (hand := customers.take(3)) is not None:
            if not hand.values:
                continue  # none of them could be read; they come again later
            customers.say(hand)
            first, *others = sorted(hand.values)
            if turn == 2 and first == sequences[0]:
                customers.fail(hand, [first])
            else:
                customers.ack(hand, [first])
            if others:
                customers.ack(hand, others)
        customers.rest()
        if turn == 2:
            customers.look()
            customers.close()
    customers.submit("left over", "and another", retries=2)
    hand = customers.take(1)
    if hand.values:
        customers.retry(hand, sorted(hand.values))
    customers.rest()


def story(loop, disk, mode, **settings):
    customers = Customers(loop, disk, results=mode, **settings)
    with small(large_bytes=1500, checkpoint_bytes=2000, results_bytes=1200):
        try:
            tell(customers)
        except BaseException:
            customers.bench.clear_away()
            raise
    return customers


@pytest.fixture(scope="module")
def calls(loop):
    """How often the story calls each verb, by mode."""
    counted = {}
    for mode in MODES:
        disk = FaultyDisk()
        customers = story(loop, disk, mode)
        counted[mode] = Counter(disk.calls)
        customers.look_at_what_is_left()
        assert not customers.errors
        customers.bench.clear_away()
    return counted


def faults(verb, count, mode):
    """Yield calls of a verb with errors; in a longer search each call with each error."""
    numbers = REFUSALS[verb]
    for nth in range(1, count + 1):
        if ROUNDS > 1:
            yield from (Fault(verb, nth, number) for number in numbers)
        elif mode == "durable" or nth % 2:
            yield Fault(verb, nth, numbers[nth % len(numbers)])
            if verb in ("create", "sync"):
                yield Fault(verb, nth, numbers[0])
        if verb == "write" and (mode == "durable" or nth % 2):
            yield Fault(verb, nth, errno.ENOSPC, part=0.5)
            yield Fault(verb, nth, errno.EIO, part=0.9)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("verb", sorted(REFUSALS))
def test_a_refused_call_is_a_typed_error_and_loses_nothing(loop, calls, verb, mode):
    for fault in faults(verb, calls[mode][verb], mode):
        disk = FaultyDisk(fault)
        try:
            customers = story(loop, disk, mode)
            customers.look_at_what_is_left()
            customers.close()
            assert customers.bench.engine.reading().corrupt_records == 0
            there, needed = customers.large_files
            assert there == needed
            customers.bench.clear_away()
        except BaseException as error:
            error.add_note(f"results={mode!r}, {fault}")
            raise
        assert disk.met
        injected[f"{verb} refused"] += 1


def test_a_sync_that_fails_once_and_then_succeeds_proves_nothing(loop, calls):
    """Pages that were not written count as written: a power cut shows what the next sync was worth."""
    for nth in range(1, calls["durable"]["sync"] + 1):
        for number in REFUSALS["sync"]:
            fault = Fault("sync", nth, number)
            disk = FaultyDisk(fault)
            try:
                customers = story(loop, disk, "durable")
                customers.bench.let_it_work()
                customers.bench.kill()
                customers.bench.fs = disk.after_power_cut()
                customers.bench.open(create=False)
                customers.look_at_what_is_left()
                customers.bench.clear_away()
            except BaseException as error:
                error.add_note(f"power cut after {fault}")
                raise
            assert disk.met
            injected["sync that fails once, then a power cut"] += 1


@pytest.mark.parametrize("fsync", ["never", "interval:20"])
def test_a_failed_sync_takes_nothing_from_those_who_did_not_wait_for_it(loop, fsync):
    plain = FaultyDisk()
    story(loop, plain, "durable", fsync=fsync).bench.clear_away()
    for nth in range(1, plain.calls["sync"] + 1):
        disk = FaultyDisk(Fault("sync", nth, errno.EIO))
        try:
            customers = story(loop, disk, "durable", fsync=fsync)
            customers.look_at_what_is_left()
            customers.bench.clear_away()
        except BaseException as error:
            error.add_note(f"sync number {nth}")
            raise
        injected["sync refused"] += 1


@pytest.mark.parametrize("seed", seeds(60))
def test_a_disk_that_refuses_again_and_again_loses_nothing_that_was_durable(loop, seed):
    """Also while the queue is busy with the refusal before, and while it opens again."""
    disk = FaultyDisk(rng=random.Random(seed))
    disk.chance = 0.008
    customers = Customers(loop, disk)
    with small(large_bytes=1500, checkpoint_bytes=2000, results_bytes=1200):
        try:
            tell(customers)
            disk.chance = 0.0
            customers.reopen()
            customers.look_at_what_is_left(sure=False)
        except BaseException as error:
            error.add_note(f"seed {seed}, {disk.refused} calls refused: {customers.errors[-5:]}")
            raise
        finally:
            disk.chance = 0.0
            customers.bench.clear_away()
    injected["refused in a row"] += disk.refused


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.parametrize("large", [False, True], ids=["log", "large file"])
def test_what_cannot_be_read_for_a_while_is_neither_damaged_nor_lost_and_holds_up_nobody(loop, number, large):
    """Not a loss is counted, however long it takes; what can be read goes on."""
    disk = FaultyDisk()
    with small(large_bytes=1500, checkpoint_bytes=1 << 20, results_bytes=1 << 20):
        customers = Customers(loop, disk, segment_bytes=1 << 20, max_losses=1)
        bench = customers.bench
        customers.open()
        customers.submit("y" * 3000 if large else "here and there")
        customers.reopen()  # nothing is in memory any more
        unreadable = set(disk._files)
        customers.submit("readable")
        verb = "open" if number == errno.EMFILE or large else "read"
        refused = getattr(disk, verb)

        def refuse(*args):
            where = args[0] if verb == "open" else _path_of(disk, args[0])
            if where in unreadable and where.suffix in {".log", ".batch"}:
                injected["read refused for long"] += 1
                raise OSError(number, "not now")
            return refused(*args)

        setattr(disk, verb, refuse)
        for segment in bench.engine._files.log.segments:
            bench.engine._files.log._reader.forget(segment.number)  # it is opened when it is read next
        seen = {}
        for _ in range(10):
            while (hand := bench.lease(10)) is not None:
                seen |= hand.values
                if hand.values:
                    bench.ack(hand)
            bench.clock.moment += 10.0
            bench.expire()
        assert seen == {1: "readable"}
        assert bench.counts["dead"] == 0
        delattr(disk, verb)
        hand = bench.lease(10)
        assert set(hand.values) == {0}
        assert bench.engine._queue.counters.dead == {}
        bench.ack(hand)
        bench.clear_away()


def _path_of(disk, handle):
    return next((path for path, file in disk._files.items() if file is disk._open[handle]), None)
