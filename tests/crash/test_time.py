"""Clocks that step, begin anew or stand still: nothing ends early, nothing waits for ever, no id comes again."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from engine.bench import Bench

from daskqueue import ConsumerPool, QueuePool, clock
from daskqueue.actors.queue_spec import QueueSpec, incarnation_of
from daskqueue.clock import Clock, new_id, new_name
from daskqueue.core.tally import State
from daskqueue.engine import leases
from daskqueue.message import Durability, Terms
from daskqueue.storage.memory import MemoryFileSystem

from .injected import injected

HOUR, DAY = 3600.0, 86400.0
STEPS = pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
MOMENT = 1_800_000_000.0


class Machine:
    """A machine with a wall clock that can be set, and a monotonic one that begins anew at a boot."""

    def __init__(self):
        self.wall, self.monotonic = MOMENT, 1000.0

    def run(self, seconds):
        """Let time go by."""
        self.wall += seconds
        self.monotonic += seconds

    def step(self, seconds):
        """Set the wall clock, as NTP or a person does."""
        self.wall += seconds
        injected["a step of the wall clock"] += 1

    def boot(self, wall=None):
        """Begin anew, with the time that the machine's battery knows."""
        self.monotonic = 0.0
        self.wall = self.wall if wall is None else wall
        injected["a monotonic clock that begins anew"] += 1


class Timed(Bench):
    """A bench whose process reads a machine's clocks as the product does."""

    def __init__(self, machine, **settings):
        super().__init__(MemoryFileSystem(), **settings)
        self.machine = machine

    def open(self, *, create=True):
        self.clock = Clock()
        return super().open(create=create)

    def run_for(self, seconds):
        self.machine.run(seconds)
        self.expire()


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    reads = SimpleNamespace(
        time=lambda: made.wall, monotonic=lambda: made.monotonic, perf_counter=time.perf_counter
    )
    monkeypatch.setattr(clock, "time", reads)
    monkeypatch.setattr(leases, "jitter", lambda: 1.0)
    return made


@pytest.fixture
def start(machine):
    """Opens queues on the machine, and clears them away."""
    with ExitStack() as stack:

        def start(**settings):
            bench = Timed(machine, **settings)
            stack.callback(bench.clear_away)
            return bench.open()

        yield start


def happen(bench, what, step):
    """Let the clock of a queue step while it runs, or at the opening after a close, kill or boot."""
    if what == "running":
        bench.machine.step(step)
        return
    bench.close() if what == "closed" else bench.kill()
    if what == "rebooted":
        bench.machine.boot()
    bench.machine.step(step)
    bench.open(create=False)


WHEN = pytest.mark.parametrize("when", ["running", "closed", "killed", "rebooted"])


# Steps


@STEPS
def test_the_wall_clock_is_read_once(machine, step):
    shown = Clock()
    machine.step(step)
    assert shown.now() == MOMENT
    machine.run(5)
    assert shown.now() == MOMENT + 5


@STEPS
@WHEN
def test_a_lease_ends_neither_early_nor_late(start, when, step):
    bench = start(lease_seconds=60.0, grace_seconds=20.0)
    bench.put("a")
    assert bench.lease().values == {0: "a"}
    bench.machine.run(10)
    happen(bench, when, step)
    left = 50.0 if when == "running" else 20.0
    bench.run_for(left - 0.1)
    assert bench.state(0) == "leased"
    bench.run_for(0.2)
    assert bench.state(0) == "ready"


def waits(bench, seconds):
    """Show that message 0 is not handed out before a time, and is after it."""
    bench.run_for(seconds - 0.1)
    assert bench.lease() is None, "too early"
    bench.run_for(0.2)
    assert 0 in bench.lease().values, "too late"


def left_after(when, step, seconds):
    """Return what a step leaves of a time: an hour forward at an opening counts as an hour of being down."""
    return seconds - HOUR if when != "running" and step > 0 else seconds


@STEPS
@WHEN
def test_a_delay_is_as_long_as_it_was_said(start, when, step):
    bench = start()
    bench.put("later", delay=2 * HOUR)
    bench.put("now")
    bench.machine.run(600)
    bench.ack(bench.lease())
    happen(bench, when, step)
    waits(bench, left_after(when, step, 2 * HOUR - 600))


@STEPS
@WHEN
def test_the_pause_before_a_retry_is_as_long_as_it_was_said(start, when, step):
    bench = start(backoff_seconds=2 * HOUR, backoff_max_seconds=2 * HOUR)
    bench.put("fails", retries=3)
    bench.put("now")
    bench.nack(bench.lease(1))
    bench.machine.run(600)
    bench.ack(bench.lease())
    happen(bench, when, step)
    waits(bench, left_after(when, step, 2 * HOUR - 600))


@STEPS
@WHEN
def test_a_message_expires_when_it_was_said(start, when, step):
    bench = start()
    bench.put("soon over", expires=2 * HOUR)
    bench.put("now")
    bench.machine.run(600)
    bench.cancel(1)
    happen(bench, when, step)
    bench.run_for(left_after(when, step, 2 * HOUR - 600) - 0.1)
    assert bench.state(0) == "ready"
    bench.run_for(0.2)
    assert bench.state(0) == "settled"


@STEPS
@WHEN
def test_a_key_is_taken_as_long_as_it_was_said(start, when, step):
    bench = start()
    keyed = {"terms": Terms(key="a.png", key_seconds=2 * HOUR)}
    bench.put("first", **keyed)
    bench.ack(bench.lease())
    bench.machine.run(600)
    bench.put("other")
    bench.ack(bench.lease())
    happen(bench, when, step)
    bench.machine.run(left_after(when, step, 2 * HOUR - 600) - 0.1)
    assert bench.put("again", **keyed) == -1
    bench.machine.run(0.2)
    assert bench.put("again", **keyed) > 0


