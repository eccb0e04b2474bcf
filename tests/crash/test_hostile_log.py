"""Whole frames that say nonsense, in a real log: the queue opens, serves what it can, and goes on."""

from __future__ import annotations

import pickle
import random
from itertools import count

import pytest
from engine.bench import ALICE, PLENTY, Bench

from daskqueue.batch import Batch, encode_items
from daskqueue.core.encode import decode
from daskqueue.core.facts import Enqueued, Moved, Progressed
from daskqueue.core.invariants import check_shape
from daskqueue.core.tally import Receipt
from daskqueue.engine.large import Reference
from daskqueue.engine.records import OUTCOME, Outcome, Witness, fact_frame, outcome_frame, witness_bytes
from daskqueue.errors import CorruptionError, QueueFullError
from daskqueue.message import PutOptions, Run
from daskqueue.results import encode_results
from daskqueue.storage.log import Position

from .injected import injected, seeds
from .rubbish import any_fact, bent, changed, runs

BATCH = encode_items(["one", "two", "three"])


@pytest.fixture
def bench(monkeypatch):
    """A queue in memory, in whose process nothing is unpickled."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("something was unpickled")

    for name in ("loads", "load", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    opened = Bench().open()
    yield opened
    opened.clear_away()


def attachment(rng):
    """Return bytes that stand beside a fact."""
    witness = Witness(Position(rng.randrange(3), 64), Position(1 << 63, rng.randrange(1 << 20)))
    return rng.choice(
        (
            b"", BATCH, rng.randbytes(40), changed(rng, BATCH), witness_bytes(witness), BATCH + BATCH,
            Reference("00" * 16, 1 << 40).pack(), len(BATCH).to_bytes(4, "little") + BATCH + BATCH,
        )
    )  # fmt: skip


def nonsense(rng):
    """Return a frame of the log: a fact that no queue wrote, or none at all."""
    kind, parts = rng.choice((fact_frame(any_fact(rng)), fact_frame(any_fact(rng), attachment(rng))))
    payload = b"".join(bytes(part) for part in parts)
    which = rng.random()
    if which < 0.5:
        return kind, [payload]
    if which < 0.7:
        kind, data = bent(rng, any_fact(rng))
        return kind, [len(data).to_bytes(4, "little"), data, attachment(rng)]
    if which < 0.9:
        return kind, [changed(rng, payload)]
    return rng.randrange(16, 256), [rng.randbytes(rng.randrange(50))]


def told_nonsense(rng):
    """Return a frame of the results."""
    blob = rng.choice((b"", BATCH, encode_results([1, 2])[0], rng.randbytes(40), changed(rng, BATCH)))
    outcome = Outcome(rng.choice(("returned", "failed", "odd")), "pool", "carol", runs(rng), blob, "", 5.0)
    kind, parts = outcome_frame(outcome)
    if rng.random() < 0.5:
        return kind, parts
    return OUTCOME, [changed(rng, b"".join(map(bytes, parts)))]


def lease_and_ack(bench, numbers):
    """Let a consumer take and ack all there is, without a look at any value."""
    seen = []
    for _ in range(200):
        leased = bench.run(bench.engine.leases.lease("erin", "pool", next(numbers), 100, PLENTY))
        if leased is None:
            bench.clock.moment += 1000
            bench.expire()
            counts = bench.engine.counts()
            if not counts.ready and not counts.leased:  # what is due in a million years may stay
                return seen
            continue
        for part in leased.slices:
            assert Batch.parse(part.data).count == part.size
            seen += range(part.first, part.first + part.size)
        taken = [Run(part.first, part.first + part.size) for part in leased.slices]
        bench._soon(bench.engine.leases.ack, Receipt(leased.lease, leased.epoch), taken, None)
    raise AssertionError(f"it is never empty: {bench.counts}")


def look_at_all(bench):
    """Ask all that can be asked of a queue."""
    engine = bench.engine
    bench.run(engine.overview.peek(100, PLENTY))
    engine.overview.stats()
    engine.reading()
    bench.run(engine.dead.page(0, 100, PLENTY, whole=True))
    bench.run(engine.endings.outcomes(Run(0, 100)))
    bench.run(engine.endings.page("pool", None, PLENTY))
    engine.notes(Run(0, 100))


@pytest.mark.parametrize("seed", seeds(50))
def test_a_log_with_nonsense_in_it_is_opened_served_emptied_and_opened_again(bench, seed):
    rng = random.Random(seed)
    numbers = count()
    frames = [nonsense(rng) for _ in range(rng.choice((1, 4, 12)))]
    try:
        bench.put("a", "b", "c", retries=1)
        bench.engine._files.log.append(frames)
        bench.engine._outcomes.log.append([told_nonsense(rng) for _ in range(3)])
        bench.put("d")
        bench.reopen(kill=True)
        check_shape(bench.engine._queue)
        look_at_all(bench)
        bench.run(bench.engine.pause(False))
        first = bench.put("new")
        assert first in lease_and_ack(bench, numbers)
        look_at_all(bench)
        bench.run(bench.engine.dead.redrive(None, None))
        bench.run(bench.engine.dead.purge(None))
        bench.purge()
        before = bench.counts
        bench.reopen()
        assert bench.counts == before
        bench.reopen(kill=True)
        assert bench.counts == before
    except Exception as error:
        error.add_note(
            f"seed {seed}: {[(kind, b''.join(map(bytes, parts)).hex()) for kind, parts in frames]}"
        )
        raise
    injected["nonsense in a log"] += len(frames) + 3


@pytest.mark.parametrize("seed", seeds(15))
def test_nonsense_that_is_no_fact_takes_nothing_from_others(bench, seed):
    rng = random.Random(seed)
    expected = {}
    for turn in range(4):
        first = bench.put(*[f"{turn}-{step}" for step in range(3)])
        expected |= {first + step: f"{turn}-{step}" for step in range(3)}
        bench.engine._files.log.append([unreadable(rng)])
        injected["nonsense in a log"] += 1
    bench.reopen(kill=True)
    assert bench.engine._files.recovered.damaged_frames == 4
    assert lease_and_ack(bench, count()) == sorted(expected)


@pytest.mark.parametrize(
    "frame",
    [
        fact_frame(Enqueued(3, 5, b"mallory", 0, 0), BATCH),
        fact_frame(Enqueued(3, 3, b"mallory", 0, 0), b"no record batch"),
        fact_frame(Moved(((0, 1, 0, 0, 0), (2, 3, 0, 0, 0))), len(BATCH).to_bytes(4, "little"), BATCH),
        fact_frame(Moved(((1, 2, 0, 0, 0),)), b"\xff\xff\xff\xff", BATCH),
    ],
    ids=["a put of more than there is", "a put of nothing", "a move with a hole", "a move with a lie"],
)
def test_a_record_that_contradicts_what_lies_beside_it_counts_for_nothing(bench, frame):
    bench.put("a", "b", "c")
    bench.engine._files.log.append([frame])
    bench.reopen(kill=True)
    assert bench.engine._files.recovered.damaged_frames == 1
    assert bench.put("d") >= 3
    assert lease_and_ack(bench, count())[:3] == [0, 1, 2]
    injected["nonsense in a log"] += 1


def test_a_put_that_claims_older_numbers_takes_nothing_from_their_messages(bench):
    bench.put("a", "b", "c")
    bench.engine._files.log.append([fact_frame(Enqueued(1, 3, b"mallory", 0, 0), BATCH)])
    bench.reopen(kill=True)
    assert lease_and_ack(bench, count()) == [0, 1, 2, 3]
    injected["nonsense in a log"] += 1


def unreadable(rng):
    """Return a frame of a kind that is known, with a fact that is none."""
    while True:
        kind, data = bent(rng, any_fact(rng))
        try:
            decode(kind, data)
        except CorruptionError:
            return kind, [len(data).to_bytes(4, "little"), data, attachment(rng)]


def test_a_put_beyond_the_last_number_is_refused_and_the_queue_lives_on(bench):
    bench.put("a")
    bench.engine._files.log.append(
        [fact_frame(Progressed((1 << 40) - 1, b"of the last message there can be"))]
    )
    bench.reopen(kill=True)
    with pytest.raises(QueueFullError, match="all the numbers"):
        bench.run(bench.engine.put(ALICE, [(77, BATCH, PutOptions())]))
    assert lease_and_ack(bench, count()) == [0]
    bench.reopen()
    injected["nonsense in a log"] += 1
