"""The messages that a consumer has in hand: run, collected when they end, given back when others should have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from daskqueue.actors.pace import STALLED_SECONDS, Pace
from daskqueue.actors.settlement import Pairs, Settlement
from daskqueue.actors.work import Work, taken
from daskqueue.clock import Clock
from daskqueue.metrics.consumers import ConsumerMeter

if TYPE_CHECKING:
    from daskqueue.actors.consumer_spec import ConsumerSpec
    from daskqueue.actors.runner import Runner
    from daskqueue.actors.source import Source

# Finished work is acked at the latest after this time, also in the middle of a slice.
ACK_SECONDS = 0.05
# What is in hand for longer may be worth cancelling.
LONG_SECONDS = 0.5


class InHand:
    """Slices between the queue that lent them and the end of their messages.

    Args:
        spec: what the consumer does.
        sources: its queues; a slice names its own by its position.
        clock: tells the time.

    Attributes:
        received: how many messages were taken so far.
        meter: what there is to tell of it.
    """

    def __init__(self, spec: ConsumerSpec, sources: Sequence[Source], clock: Clock) -> None:
        self.received = 0
        self.meter = ConsumerMeter(
            spec.threads, lambda: self.held, lambda: sum(work.unended for work in self._works)
        )
        self._early_ack = spec.early_ack
        self._threads = spec.threads
        self._sources = sources
        self._clock = clock
        self._pace = Pace(spec.batch_size, spec.threads)
        # Each with the time when it was taken, oldest first.
        self._works: dict[Work, float] = {}
        self._ended_at = clock.now()

    @property
    def held(self) -> int:
        """How many messages have not come to their end."""
        return sum(work.unfinished for work in self._works)

    @property
    def stalled(self) -> bool:
        """Whether everything that runs has been busy with what it runs for long."""
        return self.held >= self._threads and self._clock.now() - self._ended_at > STALLED_SECONDS

    @property
    def look_at(self) -> float | None:
        """When it is time to collect again, though nobody said so; None while nothing is in hand."""
        return min((work.cut_at for work in self._works), default=None)

    @property
    def wanted(self) -> int:
        """How many messages to lease now."""
        return self._pace.want(self.held)

    def __bool__(self) -> bool:
        return bool(self._works)

    def leases(self, position: int) -> list[int]:
        """Return the numbers of the leases of one queue."""
        return sorted({work.receipt[0] for work in self._works if work.source == position})

    def take(self, runner: Runner, position: int, reply: Sequence[Any]) -> None:
        """Let what a queue has lent run."""
        source, now = self._sources[position], self._clock.now()
        self.meter.fetched_at = now
        if not self._works:
            self._ended_at = now
        for work in taken(runner.work, position, source.base_id, source.name, reply):
            work.cut_at = now
            self.received += work.count
            self._works[work] = now
            runner.feed(work)

    def collect(self, runner: Runner, *, at_once: bool = False) -> None:
        """Put what came to an end where its queue will be told of it."""
        now = self._clock.now()
        for work in self._works:
            if not at_once and self._pace.quick and not work.ended and now < work.cut_at + ACK_SECONDS:
                continue
            work.cut_at = now
            for settlements, timings in runner.reports(work, late=self._early_ack):
                self._sources[work.source].outbox.extend(settlements)
                self._ended_at = now
                for timing in timings:
                    self.meter.ended(*timing)
            self._pace.learn(work)
        if self.held > self._threads and self.stalled:
            self.give_back(runner)
        self._works = {work: since for work, since in self._works.items() if work.unfinished}

    def give_back(self, runner: Runner) -> None:
        """Let others have what waits here behind tasks that take long."""
        for work in () if self._early_ack else self._works:
            self._withdraw(runner, work)

    def cancel(self, runner: Runner, position: int, pairs: Pairs) -> None:
        """Tell tasks of one queue that their cancel was asked for; what has not started goes back to it."""
        for work in self._works:
            indices = [
                sequence - work.first
                for first, last in pairs
                for sequence in range(max(first, work.first), min(last, work.first + work.count))
            ]
            if indices and work.source == position:
                if not self._early_ack:
                    self._withdraw(runner, work)
                work.cancelled.update(indices)
                runner.tell_cancelled(work, indices)

    def listen(self) -> None:
        """Let the queues say which of the messages that run long are to be cancelled."""
        if self._early_ack:
            return  # for the queue they have ended already
        now = self._clock.now()
        for position in {work.source for work, since in self._works.items() if now - since > LONG_SECONDS}:
            self._sources[position].listen()

    def let_go(self) -> None:
        """Release everything: what has been acked of it stays so; what still runs, or never did, is for others."""
        for work in self._works:
            whole = (work.first, work.first + work.count)
            self._sources[work.source].outbox.append(
                Settlement(*work.receipt, released=[whole], late=self._early_ack)
            )

    def _withdraw(self, runner: Runner, work: Work) -> None:
        unstarted = [(work.first + start, work.first + end) for start, end in runner.withdraw(work)]
        if unstarted:
            self._sources[work.source].outbox.append(Settlement(*work.receipt, released=unstarted))
