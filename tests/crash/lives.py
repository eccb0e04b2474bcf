"""Lives of a queue in small segments, with all that was promised about each message."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from engine.bench import BOB

from daskqueue.engine import engine, outcome_log, reclaim

from .rig import HandLoop, Rig
from .tales import SOME, Tale

SEGMENT = 1024
LARGE = 400
OPENINGS = 4
LONG = 1e7
NEVER = 1 << 60


@contextmanager
def small():
    """Make segments of results and large batches small; time stands still, and nothing happens by itself."""
    with (
        closing(HandLoop()) as loop,
        patch.object(Life, "loop", loop),
        patch.object(outcome_log, "SEGMENT_BYTES", SEGMENT),
        patch.object(outcome_log, "SMALLEST_SEGMENT_BYTES", SEGMENT),
        patch.object(engine, "LARGE_BYTES", LARGE),
        patch.object(reclaim, "FEWEST_AT_OPENING", OPENINGS),
    ):
        yield


@dataclass
class Fate:
    """What a message was promised; moments are numbers of calls.

    Attributes:
        value: what was put.
        batch: the first sequence of its record batch.
        put_at: when its put was answered: it is there from then on after a kill ...
        kept_at: ... and from then on after a power cut; the same moment, where puts wait for the disk.
        end: `settled` or `dead`, None as long as neither was asked for.
        asked_at: when its end was asked for.
        asked_when: the same as the clock of the queue tells it.
        done_at: when that was answered: it holds from then on after a kill ...
        safe_at: ... and from then on after a power cut.
        result: whether it returned something that is kept.
    """

    value: object
    batch: int
    put_at: int = NEVER
    kept_at: int = NEVER
    end: str | None = None
    asked_at: int = NEVER
    asked_when: float = 0.0
    done_at: int = NEVER
    safe_at: int = NEVER
    result: bool = False

    def seen_as(self, state, ending):
        """Return a state, or `unknown` for a put that nobody was told of: its number may be passed over for good."""
        passed_over = state == "settled" and ending.calls < self.asked_at and self.is_unheard(ending)
        return "unknown" if passed_over else state

    def is_unheard(self, ending):
        """Return whether the put need not be there."""
        return ending.calls < (self.kept_at if ending.cut else self.put_at)

    def may_be(self, ending):
        """Return in which states the message may be found after an ending; `waiting` is any before the end."""
        found = set()
        if self.is_unheard(ending):
            found.add("unknown")
        if self.end and self.asked_at <= ending.calls:
            found.add(self.end)
        if ending.calls < (self.safe_at if ending.cut else self.done_at):
            found.add("waiting")
        return found


class Life(Tale):
    """A queue that is used; what it promises is noted in *fates*.

    Attributes:
        settings: of the queue.
        loop: of all queues; `small` makes it.
        fates: by sequence.
    """

    settings: dict[str, object] = {}  # noqa: RUF012
    loop = None

    def __init__(self):
        super().__init__()
        self.fates = {}
        self.bench = self._bench(self.disk)

    def _bench(self, disk):
        return Rig(self.loop, disk, **{"segment_bytes": SEGMENT, "max_losses": 99, **self.settings})

    def end(self):
        self.bench.clear_away()

    # What is done

    def put(self, *values, **options):
        """Put values as one batch; return their sequences."""
        first = len(self.fates)
        numbers = range(first, first + len(values))
        self.fates |= {s: Fate(value, first) for s, value in zip(numbers, values, strict=True)}
        assert self.bench.put(*values, **options) == first
        for sequence in numbers:
            self.fates[sequence].put_at = self.now
            if self.bench.settings.fsync == "always":
                self.fates[sequence].kept_at = self.now
        return list(numbers)

    def settle(self, hand, sequences=None):
        """Ack, with a result that tells the value."""
        sequences = sorted(hand.values) if sequences is None else sequences
        with self._ending("settled", sequences, result=True):
            self.bench.ack(hand, sequences)

    def bury(self, hand, sequences):
        """Fail for good."""
        for sequence in sequences:
            with self._ending("dead", [sequence]):
                self.bench.nack(hand, [sequence], final=True)

    def cancel(self, *sequences):
        """Cancel messages that wait; durable when it returns."""
        with self._ending("settled", sequences):
            self.bench.cancel(*sequences)
        for sequence in sequences:
            self.fates[sequence].safe_at = self.now

    @contextmanager
    def _ending(self, end, sequences, *, result=False):
        for sequence in sequences:
            fate = self.fates[sequence]
            fate.end, fate.asked_at, fate.result = end, self.now, result
            fate.asked_when = self.bench.clock.moment
        yield
        for sequence in sequences:
            self.fates[sequence].done_at = self.now

    def make_safe(self):
        """Let upkeep and syncs end; what was answered is safe from a power cut then."""
        self.bench.let_it_work()
        self._safe()

    def reopen(self, *, kill=False):
        """Close or kill the queue, and open it again."""
        self.bench.reopen(kill=kill)
        self._safe()

    def _safe(self):
        for fate in self.fates.values():
            if fate.put_at <= self.now < fate.kept_at:
                fate.kept_at = self.now
            if fate.done_at <= self.now < fate.safe_at:
                fate.safe_at = self.now

    def pass_through(self, rounds, size=60, each=3):
        """Let messages come and go."""
        for _ in range(rounds):
            self.put(*[f"{len(self.fates) + step}{'.' * size}" for step in range(each)])
            self.settle(self.bench.lease(each))

    # What is left

    def opened(self, left):
        """Return the queue, opened on what is left of its disk."""
        bench = self._bench(left)
        bench.clock.moment = self.bench.clock.moment
        return bench.open()

    def states(self, bench):
        """Return the states of all messages that were ever put."""
        return {sequence: state_of(bench, sequence) for sequence in self.fates}

    def look(self, left, ending):
        bench = self.opened(left)
        try:
            self.judge(bench, ending)
        finally:
            bench.clear_away()

    def judge(self, bench, ending):
        """Compare what was opened with what was promised."""
        bench.check_invariants(holes=ending.cut and ending.keep is SOME)
        states = {s: self.fates[s].seen_as(state, ending) for s, state in self.states(bench).items()}
        for sequence, state in states.items():
            fate = self.fates[sequence]
            allowed = fate.may_be(ending)
            assert state in allowed, f"{sequence} is {state}, not {' or '.join(sorted(allowed))}"
            assert (state == "unknown") == (states[fate.batch] == "unknown"), (
                f"half of the batch of {sequence}"
            )
        self.judge_endings(bench, states, ending)
        self.judge_rest(bench, states)

    def judge_endings(self, bench, states, ending):
        """Results and failures are there, of each message its own."""
        results = bench.results()
        asked = {s for s, fate in self.fates.items() if fate.result and fate.asked_at <= ending.calls}
        settled = [s for s, state in states.items() if state == "settled" and self.fates[s].result]
        settled.sort(key=lambda s: self.fates[s].asked_at)
        self.judge_results(bench, settled, set(results), asked.difference(settled))
        for sequence, result in results.items():
            assert result == ("done", self.fates[sequence].value)
        for sequence, state in states.items():
            if state == "dead":
                assert bench.outcome(sequence) == ("failed", f"no {sequence}")

    def judge_results(self, bench, settled, found, halves):
        """All results of what is settled are among those that were found.

        Args:
            bench: the queue.
            settled: in the order of their acks.
            found: of which messages there are results.
            halves: messages whose ack is not there; their results may be.
        """
        del bench, halves
        assert found >= set(settled), f"no results of {set(settled) - found}"

    def judge_rest(self, bench, states):
        """What waits is served with its bytes, nothing else is, and the queue goes on with new numbers."""
        bench.clock.moment += LONG
        bench.expire()
        waiting = {s for s, state in states.items() if state == "waiting"}
        assert bench.drain() == {s: self.fates[s].value for s in waiting}
        known = [s for s, state in states.items() if state != "unknown"]
        assert bench.put("after", producer=BOB, number=0) > max(known, default=-1)
        assert list(bench.drain().values()) == ["after"]


def state_of(bench, sequence):
    """Return `unknown`, `waiting`, `dead` or `settled`."""
    state = bench.state(sequence)
    return "waiting" if state in ("ready", "delayed", "leased") else state
