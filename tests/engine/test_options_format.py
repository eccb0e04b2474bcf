"""A golden queue with everything in it that can be chosen for a message; every later version must open it.

The golden folder of a released version is never made again: reading it is the promise.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from daskqueue.core import reads
from daskqueue.core.tally import State
from daskqueue.message import Run, Terms
from daskqueue.storage.fs import LocalFileSystem

from .bench import Bench

GOLDEN = Path(__file__).parent / "golden" / "v1-options" / "default-queue-0"
MAKE = "DASKQUEUE_MAKE_GOLDEN_OPTIONS"
HINT = f"to make it for the first time: {MAKE}=1 .venv/bin/pytest {Path(__file__).name}"
BEGIN = 1_000_000.0  # what the hand-wound clock of the bench shows
CHOSEN = Terms(
    7, BEGIN + 9e8, "", "pending", 60.0, 10.0, 2.0, 30.0, ("builtins.OSError",), ("builtins.ValueError",)
)


def fill(folder):
    bench = Bench(LocalFileSystem(), folder).open()
    put = bench.put
    put("done", terms=Terms(key="done", key_seconds=9e8))  # 0
    bench.ack(bench.lease())
    put("letter", terms=Terms(priority=9))  # 1
    bench.nack(bench.lease())
    put("running", "second", "third", terms=Terms(priority=8, group="g"))  # 2, 3, 4
    running = bench.lease()
    bench._soon(bench.engine.leases.progress, running.receipt, 2, b"7 of 10")
    put("asked")  # 5
    bench.lease()
    bench.cancel(5)
    put("snoozed")  # 6
    snoozed = bench.lease()
    bench._soon(bench.engine.leases.release, snoozed.receipt, [Run(6, 7)], 9e8)
    put("pending", expires=9e8, not_before=BEGIN + 8e8, terms=CHOSEN._replace(expires_at=None))  # 7
    put("cancelled", terms=Terms(key="cancelled", key_seconds=9e8))  # 8
    bench.cancel(8)
    put("expired", expires=1.0)  # 9
    bench.clock.moment += 1.0
    bench.expire()
    assert put("matched", terms=Terms(key="pending")) == -1 - 7
    bench.reopen()  # the next segment carries the keys of what has ended
    put("plain")  # 10
    bench.close()
    bench.clear_away()


@pytest.fixture
def golden(tmp_path):
    if os.environ.get(MAKE) and not GOLDEN.exists():
        fill(GOLDEN)
    assert GOLDEN.exists(), HINT
    return Path(shutil.copytree(GOLDEN, tmp_path / GOLDEN.name))


@pytest.mark.parametrize("checkpointed", [True, False], ids=["with its checkpoint", "from the log alone"])
def test_a_golden_queue_with_all_options_opens_with_all_that_is_in_it(golden, checkpointed):
    if not checkpointed:
        (golden / "default-queue-0.index").unlink()
    bench = Bench(LocalFileSystem(), golden).open(create=False)
    try:
        bench.check()
        look_at(bench.engine._queue)
        assert bench.outcome(1) == ("failed", "no 1")
        assert [bench.outcome(sequence)[0] for sequence in (0, 8, 9)] == ["returned", "cancelled", "expired"]
        assert bench.lease().values == {10: "plain"}, "2 is leased, 3 and 4 wait for it"
        bench.lose("carol")
        assert bench.state(5) == "settled", "it was asked to end, so it does not run again"
        assert bench.lease(consumer="dave").values == {2: "running"}
        bench.clock.moment = BEGIN + 8e8
        assert bench.lease(consumer="erin").values == {7: "pending"}
    finally:
        bench.clear_away()


def look_at(queue):
    states = [
        (Run(0, 1), State.SETTLED), (Run(1, 2), State.DEAD), (Run(2, 3), State.LEASED),
        (Run(3, 5), State.DELAYED), (Run(5, 6), State.LEASED), (Run(6, 8), State.DELAYED),
        (Run(8, 10), State.SETTLED), (Run(10, 11), State.READY),
    ]  # fmt: skip
    assert reads.state_of(queue, Run(0, 11)) == states
    assert list(queue.terms) == [
        (1, 2, Terms(priority=9)), (2, 5, Terms(priority=8, group="g")), (7, 8, CHOSEN),
    ]  # fmt: skip
    assert [letter.died_at for _, letter in reads.dead_letters(queue)] == [BEGIN]
    assert queue.groups.turn("g") == 2
    assert queue.notes == {2: b"7 of 10"}
    assert reads.asked_of(queue, "carol") == (Run(5, 6),)
    holders = {key: queue.keys.holder(key, BEGIN + 2) for key in ("done", "pending", "cancelled", "free")}
    assert holders == {"done": 0, "pending": 7, "cancelled": 8, "free": None}
    counters = queue.counters
    assert (counters.matched, counters.snoozed, counters.expired, counters.cancelled) == (1, 1, 1, 1)
