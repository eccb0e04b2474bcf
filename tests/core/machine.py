"""A hypothesis machine: any story of commands, restarts and dropped segments, told to queue and model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daskqueue.core import commands, facts
from daskqueue.core.encode import decode, encode
from daskqueue.core.invariants import check
from daskqueue.core.queue import Queue, Settings
from daskqueue.core.runs import Runs, merge
from daskqueue.core.snapshot import carry
from daskqueue.core.tally import Receipt, State
from daskqueue.errors import StaleReceiptError
from daskqueue.message import Run

from .model import Model, ModelLease
from .stage import ALICE, BOB, Stage, matured, view

if TYPE_CHECKING:
    from daskqueue.core.commands import Settled

CONSUMERS = ("carol", "dave", "erin")
CARRIED = encode(carry(Queue()))[0]
producers = st.sampled_from([ALICE, BOB])
consumers = st.sampled_from(CONSUMERS)
counts = st.sampled_from([1, 2, 5, 40])
delays = st.sampled_from([0.0, 0.0, 2.0, 20.0])
fractions = st.floats(0, 1)
wants = st.lists(counts, min_size=1, max_size=3)
often = st.sampled_from([True, True, True, False])
seldom = st.sampled_from([False, False, False, False, False, True])


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(Settings(max_losses=4))
        self.model = Model(max_losses=4)
        self.put_calls: list[commands.Put] = []
        self.requests = 0

    @property
    def now(self) -> float:
        return self.stage.now

    def pick(self, where: float, size: int, *, among: int | None = None) -> Runs:
        """Return a run of at most *size* that begins somewhere below *among* (default: all messages)."""
        first = int(where * (len(self.model.messages) if among is None else among))
        return merge([(first, first + size)])

    # ------------------------------------------------------------------ putting

    @rule(
        producer=producers,
        count=counts,
        retries=st.integers(0, 2),
        delay=delays,
        synced=often,
        dup=fractions,
    )
    def put(self, producer: bytes, count: int, retries: int, delay: float, synced: bool, dup: float) -> None:
        """Put messages; now and then the same call comes again, or an older one."""
        if dup > 0.8 and self.put_calls:
            self._put(self.put_calls[int(dup * 1000) % len(self.put_calls)])
        call = commands.Put(producer, len(self.put_calls), count, retries, delay)
        self.put_calls.append(call)
        self._put(call)
        if synced:
            self.commit(1.0)

    def _put(self, call: commands.Put) -> None:
        due_at = self.now + call.delay if call.delay else None
        expected = self.model.put((call.producer, call.number), call.count, call.retries, due_at)
        assert self.stage.do(call) == expected

    @rule(where=st.sampled_from([1.0, 1.0, 1.0, 0.5]))
    def commit(self, where: float) -> None:
        """Commit all that was put, or the first half of it."""
        waiting = len(self.model.messages) - self.model.committed
        self.model.committed += int(where * waiting)
        self.stage.commit(self.model.committed)

    # ------------------------------------------------------------------ leasing

    @rule(consumer=consumers, wants=wants, seconds=st.sampled_from([5.0, 50.0]), again=seldom)
    def lease(self, consumer: str, wants: list[int], seconds: float, again: bool) -> None:
        """A consumer fetches, and fetches ahead; now and then its last request comes again."""
        if self.model.paused and not again:
            self._pause(paused=False)
        for want in wants:
            self._lease(consumer, want, seconds, again=again)

    def _lease(self, consumer: str, want: int, seconds: float, *, again: bool) -> None:
        self.requests += not again
        expected = self.model.lease(consumer, self.requests, want, self.now, seconds)
        grant = self.stage.do(commands.Lease(consumer, "pool", self.requests, want, seconds))
        if expected is None:
            assert grant is None
            return
        assert grant is not None
        assert grant.receipt == (expected.number, expected.epoch)
        assert sequences(grant.runs) == expected.out
        assert grant.deadline == expected.deadline

    @rule(consumer=consumers, wants=wants, times=st.integers(1, 4))
    def crash(self, consumer: str, wants: list[int], times: int) -> None:
        """A consumer fetches ahead and dies, and so do those that come in its place."""
        for _ in range(times):
            self.lease(consumer, wants, 50.0, again=False)
            self._end(self.model.held(consumer), self.stage.do(commands.Lose([consumer, "nobody"])))

    @rule(consumer=consumers, wants=wants, size=fractions)
    def work(self, consumer: str, wants: list[int], size: float) -> None:
        """A consumer does what it gets, or a part of it."""
        self.lease(consumer, wants, 50.0, again=False)
        for lease in self.model.held(consumer):
            self._ack(lease, self._part(lease, 0.0, size))

    def _receipt(self, where: float) -> ModelLease:
        known = list(self.model.leases.values())
        alive = [lease for lease in known if lease.out]
        among = alive if alive and where < 0.8 else known  # mostly living leases, at times ended ones
        return among[int(where * 1000) % len(among)]

    def _part(self, lease: ModelLease, start: float, size: float) -> Runs:
        """Return a part of what was granted, which may reach beyond it."""
        granted = sorted(lease.granted)
        first = granted[int(start * 0.99 * len(granted))] if start > 0.3 else granted[0]
        return merge([(first, first + 1 + int(size * 1.3 * len(granted)))])

    def _settle(self, lease: ModelLease, given: Runs, reply: Settled) -> set[int]:
        judged = self.model.judge(lease.number, lease.epoch, sequences(given))
        assert judged is not None
        counted, repeated, stale = judged
        assert (sequences(reply.counted), sequences(reply.repeated), sequences(reply.stale)) == (
            counted, repeated, stale,
        )  # fmt: skip
        return counted

    @precondition(lambda self: self.model.leases)
    @rule(where=fractions, start=fractions, size=fractions)
    def ack(self, where: float, start: float, size: float) -> None:
        lease = self._receipt(where)
        self._ack(lease, self._part(lease, start, size))

    def _ack(self, lease: ModelLease, given: Runs) -> None:
        reply = self.stage.do(commands.Ack(Receipt(lease.number, lease.epoch), given))
        self.model.end(lease.number, self._settle(lease, given, reply), State.ACKED)

    @precondition(lambda self: self.model.leases)
    @rule(where=fractions, start=fractions, size=fractions)
    def release(self, where: float, start: float, size: float) -> None:
        lease = self._receipt(where)
        given = self._part(lease, start, size)
        reply = self.stage.do(commands.Release(Receipt(lease.number, lease.epoch), given))
        self.model.end(lease.number, self._settle(lease, given, reply), State.READY)

    @precondition(lambda self: self.model.leases)
    @rule(
        where=fractions,
        start=fractions,
        size=fractions,
        delay=delays,
        final=st.sampled_from([False] * 4 + [True]),
    )
    def nack(self, where: float, start: float, size: float, delay: float, final: bool) -> None:
        lease = self._receipt(where)
        given = self._part(lease, start, size)
        receipt = Receipt(lease.number, lease.epoch)
        reply = self.stage.do(commands.Nack(receipt, given, "raised", delay, final))
        counted = self._settle(lease, given, reply)
        self.model.nack(lease.number, counted, "raised", self.now + delay if delay else None, final=final)
        dead = {s for s in counted if self.model.messages[s].state is State.DEAD}
        assert (sequences(reply.died), sequences(reply.retried)) == (dead, counted - dead)

    @precondition(lambda self: self.model.leases)
    @rule(where=fractions, number=st.integers(0, 1))
    def show_a_wrong_receipt(self, where: float, number: int) -> None:
        lease = self._receipt(where)
        receipt = Receipt(lease.number + 1000 * number, lease.epoch + 1 - number)
        with pytest.raises(StaleReceiptError):
            self.stage.do(commands.Ack(receipt, merge([(s, s + 1) for s in lease.granted])))

    @precondition(lambda self: self.model.leases)
    @rule(where=fractions, seconds=st.sampled_from([1.0, 30.0]), some=st.booleans())
    def extend(self, where: float, seconds: float, some: bool) -> None:
        consumer = self._receipt(where).consumer
        held = self.model.held(consumer)
        named = {lease.number for lease in held[:1]} | {10**6} if some else None
        held = held[:1] if some else held
        reply = self.stage.do(commands.Extend(consumer, seconds, named))
        assert sorted(reply) == [lease.number for lease in held]
        for lease in held:
            lease.deadline = max(lease.deadline, self.now + seconds)

    # ------------------------------------------------------------------ time and loss

    @rule(seconds=st.sampled_from([1.0, 4.0, 9.0, 40.0]), swept=often)
    def wait(self, seconds: float, swept: bool) -> None:
        self.stage.now += seconds
        if swept:
            self._expire()

    def _expire(self) -> None:
        lost = [lease for lease in self.model.leases.values() if lease.out and lease.deadline <= self.now]
        self._end(lost, self.stage.do(commands.Expire()))

    def _end(self, lost: list[ModelLease], reply: tuple[commands.Lost, ...]) -> None:
        assert sorted(one.lease for one in reply) == [lease.number for lease in lost]
        out = {lease.number: set(lease.out) for lease in lost}
        for lease in lost:
            self.model.lose(lease)
        for one in reply:
            dead = {s for s in out[one.lease] if self.model.messages[s].state is State.DEAD}
            assert (sequences(one.died), sequences(one.back)) == (dead, out[one.lease] - dead)

    # ------------------------------------------------------------------ owners

    @rule(where=fractions, size=counts, all_=seldom)
    def cancel(self, where: float, size: int, all_: bool) -> None:
        given = self.pick(where, size)
        expected = [s for s in self.model.of(State.READY, State.DELAYED) if all_ or s in sequences(given)]
        reply = self.stage.do(commands.Purge() if all_ else commands.Cancel(given))
        assert sequences(reply) == set(expected)
        self.model.settle(expected, State.PURGED if all_ else State.CANCELLED)

    @precondition(lambda self: self.model.of(State.DEAD))
    @rule(limit=st.sampled_from([None, 1, 3]), where=fractions, all_=st.booleans(), away=st.booleans())
    def tend_the_dead(self, limit: int | None, where: float, all_: bool, away: bool) -> None:
        given = None if all_ else self.pick(where, 8)
        expected = [s for s in self.model.of(State.DEAD) if given is None or s in sequences(given)]
        if away:
            assert sequences(self.stage.do(commands.Discard(given))) == set(expected)
            self.model.settle(expected, State.PURGED)
        else:
            assert sequences(self.stage.do(commands.Redrive(given, limit))) == set(expected[:limit])
            self.model.redrive(expected[:limit])

    @rule(paused=seldom)
    def pause(self, paused: bool) -> None:
        self._pause(paused=paused)

    def _pause(self, *, paused: bool) -> None:
        self.stage.do(commands.Pause(paused))
        self.model.paused = paused

    # ------------------------------------------------------------------ the log

    @rule(steps=st.lists(st.sampled_from(["save", "roll", "drop"]), min_size=1, max_size=4))
    def keep_the_log(self, steps: list[str]) -> None:
        for step in steps:
            getattr(self.stage, step)()

    @rule(checkpoint=st.booleans(), grace=st.sampled_from([1.0, 10.0]))
    def reopen(self, checkpoint: bool, grace: float) -> None:
        self.stage.reopen(checkpoint=checkpoint, grace=grace)
        self.model.epoch += 1
        self.model.committed = len(self.model.messages)
        self.model.mature(self.now)
        for number, lease in list(self.model.leases.items()):
            lease.deadline = self.now + grace
            if not lease.out and number not in self.stage.queue.finished:
                assert self.stage.dropped, f"lease {number} was forgotten, though its segment is there"
                del self.model.leases[number]

    @rule(holes=st.lists(fractions, min_size=1, max_size=4))
    def read_a_damaged_log(self, holes: list[float]) -> None:
        """With any frames gone, replay still ends, and nothing comes back that was settled."""
        segments = [list(frames) for frames in self.stage.segments]
        frames = [(segment, frame) for segment in segments for frame in segment if frame[0] != CARRIED]
        for place in {int(hole * (len(frames) - 1)) for hole in holes if frames}:
            segment, frame = frames[place]
            segment.remove(frame)
        queue = self.stage.replayed(segments)
        gone = self.model.of(State.ACKED, State.CANCELLED, State.PURGED)
        settled = {
            sequence
            for segment in segments
            for fact in [decode(*frame) for frame in segment]
            if isinstance(fact, facts.Acked | facts.Cancelled | facts.Purged | facts.Discarded)
            for sequence in sequences(fact.runs)
        }
        assert not view(queue).keys() & settled.intersection(gone)

    # ------------------------------------------------------------------ always

    @invariant()
    def the_queue_is_what_the_model_says(self) -> None:
        seen = matured(view(self.stage.queue), self.now)
        living = self.model.of(State.READY, State.DELAYED, State.LEASED, State.DEAD)
        assert sorted(seen) == living
        for sequence in living:
            message = self.model.messages[sequence]
            state, value = seen[sequence]
            if message.state is State.DELAYED and message.due_at <= self.now:
                assert state is State.READY
            else:
                assert state is message.state
            tally = value if state in (State.READY, State.LEASED) else value.tally
            assert tally == (message.attempts, message.losses, message.retries)
            if state is State.DELAYED:
                assert value.due_at == message.due_at
            if state is State.DEAD:
                assert value.reason == message.reason

    @invariant()
    def the_counters_are_what_the_model_says(self) -> None:
        counters = self.stage.queue.counters
        assert counters.enqueued == len(self.model.messages) == self.stage.queue.next_sequence
        for state, number in (
            (State.ACKED, counters.acked),
            (State.CANCELLED, counters.cancelled),
            (State.PURGED, counters.purged),
        ):
            assert number == len(self.model.of(state))

    @invariant()
    def nothing_contradicts_itself(self) -> None:
        check(self.stage.queue)

    def teardown(self) -> None:
        self.stage.check()


def sequences(runs: Runs) -> set[int]:
    assert runs == merge(runs), f"runs are not as merge makes them: {runs}"
    assert all(type(part) is Run for part in runs)
    return {sequence for first, last in runs for sequence in range(first, last)}
