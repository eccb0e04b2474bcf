"""A hypothesis machine: any story of commands, restarts and dropped segments, told to queue and model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daskqueue.core import commands, facts, reads
from daskqueue.core.encode import decode, encode
from daskqueue.core.invariants import check
from daskqueue.core.queue import Queue, Settings
from daskqueue.core.runs import Runs, merge
from daskqueue.core.snapshot import carry
from daskqueue.core.tally import Receipt, State
from daskqueue.errors import QueueFullError, StaleReceiptError
from daskqueue.message import Run, Terms

from .model import BYTES, WAITING, Model, ModelLease
from .stage import ALICE, BOB, NEVER, Stage, matured, view

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


TERMS_OF_THEME = ("priority", "group", "key")
themes = st.sampled_from(
    [
        frozenset(names)
        for names in (
            (), ("priority",), ("group",), ("key",), ("expires",), ("group", "priority"),
            ("group", "expires"), ("key", "expires"), ("priority", "group", "key", "expires"),
        )
    ]
)  # fmt: skip
chosen_terms = st.builds(
    Terms,
    priority=st.sampled_from([0, 3, -2]),
    group=st.sampled_from(["g", "g", "h", ""]),
    key=st.sampled_from(["k", "k", "l", ""]),
)


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(Settings(max_losses=4))
        self.model = Model(max_losses=4)
        self.put_calls: list[commands.Put] = []
        self.requests = 0
        self.theme: frozenset[str] = frozenset()

    @initialize(
        max_messages=st.sampled_from([None, None, None, 50]),
        max_bytes=st.sampled_from([None, None, None, 500]),
        theme=themes,
    )
    def choose(self, max_messages: int | None, max_bytes: int | None, theme: frozenset[str]) -> None:
        """Choose the bounds of the queue, and what its producers choose for their messages."""
        self.theme = theme
        self.stage = Stage(Settings(4, max_messages, max_bytes))
        self.model = Model(4, max_messages, max_bytes)

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
        retries=st.sampled_from([1, 2, 0]),
        delay=delays,
        synced=often,
        oldest=seldom,
        dup=fractions,
    )
    def put(
        self, producer: bytes, count: int, retries: int, delay: float, synced: bool, oldest: bool, dup: float
    ) -> None:
        """Put messages; now and then the same call comes again, or an older one."""
        if dup > 0.8 and self.put_calls:
            self._put(self.put_calls[int(dup * 1000) % len(self.put_calls)])
        call = commands.Put(producer, len(self.put_calls), count, retries, delay, drop_oldest=oldest)
        self._put_new(call, synced=synced)

    def _put_new(self, call: commands.Put, *, synced: bool = True) -> None:
        self.put_calls.append(call)
        self._put(call)
        if synced:
            self.commit(1.0)

    def _put(self, call: commands.Put) -> None:
        held = BYTES * len(self.model.of(*WAITING, State.LEASED))
        call = replace(call, size_bytes=BYTES * call.count, held_bytes=held)
        expected = self.model.put(call, self.now)
        if expected is None:
            with pytest.raises(QueueFullError):
                self.stage.do(call)
        else:
            assert self.stage.do(call) == expected

    @precondition(lambda self: self.theme)
    @rule(
        count=counts,
        retries=st.sampled_from([1, 2, 0]),
        ahead=st.sampled_from([0.0, 0.0, 0.0, 20.0]),
        expires=st.sampled_from([3.0, 3.0, 15.0]),
        terms=chosen_terms,
        one_by_one=st.booleans(),
    )
    def put_with_terms(
        self, count: int, retries: int, ahead: float, expires: float, terms: Terms, one_by_one: bool
    ) -> None:
        """Put messages for which something was chosen, one by one or as one."""
        terms = Terms(**{name: getattr(terms, name) for name in TERMS_OF_THEME if name in self.theme})
        if "key" in self.theme:
            terms = terms._replace(key_seconds=expires if one_by_one else 0.0)
        single = one_by_one or bool(terms.key)
        for _ in range(min(count, 3) if single else 1):
            call = commands.Put(
                BOB, len(self.put_calls), 1 if single else count, retries, 0.0, self.now + ahead,
                expires if "expires" in self.theme else None, terms=terms,
            )  # fmt: skip
            self._put_new(call)

    @precondition(lambda self: self.model.committed < len(self.model.messages))
    @rule(where=st.sampled_from([1.0, 0.5]))
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

    @precondition(lambda self: self.model.of(*WAITING))
    @rule(consumer=consumers, wants=wants, times=st.integers(1, 4))
    def crash(self, consumer: str, wants: list[int], times: int) -> None:
        """A consumer fetches ahead and dies, and so do those that come in its place."""
        for _ in range(times):
            self.lease(consumer, wants, 50.0, again=False)
            self._end(self.model.held(consumer), self.stage.do(commands.Lose([consumer, "nobody"])))

    @precondition(lambda self: self.model.of(*WAITING))
    @rule(
        consumer=consumers,
        wants=wants,
        size=fractions,
        end=st.sampled_from(["ack", "ack", "final", "retry", "snooze"]),
    )
    def work(self, consumer: str, wants: list[int], size: float, end: str) -> None:
        """A consumer does what it gets, or a part of it; or it fails at that, or wants to do it later."""
        self.lease(consumer, wants, 50.0, again=False)
        for lease in self.model.held(consumer):
            given = self._part(lease, 0.0, size)
            if end == "ack":
                self._ack(lease, given)
            elif end == "snooze":
                self._release(lease, given, 2.0)
            else:
                self._nack(lease, given, 2.0, final=end == "final")

    @precondition(lambda self: self.model.of(*WAITING))
    @rule(consumer=consumers, wants=wants, note=st.binary(max_size=3), dropped=st.booleans())
    def be_interrupted(self, consumer: str, wants: list[int], note: bytes, dropped: bool) -> None:
        """A consumer says how far it is, and gives all back; old segments may go after that."""
        self.lease(consumer, wants, 50.0, again=False)
        for lease in self.model.held(consumer):
            self._note(lease, min(lease.out), note, 1.0)
            self._release(lease, merge([(s, s + 1) for s in lease.granted]), 0.0)
        if dropped:
            self.stage.roll()
            for _ in self.stage.segments[1:]:
                self.stage.drop()

    def _receipt(self, where: float) -> ModelLease:
        if where < 0.8 and not self.model.of(State.LEASED):
            self._lease(CONSUMERS[int(where * 1000) % 3], 5, 50.0, again=False)
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
        told = sequences(reply.retried) | sequences(reply.died) | sequences(reply.cancelled)
        assert told <= counted
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
        counted = self._settle(lease, given, reply)
        lease.out -= counted
        self.model.settle(counted, State.ACKED, self.now)

    @precondition(lambda self: self.model.leases)
    @rule(where=fractions, start=fractions, size=fractions, delay=delays)
    def release(self, where: float, start: float, size: float, delay: float) -> None:
        """Give messages back, at once or (snoozed) to be run later."""
        lease = self._receipt(where)
        self._release(lease, self._part(lease, start, size), delay)

    def _release(self, lease: ModelLease, given: Runs, delay: float) -> None:
        reply = self.stage.do(commands.Release(Receipt(lease.number, lease.epoch), given, delay))
        asked = self.model.release(lease, self._settle(lease, given, reply), delay, self.now)
        assert sequences(reply.cancelled) == asked

    @precondition(lambda self: self.model.leases)
    @rule(where=fractions, start=fractions, size=fractions)
    def crash_of_some(self, where: float, start: float, size: float) -> None:
        """Messages kill the process that ran them; their consumer lives."""
        lease = self._receipt(where)
        given = self._part(lease, start, size)
        reply = self.stage.do(commands.Crash(Receipt(lease.number, lease.epoch), given))
        counted = self._settle(lease, given, reply)
        asked = self.model.lose(lease, counted, self.now)
        dead = {s for s in counted if self.model.messages[s].state is State.DEAD}
        assert sequences(reply.cancelled) == asked
        assert (sequences(reply.died), sequences(reply.retried)) == (dead, counted - dead - asked)

    @precondition(lambda self: self.model.leases)
    @rule(where=fractions, start=fractions, size=fractions)
    def stop(self, where: float, start: float, size: float) -> None:
        """Tasks end because they were asked to."""
        lease = self._receipt(where)
        given = self._part(lease, start, size)
        reply = self.stage.do(commands.Stop(Receipt(lease.number, lease.epoch), given))
        counted = self._settle(lease, given, reply)
        assert sequences(reply.cancelled) == counted
        lease.out -= counted
        self.model.settle(counted, State.CANCELLED, self.now)

    @precondition(lambda self: self.model.leases)
    @rule(where=fractions, start=fractions, note=st.binary(max_size=3), seconds=st.sampled_from([1.0, 60.0]))
    def say_how_far(self, where: float, start: float, note: bytes, seconds: float) -> None:
        lease = self._receipt(where)
        self._note(lease, self._part(lease, start, 0.0)[0].first, note, seconds)

    def _note(self, lease: ModelLease, sequence: int, note: bytes, seconds: float) -> None:
        command = commands.Note(Receipt(lease.number, lease.epoch), sequence, note, seconds)
        held = sequence in lease.out
        assert self.stage.do(command) is held
        if held:
            self.model.messages[sequence].note = note
            lease.deadline = max(lease.deadline, self.now + seconds)

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
        self._nack(lease, self._part(lease, start, size), delay, final=final)

    def _nack(self, lease: ModelLease, given: Runs, delay: float, *, final: bool) -> None:
        receipt = Receipt(lease.number, lease.epoch)
        reply = self.stage.do(commands.Nack(receipt, given, "raised", delay, final))
        counted = self._settle(lease, given, reply)
        asked = self.model.nack(lease, counted, "raised", delay, self.now, final=final)
        dead = {s for s in counted if self.model.messages[s].state is State.DEAD}
        assert sequences(reply.cancelled) == asked
        assert (sequences(reply.died), sequences(reply.retried)) == (dead, counted - dead - asked)

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
        self.model.expire_messages(self.now)
        self._end(lost, self.stage.do(commands.Expire()))

    def _end(self, lost: list[ModelLease], reply: tuple[commands.Lost, ...]) -> None:
        assert sorted(one.lease for one in reply) == [lease.number for lease in lost]
        out = {lease.number: set(lease.out) for lease in lost}
        asked = {lease.number: self.model.lose(lease, set(lease.out), self.now) for lease in lost}
        for one in reply:
            dead = {s for s in out[one.lease] if self.model.messages[s].state is State.DEAD}
            back = out[one.lease] - dead - asked[one.lease]
            assert (sequences(one.died), sequences(one.back)) == (dead, back)

    # ------------------------------------------------------------------ owners

    @precondition(lambda self: self.model.of(*WAITING))
    @rule(where=fractions, size=counts, all_=seldom)
    def cancel(self, where: float, size: int, all_: bool) -> None:
        given = self.pick(where, size)
        expected = [s for s in self.model.of(State.READY, State.DELAYED) if all_ or s in sequences(given)]
        reply = self.stage.do(commands.Purge() if all_ else commands.Cancel(given))
        assert sequences(reply) == set(expected)
        self.model.settle(expected, State.PURGED if all_ else State.CANCELLED, self.now)
        for sequence in [] if all_ else self.model.of(State.LEASED):
            self.model.messages[sequence].asked |= sequence in sequences(given)

    @precondition(lambda self: self.model.of(State.LEASED))
    @rule(where=fractions)
    def ask_to_end(self, where: float) -> None:
        """Cancel something that is leased."""
        leased = self.model.of(State.LEASED)
        sequence = leased[int(where * (len(leased) - 1))]
        assert self.stage.do(commands.Cancel([(sequence, sequence + 1)])) == ()
        self.model.messages[sequence].asked = True

    @precondition(lambda self: self.model.of(State.DEAD))
    @rule(consumer=consumers)
    def redrive_beside_a_lease(self, consumer: str) -> None:
        """Dead letters come back while others of their group may be leased."""
        self._lease(consumer, 5, 50.0, again=False)
        dead = self.model.of(State.DEAD)
        assert sequences(self.stage.do(commands.Redrive())) == set(dead)
        self.model.redrive(dead)

    @precondition(lambda self: self.model.of(State.DEAD))
    @rule(limit=st.sampled_from([None, 1, 3]), where=fractions, all_=st.booleans(), away=st.booleans())
    def tend_the_dead(self, limit: int | None, where: float, all_: bool, away: bool) -> None:
        given = None if all_ else self.pick(where, 8)
        expected = [s for s in self.model.of(State.DEAD) if given is None or s in sequences(given)]
        if away:
            assert sequences(self.stage.do(commands.Discard(given))) == set(expected)
            self.model.settle(expected, State.PURGED, self.now)
        else:
            assert sequences(self.stage.do(commands.Redrive(given, limit))) == set(expected[:limit])
            self.model.redrive(expected[:limit])

    @precondition(lambda self: self.model.of(*WAITING))
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
        gone = self.model.of(State.ACKED, State.CANCELLED, State.DROPPED, State.PURGED)
        settled = {
            sequence
            for segment in segments
            for fact in [decode(*frame) for frame in segment]
            if isinstance(
                fact, facts.Acked | facts.Cancelled | facts.Dropped | facts.Purged | facts.Discarded
            )
            for sequence in sequences(fact.runs)
        }
        assert not view(queue).keys() & settled.intersection(gone)

    # ------------------------------------------------------------------ always

    @invariant()
    def the_queue_is_what_the_model_says(self) -> None:
        seen = matured(self.stage.queue, self.now)
        living = self.model.of(State.READY, State.DELAYED, State.LEASED, State.DEAD)
        assert sorted(seen) == living
        in_turn = self.model.in_turn()
        for sequence in living:
            message = self.model.messages[sequence]
            state, value = seen[sequence]
            due = message.state is State.READY or (
                message.state is State.DELAYED and message.due_at <= self.now
            )
            turn = not due or sequence in in_turn
            if due:
                assert state is (State.READY if turn else State.DELAYED)
            else:
                assert state is message.state
            tally = value if state in (State.READY, State.LEASED) else value.tally
            assert tally == (message.attempts, message.losses, message.retries)
            if state is State.DELAYED:
                assert value.due_at == (message.due_at if turn else NEVER)
            if state is State.DEAD:
                assert (value.reason, value.died_at) == (message.reason, message.died_at)

    @invariant()
    def what_was_chosen_and_said_is_what_the_model_says(self) -> None:
        queue, messages = self.stage.queue, self.model.messages
        living = self.model.of(*WAITING, State.LEASED, State.DEAD)
        terms = {s: terms for first, last, terms in queue.terms for s in range(first, last)}
        assert terms == {s: messages[s].terms for s in living if messages[s].terms != Terms()}
        assert queue.notes == {s: messages[s].note for s in living if messages[s].note is not None}
        asked = {s for s in living if messages[s].asked}
        assert {s for first, last, _ in queue.asked for s in range(first, last)} == asked
        for key in ("k", "l"):
            assert queue.keys.holder(key, self.now) == self.model.holder(key, self.now)

    @invariant()
    def leases_live_as_long_as_the_model_says(self) -> None:
        alive = {lease.number: lease.deadline for lease in self.model.leases.values() if lease.out}
        assert {n: lease.deadline for n, lease in self.stage.queue.leases.items()} == alive

    @invariant()
    def nobody_sleeps_beside_work(self) -> None:
        able = not self.model.paused and self.model.front(self.now)
        assert not able or reads.leasable(self.stage.queue, self.now)

    @invariant()
    def the_counters_are_what_the_model_says(self) -> None:
        counters = self.stage.queue.counters
        assert counters.enqueued == len(self.model.messages) == self.stage.queue.next_sequence
        for state, number in (
            (State.ACKED, counters.acked),
            (State.CANCELLED, counters.cancelled),
            (State.PURGED, counters.purged),
            (State.DROPPED, counters.expired + counters.displaced),
        ):
            assert number == len(self.model.of(state))
        assert (counters.expired, counters.matched) == (self.model.expired, self.model.matched)

    @invariant()
    def nothing_contradicts_itself(self) -> None:
        check(self.stage.queue)

    def teardown(self) -> None:
        self.stage.check()


def sequences(runs: Runs) -> set[int]:
    assert runs == merge(runs), f"runs are not as merge makes them: {runs}"
    assert all(type(part) is Run for part in runs)
    return {sequence for first, last in runs for sequence in range(first, last)}