@STEPS
@WHEN
def test_results_neither_vanish_at_a_step_nor_stay_for_ever(start, when, step):
    bench = start(result_ttl_seconds=2 * HOUR)
    bench.put("a")
    bench.ack(bench.lease())
    bench.machine.run(600)
    happen(bench, when, step)
    assert bench.outcome(0) == ("returned", ("done", "a"))
    bench.machine.run(left_after(when, step, 2 * HOUR) + 1)
    assert bench.outcome(0) is None or bench.outcome(0)[0] != "returned"
    assert bench.results() == {}


def test_results_of_a_clock_that_was_ahead_go_when_they_are_old(start):
    bench = start(result_ttl_seconds=2 * HOUR)
    bench.machine.step(HOUR)
    bench.reopen()
    bench.put("a")
    bench.ack(bench.lease())
    happen(bench, "closed", -HOUR)
    bench.machine.run(2 * HOUR - 1)
    assert bench.results() == {0: ("done", "a")}
    bench.machine.run(2)
    assert bench.results() == {}


# A boot with the clock at 1970


def test_a_queue_goes_on_from_the_newest_moment_in_its_folder_when_the_clock_is_at_1970(start):
    bench = start(lease_seconds=60.0, grace_seconds=20.0)
    bench.put("done")
    bench.machine.run(10 * DAY)  # since the only checkpoint
    bench.put("later", delay=100.0)
    bench.put("leased")
    bench.ack(bench.lease(1))
    assert bench.lease().values == {2: "leased"}
    bench.kill()
    bench.machine.boot(wall=0.0)
    bench.open(create=False)
    assert bench.clock.now() >= MOMENT + 10 * DAY
    bench.run_for(19.9)
    assert bench.state(2) == "leased"
    bench.run_for(0.2)
    assert bench.state(2) == "ready"
    bench.run_for(79.8)
    assert bench.lease().values == {2: "leased"}
    bench.run_for(0.2)
    assert bench.lease().values == {1: "later"}


def test_no_message_is_fifty_years_old_after_the_clock_was_at_1970(start):
    bench = start()
    bench.put("done")
    bench.ack(bench.lease())
    bench.put("waits")
    bench.kill()
    bench.machine.boot(wall=0.0)
    bench.open(create=False)
    bench.machine.run(60)
    assert bench.engine.reading().oldest_seconds[State.READY] < HOUR
    bench.machine.step(MOMENT)
    bench.reopen(kill=True)
    assert bench.engine.reading().oldest_seconds[State.READY] < HOUR


def test_results_of_a_queue_that_was_opened_in_1970_are_kept_as_long_as_others(start):
    bench = start(result_ttl_seconds=HOUR)
    bench.put("a")
    bench.machine.run(10 * DAY)
    bench.ack(bench.lease())
    bench.kill()
    bench.machine.boot(wall=0.0)
    bench.open(create=False)
    assert bench.results() == {0: ("done", "a")}
    bench.machine.run(HOUR + 1)
    assert bench.results() == {}


# Clocks of others


@STEPS
def test_a_client_whose_clock_is_wrong_by_an_hour_is_served_like_others(
    client, name, tmp_path, monkeypatch, step
):
    reads = SimpleNamespace(
        time=lambda: time.time() + step,
        monotonic=lambda: time.monotonic() + step,
        perf_counter=time.perf_counter,
    )
    monkeypatch.setattr(clock, "time", reads)
    pool = QueuePool(client, 1, durability="durable", dirpath=tmp_path, name=name)
    try:
        consumers = ConsumerPool(client, pool, n_consumers=1)
        consumers.start()
        began = time.monotonic()
        late = pool.options(delay="300ms", expires="30s").submit(sum, [1, 2])
        soon = pool.options(expires="30s").submit(sum, [3, 4])
        assert (soon.result(timeout=20), late.result(timeout=20)) == (7, 3)
        assert 0.3 <= time.monotonic() - began < 15
        consumers.cancel()
    finally:
        pool.close()
    injected["a client whose clock is wrong by an hour"] += 1


# Clocks that stand still


def test_ids_do_not_come_from_the_clock(machine):
    assert len({new_id() for _ in range(1000)} | {new_name().encode() for _ in range(1000)}) == 2000
    spec = QueueSpec("pool", "pool", 0, "key", Durability.TRANSIENT, None, former_incarnation=77)
    incarnations = [incarnation_of(spec) for _ in range(300)]
    assert 77 not in incarnations
    assert len(set(incarnations)) > 100
    assert (machine.wall, machine.monotonic) == (MOMENT, 1000.0)
    injected["a clock that stands still"] += 1


def test_two_queues_of_the_same_moment_have_nothing_in_common(start):
    first, second = start(), start()
    ids = {bench.engine._files.log.queue_id for bench in (first, second)}
    words = {bench.engine._files._lock._word for bench in (first, second)}
    assert (len(ids), len(words)) == (2, 2)
    injected["a clock that stands still"] += 1


def test_no_number_comes_again_though_all_clocks_stand_still(start):
    bench = start()
    sequences, leased, epochs = [], [], []
    for turn in range(6):
        sequences.append(bench.put(f"{turn}"))
        hand = bench.lease(1, request=turn)
        leased.append((hand.receipt.lease, hand.receipt.epoch))
        epochs.append(bench.engine.epoch)
        bench.release(hand, sorted(hand.values))
        bench.reopen(kill=turn % 2 == 0)
    assert sequences == sorted(set(sequences))
    assert len(set(leased)) == 6
    assert epochs == sorted(set(epochs))
    injected["a clock that stands still"] += 1
