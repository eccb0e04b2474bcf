"""Clients and consumers that never give up: what is refused is said again, a failed queue is opened again."""

from __future__ import annotations

from contextlib import suppress

from daskqueue.errors import DaskQueueError, DiskFullError, StaleReceiptError

from .rig import Rig

TRIES = 40


class Customers:
    """One queue, those who use it, and what it has answered them.

    Attributes:
        put: the values of all puts that were answered, by sequence.
        acked, dead, cancelled: the sequences of which that was answered.
        errors: all that was raised on the way.
    """

    def __init__(self, loop, disk, **settings):
        self.bench = Rig(loop, disk, **{"segment_bytes": 1500, "max_losses": 50, **settings})
        self.put, self.acked, self.dead, self.cancelled = {}, set(), set(), set()
        self.errors = []
        self._born = False
        self._number = 0

    # Steps

    def open(self):
        """Open the queue; a process that cannot do so says why, and the next one tries again."""

        def open_once():
            self.bench.open(create=not self._born)
            self._born = True

        self._insist(open_once, reopen=False)

    def close(self):
        """Close the queue in order, whatever the disk says, and open it again."""
        try:
            self.bench.close()
        except DaskQueueError as error:
            self.errors.append(error)
            self.bench.kill()
        self.open()

    def submit(self, *values, **options):
        """Put values as one record batch; return their sequences."""
        number, self._number = self._number, self._number + 1
        first = self._insist(lambda: self.bench.put(*values, number=number, **options))
        sequences = range(first, first + len(values))
        self.put.update(zip(sequences, values, strict=True))
        return sequences

    def try_to_submit(self, *values):
        """Put values if there is room for them; else say it again later, with the next ones."""
        number, self._number = self._number, self._number + 1
        with suppress(DiskFullError):
            first = self.bench.put(*values, number=number)
            self.put.update(zip(range(first, first + len(values)), values, strict=True))

    def try_to_take(self, want):
        with suppress(DiskFullError):
            return self._checked(self.bench.lease(want))
        return None

    def try_to_ack(self, hand, sequences):
        """Ack if there is room for it; return whether that was heard."""
        try:
            if self.bench.ack(hand, sequences) == 0:
                self.acked.update(sequences)
        except DiskFullError:
            return False
        return True

    def take(self, want=10, request=None):
        """Lease, and check what comes; return the hand, or None."""
        request = next(self.bench._requests) if request is None else request
        return self._checked(self._insist(lambda: self.bench.lease(want, request=request)))

    def _checked(self, hand):
        if hand is None:
            return None
        settled = self.acked | self.dead | self.cancelled
        assert not settled & set(hand.values), f"delivered though it has ended: {settled & set(hand.values)}"
        assert hand.values.items() <= self.put.items()
        return hand

    def ack(self, hand, sequences):
        if self._insist(lambda: self.bench.ack(hand, sequences)) == 0:
            self.acked.update(sequences)

    def fail(self, hand, sequences):
        self._insist(lambda: self.bench.nack(hand, sequences, final=True))
        self.dead.update(sequences)

    def retry(self, hand, sequences):
        self._insist(lambda: self.bench.nack(hand, sequences))

    def cancel(self, *sequences):
        self._insist(lambda: self.bench.cancel(*sequences))
        self.cancelled.update(sequences)

    def say(self, hand):
        """Tell how far a task is, and prolong its lease."""
        lease = hand.receipt.lease
        self._insist(
            lambda: self.bench._soon(
                self.bench.engine.leases.progress, hand.receipt, min(hand.values), b"half"
            )
        )
        self._insist(lambda: self.bench._soon(self.bench.engine.leases.extend, "carol", [lease]))

    def rest(self):
        """Let syncs and upkeep happen that nobody waits for."""
        self._insist(self.bench.tick)

    def look(self):
        """Ask for results, and look at what waits and what is dead."""
        self._insist(self.bench.results)
        self._insist(lambda: self.bench.run(self.bench.engine.overview.peek(5, 1 << 20)))
        self._insist(lambda: self.bench.run(self.bench.engine.dead.page(0, 5, 1 << 20, whole=True)))

    def _insist(self, step, *, reopen=True):
        for _ in range(TRIES):
            try:
                answer = step()
            except StaleReceiptError:
                return None
            except DaskQueueError as error:
                self.errors.append(error)
            else:
                if self.bench.engine is None or self.bench.engine.failure is None:
                    return answer
                if not reopen:
                    return answer
                self.reopen()
                return answer
            if reopen and self.bench.engine.failure is not None:
                self.reopen()
        raise AssertionError(f"refused {TRIES} times: {self.errors[-1]!r}") from self.errors[-1]

    def reopen(self):
        self.bench.kill()
        self.open()

    # The end

    def look_at_what_is_left(self, *, sure=True):
        """Check that all that was answered holds; *sure* is false where a power cut may have taken acks back."""
        bench = self.bench
        bench.check()
        states = {sequence: bench.state(sequence) for sequence in self.put}
        assert "unknown" not in states.values(), states
        assert bench.engine.enqueued == len(self.put), "a put that was said again is there twice"
        dead = {sequence for sequence, state in states.items() if state == "dead"}
        settled = {sequence for sequence, state in states.items() if state == "settled"}
        assert dead <= self.dead, f"dead though nobody said so: {dead - self.dead}"
        assert settled <= self.acked | self.cancelled
        if sure:
            assert self.dead <= dead
            assert self.acked | self.cancelled <= settled
        for sequence in dead:
            assert bench.outcome(sequence) == ("failed", f"no {sequence}")
        for sequence in settled & self.cancelled:
            assert bench.outcome(sequence) == ("cancelled", ""), bench.outcome(sequence)
        if bench.settings.results == "durable":
            wanted = {sequence: ("done", self.put[sequence]) for sequence in settled & self.acked}
            assert bench.results() == wanted
        bench.clock.moment += 1000.0
        bench.expire()
        rest = bench.drain()
        assert rest == {s: value for s, value in self.put.items() if s not in settled | dead}
        assert bench.counts["ready"] == bench.counts["leased"] == bench.counts["delayed"] == 0

    @property
    def large_files(self):
        """The names of files of large batches that are there, and of those that are needed."""
        folder = self.bench.folder / "large"
        there = self.bench.fs.names(folder) if self.bench.fs.exists(folder) else []
        return set(there), {f"{name}.batch" for name in self.bench.engine._book.large.names}
