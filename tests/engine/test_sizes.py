"""How many bytes the messages take that are not settled: known at any time, and right after any restart."""

from __future__ import annotations

import random

import pytest

from daskqueue.engine.sizes import Sizes
from daskqueue.errors import QueueFullError
from daskqueue.message import Run


def bytes_of(bench):
    return bench.engine.reading().message_bytes


def test_bytes_come_with_puts_and_go_with_whatever_ends_messages(bench):
    assert bytes_of(bench) == 0
    bench.put("x" * 1000)
    assert 1000 < bytes_of(bench) < 1400
    bench.put("y" * 1000)
    bench.put("z" * 1000, delay=5.0)
    assert 3000 < bytes_of(bench) < 4200
    bench.ack(bench.lease(1))
    assert 2000 < bytes_of(bench) < 2800
    bench.cancel(1)
    assert 1000 < bytes_of(bench) < 1400
    bench.purge()
    assert bytes_of(bench) == 0


def test_dead_letters_do_not_count_until_they_are_redriven(bench):
    bench.put("x" * 1000)
    before = bytes_of(bench)
    bench.nack(bench.lease())
    assert bytes_of(bench) == 0
    bench.reopen()
    bench.run(bench.engine.dead.redrive(None, None))
    assert bytes_of(bench) == before
    bench.nack(bench.lease())
    bench.run(bench.engine.dead.purge(None))
    assert bytes_of(bench) == 0


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "closed"])
def test_the_bytes_are_the_same_after_a_restart(bench, kill):
    for size in (10, 5000, 20, 30, 70_000):
        bench.put("x" * size, "y" * size, "z")
    bench.ack(bench.lease(4))
    bench.nack(bench.lease(2))
    before = bytes_of(bench)
    assert before > 60_000
    bench.reopen(kill=kill)
    assert bytes_of(bench) == pytest.approx(before, rel=0.01)


def test_a_part_of_a_batch_takes_its_share(bench):
    bench.put(*("x" * 1000 for _ in range(10)))
    whole = bytes_of(bench)
    bench.ack(bench.lease(3))
    assert bytes_of(bench) == pytest.approx(0.7 * whole, rel=0.02)


def test_a_queue_takes_no_more_bytes_than_it_may(make_bench, fs):
    bench = make_bench(fs, max_bytes=5000)
    for _ in range(4):
        bench.put("x" * 1000)
    with pytest.raises(QueueFullError, match="bytes of at most 5000"):
        bench.put("x" * 1000)
    bench.ack(bench.lease(1))
    bench.put("x" * 1000)


def test_a_batch_larger_than_the_bound_goes_into_an_empty_queue_only(make_bench, fs):
    bench = make_bench(fs, max_bytes=5000)
    bench.put("x" * 10_000)
    with pytest.raises(QueueFullError):
        bench.put("x" * 10_000)


def test_a_put_that_comes_twice_is_not_refused_for_its_bytes(make_bench, fs):
    bench = make_bench(fs, max_bytes=5000)
    bench.put("x" * 4500, number=7)
    assert bench.put("x" * 4500, number=7) == 0


def test_the_oldest_make_room_where_that_was_chosen(make_bench, fs):
    bench = make_bench(fs, max_bytes=5000)
    for _ in range(4):
        bench.put("x" * 1000)
    bench.put("y" * 1000, drop_oldest=True)
    assert bench.outcome(0)[0] == "displaced"
    assert bench.state(4) == "ready"
    assert bytes_of(bench) <= 5000


def test_many_small_puts_share_what_is_remembered():
    sizes = Sizes()
    for sequence in range(10_000):
        sizes.add(sequence, sequence + 1, 90 + sequence % 7)
    assert sizes.total == sum(90 + sequence % 7 for sequence in range(10_000))
    assert len(sizes.dump()[0]) < 20


def test_random_histories_leave_nothing_behind():
    random.seed(7)
    for _ in range(50):
        sizes, last, dead = Sizes(), 0, []
        for _ in range(60):
            step = random.choice("aaarrbvls")
            first = random.randrange(last + 1)
            run = Run(first, min(last, first + random.randrange(1, 9)))
            if step == "a":
                size = random.randrange(1, 9)
                sizes.add(last, last + size, random.choice([size * 10, 40_000, 70_000]))
                last += size
            elif step == "r" and run.first < run.last:
                sizes.remove(*run)
            elif step == "b" and run.first < run.last:
                sizes.bury(*run)
                dead.append(run)
            elif step == "v" and dead:
                sizes.revive(*dead.pop())
            elif step == "l":
                sizes = Sizes.load(sizes.dump())
            live, _ = sizes.dump()
            expected = sum((until - since) * each for since, until, each in live)
            assert sizes.total == pytest.approx(expected, abs=1)
        sizes.remove(0, last)
        assert sizes.total == 0
