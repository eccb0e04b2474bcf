"""Facts that no queue ever wrote, in any order: the state stays one that a queue can work with, and is emptied."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import msgpack
import pytest

from daskqueue.core import commands, reads
from daskqueue.core.apply import apply
from daskqueue.core.decide import decide
from daskqueue.core.encode import decode, encode
from daskqueue.core.facts import Committed, Enqueued
from daskqueue.core.invariants import check_shape
from daskqueue.core.queue import Queue, Settings
from daskqueue.core.snapshot import carry, restore, snapshot
from daskqueue.core.special import waiting_in
from daskqueue.engine.book import Book, load
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import CorruptionError, FormatError
from daskqueue.message import Run, Terms
from daskqueue.storage.segment import Position, Stretch

from .injected import injected, seeds
from .rubbish import CONSUMERS, any_fact, bend, bent, changed

STORIES = 60  # a test case
SETTINGS = Settings(max_losses=3)


class Worker:
    """Works with a queue whose past makes no sense; every fact that follows must be one that can be read."""

    def __init__(self, queue, rng, book=None):
        self.queue = queue
        self.rng = rng
        self.book = book
        self.at = 1 << 20
        self.now = 2.0
        self.requests = 1000

    def do(self, command):
        decision = decide(self.queue, command, self.now)
        for fact in decision.facts:
            self.enter(fact)
        check_shape(self.queue)
        return decision.reply

    def enter(self, fact):
        """Let a fact take effect; with a book, in all that is known of the queue."""
        assert fact.volatile or decode(*encode(fact)) == fact
        if self.book is None or fact.volatile:
            apply(self.queue, fact)
        else:
            self.book.enter(fact, Stretch(0, self.at, 64))
            self.at += 64

    def lease(self, consumer, want=100):
        self.requests += 1
        self.do(commands.Pause(False))
        return self.do(commands.Lease(consumer, "pool", self.requests, want, 10.0))

    def turn(self, number):
        self.now += self.rng.choice((0, 1, 20, 200))
        verb = self.rng.randrange(7)
        if verb == 0:
            self.do(commands.Put(b"new", number, 2))
            apply(self.queue, Committed(self.queue.next_sequence))
        elif verb < 3 and (grant := self.lease(self.rng.choice(CONSUMERS), self.rng.choice((1, 5)))):
            given = [piece[:2] for piece in grant.pieces]
            end = self.rng.choice(
                (
                    commands.Ack(grant.receipt, given),
                    commands.Nack(grant.receipt, given, "raised", 1.0, False),
                )
            )
            self.do(end)
        elif verb == 3:
            self.do(commands.Expire())
        elif verb == 4:
            self.do(commands.Lose(CONSUMERS))
        elif verb == 5:
            self.do(commands.Redrive())
        else:
            self.do(commands.Move(Run(self.rng.randrange(10), self.rng.randrange(11, 40))))

    def empty(self):
        """Let all messages come to an end."""
        for _ in range(200):
            self.now += 1000
            self.do(commands.Expire())
            if grant := self.lease("erin"):
                self.do(commands.Ack(grant.receipt, [piece[:2] for piece in grant.pieces]))
            elif not self.queue.waiting and not self.queue.in_flight:
                break
        self.do(commands.Discard())


def check_words(queue):
    """What tasks and owners said is kept of those only that are there to hear it."""
    there = {s for first, last, _ in queue.dead for s in range(first, last)}
    leased = {
        s for lease in queue.leases.values() for since, until, _ in lease.runs for s in range(since, until)
    }
    waiting = {
        s for since, until in waiting_in(queue, [(0, queue.next_sequence)]) for s in range(since, until)
    }
    assert queue.notes.keys() <= there | leased | waiting
    assert {s for first, last, _ in queue.asked for s in range(first, last)} <= leased


def living(queue):
    return reads.state_of(queue, Run(0, queue.next_sequence))


@pytest.mark.parametrize("seed", seeds(20))
def test_no_story_is_so_absurd_that_a_queue_cannot_go_on(seed):
    for number in range(STORIES):
        rng = random.Random(seed * 10_000 + number)
        queue = Queue(SETTINGS)
        story = [any_fact(rng) for _ in range(rng.choice((3, 8, 25)))]
        try:
            for fact in story:
                apply(queue, fact)
            worker = Worker(queue, rng)
            worker.do(commands.Restart(queue.epoch + 1, 10.0))
            check_words(queue)
            assert decode(*encode(carry(queue))) == carry(queue)
            again = restore(msgpack.unpackb(msgpack.packb(snapshot(queue))), SETTINGS)
            assert living(again) == living(queue)
            for turn in range(12):
                worker.turn(turn)
            worker.empty()
            assert queue.waiting == queue.in_flight == queue.dead.count == queue.terms.count == 0
            assert not queue.groups.lines
        except Exception as error:
            error.add_note(f"seed {seed}, story {number}: {story}")
            raise
        injected["absurd history"] += 1


def test_a_key_that_a_pending_message_has_is_not_kept_for_another_one_as_well():
    queue = Queue(SETTINGS)
    apply(queue, Enqueued(0, 1, b"p", 0, 0, None, Terms(key="k", key_seconds=9.0)))
    apply(queue, replace(carry(queue), kept_keys=(("k", 0, 50.0), ("l", 0, 50.0))))
    assert queue.keys.pending == {"k": 0}
    assert list(queue.keys.kept) == ["l"]
    injected["absurd history"] += 1


@pytest.mark.parametrize("seed", seeds(20))
def test_what_is_known_beside_the_state_survives_absurd_stories_and_their_checkpoint(seed):
    for number in range(STORIES):
        rng = random.Random(seed * 10_000 + number)
        book, at = Book(Queue(SETTINGS)), 64
        story = [any_fact(rng) for _ in range(rng.choice((3, 8, 25)))]
        try:
            for fact in story:
                book.enter(fact, Stretch(0, at, 64))
                at += 64
            position = Position(0, at)
            saved = load(book.dump(position, 5.0), position, QueueSettings(max_losses=3))
            assert living(saved.book.queue) == living(book.queue)
            assert saved.book.positions.dump() == book.positions.dump()
            assert saved.book.sizes.dump() == book.sizes.dump()
            assert math.isfinite(book.sizes.total)
        except Exception as error:
            error.add_note(f"seed {seed}, story {number}: {story}")
            raise
        injected["absurd history"] += 1


@pytest.mark.parametrize("seed", seeds(10))
def test_a_fact_is_read_or_refused_and_what_was_read_can_be_written(seed):
    rng = random.Random(seed)
    refused = 0
    for _ in range(400):
        kind, data = bent(rng, any_fact(rng))
        data = rng.choice((data, data, changed(rng, data)))
        try:
            fact = decode(kind, data)
        except CorruptionError:
            refused += 1
        else:
            assert fact is not None
            assert decode(*encode(fact)) == fact
            apply(Queue(SETTINGS), fact)
        injected["nonsense in a fact"] += 1
    assert refused


@pytest.mark.parametrize("seed", seeds(10))
def test_a_checkpoint_that_makes_no_sense_is_refused_or_harmless(seed):
    rng = random.Random(seed)
    book, at = Book(Queue(SETTINGS)), 64
    for _ in range(12):
        book.enter(any_fact(rng), Stretch(0, at, 64))
        at += 64
    position = Position(0, at)
    payload = book.dump(position, 5.0)
    refused = 0
    for _ in range(150):
        try:
            saved = load(_nonsense(rng, payload), position, QueueSettings(max_losses=3))
        except (CorruptionError, FormatError):
            refused += 1
        else:
            work_with(saved.book, rng)
        injected["nonsense in a checkpoint"] += 1
    assert refused


def test_a_checkpoint_with_a_message_in_two_states_is_refused():
    book = Book(Queue(SETTINGS))
    book.enter(Enqueued(0, 3, b"p", 0, 1), Stretch(0, 64, 64))
    rows = msgpack.unpackb(book.dump(Position(0, 128), 5.0))
    ready, dead = rows[0][4], rows[0][6]
    assert (ready, dead) == ([[0, 3, 0, 0, 1]], [])
    dead.append([1, 2, "raised", 1, 0, 1])
    with pytest.raises(CorruptionError, match="in two states"):
        load(msgpack.packb(rows), Position(0, 128), QueueSettings())
    injected["nonsense in a checkpoint"] += 1


def _nonsense(rng, payload):
    """Return a checkpoint with changed bytes, or with anything at all in one of its places."""
    if rng.random() < 0.3:
        return changed(rng, payload)
    rows = msgpack.unpackb(payload)
    bend(rng, rows)
    return msgpack.packb(rows)


def work_with(book, rng):
    """Open the queue with this book and use it; whatever it says, the code must cope."""
    queue = book.queue
    check_shape(queue)
    worker = Worker(queue, rng, book)
    worker.do(commands.Restart(queue.epoch + 1, 10.0))
    for number in range(6):
        worker.do(commands.Put(b"new", 100 + number, rng.choice((1, 3))))
    apply(queue, Committed(queue.next_sequence))
    for turn in range(8):
        worker.turn(200 + turn)
    worker.empty()
    book.dump(Position(0, worker.at), worker.now)
