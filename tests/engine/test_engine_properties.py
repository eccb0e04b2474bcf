"""Whatever is done, with kills in between: each message keeps its value, its state and its outcome."""

from __future__ import annotations

from unittest.mock import patch

from core.stage import comparable
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daskqueue.engine import outcome_log, reclaim
from daskqueue.message import PLAIN, Run, Terms

from .bench import Bench

SEGMENT = 3000
CONSUMERS = st.sampled_from(["carol", "dave"])
VERBS = st.sampled_from(["ack", "nack", "final", "release", "snooze"])
TERMS = st.sampled_from(
    [PLAIN, PLAIN, PLAIN, Terms(priority=3), Terms(group="g"), Terms(priority=-1, group="h")]
)


def value_of(sequence):
    return f"message {sequence} " + "x" * (sequence * 37 % 120)


class EngineMachine(RuleBasedStateMachine):
    """The model: what became of each sequence, and which hand holds it."""

    @initialize()
    def open(self):
        self.patches = [
            patch.object(outcome_log, "SEGMENT_BYTES", SEGMENT),
            patch.object(reclaim, "FEWEST_SEGMENTS", 2),
            patch.object(reclaim, "SETTLED_PART", 0.2),
        ]
        for changed in self.patches:
            changed.start()
        self.bench = Bench(segment_bytes=SEGMENT, max_losses=3).open()
        self.count = 0
        self.hands = []
        self.owner = {}
        self.ended = {}  # sequence -> what outcome() must say
        self.asked = set()  # cancelled while they were leased
        self.expiring = {}  # sequence -> when it expires
        self.holder = None  # of the key
        self.put(30, 1, 0.0, PLAIN, None)

    def teardown(self):
        if hasattr(self, "bench"):
            for changed in self.patches:
                changed.stop()
            self.bench.clear_away()

    # What producers and owners do

    @rule(
        count=st.integers(5, 30),
        retries=st.integers(0, 2),
        delay=st.sampled_from([0.0, 0.0, 0.0, 3.0, 1000.0]),
        terms=TERMS,
        expires=st.sampled_from([None, None, None, 5.0]),
    )
    def put(self, count, retries, delay, terms, expires):
        values = [value_of(self.count + step) for step in range(count)]
        first = self.bench.put(*values, retries=retries, delay=delay, terms=terms, expires=expires)
        assert first == self.count
        self.count += count
        if expires is not None:
            self.expiring.update(dict.fromkeys(range(first, self.count), self.bench.clock.moment + expires))

    @rule()
    def put_with_a_key(self):
        first = self.bench.put(value_of(self.count), terms=Terms(key="k"))
        if self.holder is not None and self.holder not in self.ended:
            assert first == -1 - self.holder
        else:
            assert first == self.count
            self.holder = first
            self.count += 1

    @precondition(lambda self: self.count)
    @rule(data=st.data())
    def cancel(self, data):
        first = data.draw(st.integers(0, self.count - 1))
        wanted = range(first, min(first + 3, self.count))
        self.asked.update(s for s in wanted if self.bench.state(s) == "leased")
        for run in self.bench.cancel(*wanted):
            self.end(range(run.first, run.last), ("cancelled", ""))

    @rule(sure=st.integers(0, 3))
    def purge(self, sure):
        if sure == 3:  # seldom, or there would never be a backlog
            for run in self.bench.purge():
                self.end(range(run.first, run.last), ("cancelled", ""))

    # What consumers do

    @rule(want=st.integers(1, 5), consumer=CONSUMERS)
    def hold(self, want, consumer):
        self.lease(want, consumer)

    def lease(self, want, consumer):
        hand = self.bench.lease(want, consumer)
        if hand is None:
            return None
        assert hand.values == {sequence: value_of(sequence) for sequence in hand.values}
        assert hand.values
        for sequence in hand.values:
            assert sequence not in self.ended, f"{sequence} came back after {self.ended[sequence]}"
            assert sequence not in self.asked
            assert self.bench.clock.moment < self.expiring.get(sequence, self.bench.clock.moment + 1)
            self.owner[sequence] = hand
        self.hands.append(hand)
        return hand

    @rule(want=st.integers(1, 9), consumer=CONSUMERS, verb=VERBS, step=st.integers(1, 3))
    def work(self, want, consumer, verb, step):
        """Lease some, and settle every first, second or third of them."""
        hand = self.lease(want, consumer)
        if hand is not None:
            self.settle_some(hand, sorted(hand.values)[::step], verb)

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), verb=VERBS, step=st.integers(1, 3))
    def settle(self, data, verb, step):
        """Settle messages of a lease that may have ended, be settled in part, or be of another life."""
        hand = data.draw(st.sampled_from(self.hands))
        self.settle_some(hand, sorted(hand.values)[::step], verb)

    def settle_some(self, hand, sequences, verb):
        held = [sequence for sequence in sequences if self.owner.get(sequence) is hand]
        if verb == "ack":
            self.bench.ack(hand, sequences)
            for sequence in held:
                self.end([sequence], ("returned", ("done", value_of(sequence))))
        elif verb == "release":
            self.bench.release(hand, sequences)
            self.take_note_of_stopped()
            assert {self.bench.state(s) for s in held if s not in self.ended} <= {"ready"}
        elif verb == "snooze":
            runs = [Run(s, s + 1) for s in sequences]
            self.bench._soon(self.bench.engine.leases.release, hand.receipt, runs, 2.0)
            self.take_note_of_stopped()
            assert {self.bench.state(s) for s in held if s not in self.ended} <= {"delayed"}
        else:
            self.bench.nack(hand, sequences, final=verb == "final")
            self.take_note_of_stopped()
            self.ended.update({s: ("failed", f"no {s}") for s in held if self.bench.state(s) == "dead"})
            assert {self.bench.state(s) for s in held if s not in self.ended} <= {"delayed"}
        self.forget_what_is_not_leased()

    @precondition(lambda self: self.owner)
    @rule(data=st.data(), note=st.binary(min_size=1, max_size=9))
    def say_how_far(self, data, note):
        sequence = data.draw(st.sampled_from(sorted(self.owner)))
        receipt = self.owner[sequence].receipt
        assert self.bench._soon(self.bench.engine.leases.progress, receipt, sequence, note)
        assert self.bench.engine.notes(Run(sequence, sequence + 1)) == [(sequence, note)]

    @rule(consumer=CONSUMERS)
    def lose(self, consumer):
        self.bench.lose(consumer)
        self.take_note_of_crash_loops()

    @rule(seconds=st.sampled_from([0.5, 2.0, 11.0, 1000.0]))
    def time_passes(self, seconds):
        self.bench.clock.moment += seconds
        self.bench.expire()
        self.take_note_of_crash_loops()

    @rule(rounds=st.integers(5, 15))
    def history_goes_by(self, rounds):
        """Enough to fill segments; what is leased is acked at once, and as much is left as there was."""
        for _ in range(rounds):
            self.put(5, 0, 0.0, PLAIN, None)
            hand = self.lease(5, "historian")
            if hand is not None:
                self.settle_some(hand, sorted(hand.values), "ack")
        self.bench.let_it_work()
        self.ask_for_failures()

    # What happens to the process

    @rule(kill=st.booleans(), lose_index=st.booleans())
    def restart(self, kill, lose_index):
        before = comparable(self.bench.engine._queue, self.bench.clock.moment)
        self.bench.kill() if kill else self.bench.close()
        index = self.bench.folder / f"{self.bench.folder.name}.index"
        if lose_index and self.bench.fs.exists(index):
            self.bench.fs.remove(index)
        self.bench.open(create=False)
        after = comparable(self.bench.engine._queue, self.bench.clock.moment)
        for part in (
            "messages",
            "counters",
            "producers",
            "held",
            "terms",
            "keys",
            "groups",
            "notes",
            "asked",
        ):
            assert after[part] == before[part], part
        self.ask_for_failures()

    @rule()
    def let_it_work(self):
        self.bench.let_it_work()

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def ask(self, data):
        sequence = data.draw(st.sampled_from(sorted(self.ended)))
        assert self.bench.outcome(sequence) == self.ended[sequence]

    @rule(max_bytes=st.sampled_from([1, 500, 1 << 20]))
    def read_results(self, max_bytes):
        returned = {s: ended[1] for s, ended in self.ended.items() if ended[0] == "returned"}
        assert self.bench.results(max_bytes=max_bytes) == returned

    def ask_for_failures(self):
        """Dead letters are what moves most: none may lose its failure, or get another's."""
        failures = [sequence for sequence, ended in self.ended.items() if ended[0] == "failed"]
        for sequence in failures[:5] + failures[-5:]:
            assert self.bench.outcome(sequence) == self.ended[sequence]

    # What must hold

    @invariant()
    def nothing_is_lost(self):
        if not hasattr(self, "bench"):
            return
        self.bench.check()
        self.take_note_of_expired()
        counts = self.bench.engine.counts()
        dead = sum(ended[0] == "failed" for ended in self.ended.values())
        assert counts.dead == dead
        assert counts.pending == self.count - len(self.ended)

    def end(self, sequences, outcome):
        for sequence in sequences:
            assert sequence not in self.ended
            self.ended[sequence] = outcome
            self.owner.pop(sequence, None)

    def forget_what_is_not_leased(self):
        for sequence in [s for s in self.owner if self.bench.state(s) != "leased"]:
            del self.owner[sequence]

    def take_note_of_stopped(self):
        """What was asked to end is cancelled by whatever would have let it run again."""
        for sequence in [s for s in self.owner if s in self.asked and self.bench.state(s) == "settled"]:
            self.end([sequence], ("cancelled", ""))

    def take_note_of_expired(self):
        for sequence, expires_at in list(self.expiring.items()):
            if sequence in self.ended:
                del self.expiring[sequence]
            elif self.bench.state(sequence) == "settled":
                assert self.bench.clock.moment >= expires_at
                self.end([sequence], ("expired", ""))

    def take_note_of_crash_loops(self):
        self.take_note_of_stopped()
        for sequence in [s for s in self.owner if self.bench.state(s) == "dead"]:
            self.ended[sequence] = ("failed", "crash_loop")
        self.forget_what_is_not_leased()


TestTheEngineKeepsItsPromises = EngineMachine.TestCase
TestTheEngineKeepsItsPromises.settings = settings(stateful_step_count=60, deadline=None)
