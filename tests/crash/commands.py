"""What may be asked of a queue, with arguments that chance chooses."""

from __future__ import annotations

import asyncio

from daskqueue.batch import encode_items
from daskqueue.errors import QueueFullError
from daskqueue.message import PLAIN, PutOptions, Run, Terms

from .promises import Alive, Dead, Message, Put, statuses

PRODUCERS = tuple(name.ljust(16) for name in (b"alice", b"bob", b"carl"))
CONSUMERS = ("dora", "emil")

# These are about messages that a consumer has.
OF_HANDS = ("ack", "nack", "release", "crash", "stop", "progress")

# How much an answer promises of what was written before it: nothing, the log, or the results as well.
NOTHING, LOG, ALL = 0, 1, 2

# The commands, and how often they come.
VERBS = {
    "put": 8, "put_together": 2, "put_again": 1, "lease": 7, "ack": 8, "nack": 4, "release": 1, "crash": 1,
    "stop": 0.7, "progress": 0.7, "extend": 0.5, "expire": 1.5, "lose": 0.7, "cancel": 1, "redrive": 1.5,
    "discard": 0.8, "purge": 0.2, "pause": 0.5, "tick": 1.5, "flush": 1, "wait": 2, "look": 0.5, "close": 0.4,
    "kill": 0.6,
}  # fmt: skip


class Commands:
    """The commands of a story, each a method that returns what its answer promises: NOTHING, LOG or ALL."""

    # Producers

    def _new_values(self):
        values = []
        for _ in range(self.rng.choice((1, 1, 2, 3, 5))):
            self._values += 1
            values.append(f"value {self._values} of {self.now}{'.' * self.rng.choice((0, 10, 60))}")
        return tuple(values)

    def _options(self, values):
        rng, terms = self.rng, {}
        if rng.random() < 0.25:
            terms["group"] = rng.choice("gh")
        if rng.random() < 0.2 and len(values) == 1:
            terms |= {"key": rng.choice("kl"), "key_seconds": rng.choice((0.0, 30.0))}
        if rng.random() < 0.2:
            terms["priority"] = rng.choice((-1, 1))
        return PutOptions(
            retries=rng.choice((0, 1, 2)),
            delay=rng.choice((0.0, 0.0, 0.0, 5.0, 60.0)),
            expires=rng.choice((None, None, None, None, 20.0, 90_000.0)),
            drop_oldest=rng.random() < 0.5,
            terms=Terms(**terms),
        )

    async def _one_put(self, producer, number, values, options):
        began = self.now
        queue = self.rig.queue
        (first,) = await self.rig.engine.put(producer, [(number, encode_items(values), options)])
        put = Put(began, self.now, None, "put", producer, number, values, first)
        self.promises.puts.append(put)
        self._add(put)
        terms = {s: t for since, until, t in queue.terms for s in range(since, until)}
        waits = Alive(0, 0, self.rig.clock.now() + options.delay)
        for value, sequence in zip(values, put.sequences, strict=False):
            self._new[sequence] = waits
            self.promises.messages[sequence] = Message(value, waits, terms.get(sequence, PLAIN))

    def _next_number(self):
        self._number += 1
        return self._number

    def _put(self):
        values = self._new_values()
        self.rig.run(
            self._one_put(self.rng.choice(PRODUCERS), self._next_number(), values, self._options(values))
        )
        return LOG

    def _put_together(self):
        """Several put at once: one sync for all, but large batches are written one after the other."""
        batches = [self._new_values() for _ in range(3)]
        puts = [
            self._one_put(self.rng.choice(PRODUCERS), self._next_number(), values, self._options(values))
            for values in batches
        ]

        async def together():
            return await asyncio.gather(*puts, return_exceptions=True)

        for result in self.rig.run(together()):
            if result is not None and not isinstance(result, QueueFullError):
                raise result
        return LOG

    def _put_again(self):
        puts = self.promises.puts
        if not puts:
            return NOTHING
        put = self.rng.choice(puts)
        assert self.rig.put(*put.values, producer=put.producer, number=put.number) == put.first
        return LOG

    # Consumers

    def _lease(self):
        hand = self.rig.lease(
            self.rng.choice((1, 2, 3, 10)),
            self.rng.choice(CONSUMERS),
            max_bytes=self.rng.choice((1, 300, 1 << 20)),
        )
        if hand is not None:
            assert all(value == self.promises.messages[s].value for s, value in hand.values.items())
            self._hands.append(hand)
        return NOTHING

    def _some(self):
        """Return a hand and some of what it holds or held."""
        if not self._hands:
            return None, []
        hand = self.rng.choice(self._hands[-4:])
        sequences = sorted(hand.values)
        return hand, self.rng.sample(sequences, self.rng.randint(1, len(sequences)))

    def _ack(self):
        hand, sequences = self._some()
        if hand:
            self.rig.ack(hand, sorted(sequences))
        return NOTHING

    def _nack(self):
        hand, sequences = self._some()
        if hand:
            self.rig.nack(hand, sorted(sequences), final=self.rng.random() < 0.3)
        return NOTHING

    def _with_receipt(self, verb, *args):
        hand, sequences = self._some()
        if hand:
            leases = self.rig.engine.leases
            runs = [Run(s, s + 1) for s in sequences]
            self.rig._soon(getattr(leases, verb), hand.receipt, runs, *args)
        return NOTHING

    def _release(self):
        return self._with_receipt("release", self.rng.choice((0.0, 8.0)))

    def _crash(self):
        return self._with_receipt("crash")

    def _stop(self):
        return self._with_receipt("stop")

    def _progress(self):
        hand, sequences = self._some()
        if hand:
            self.rig._soon(self.rig.engine.leases.progress, hand.receipt, sequences[0], b"half")
        return NOTHING

    def _extend(self):
        self.rig._soon(self.rig.engine.leases.extend, self.rng.choice(CONSUMERS), range(1, 100))
        return NOTHING

    def _expire(self):
        self.rig.expire()
        return NOTHING

    def _lose(self):
        self.rig.lose(self.rng.choice(CONSUMERS))
        return NOTHING

    # Owners

    def _cancel(self):
        messages = list(self.promises.messages)
        if not messages:
            return NOTHING
        self.rig.cancel(*self.rng.sample(messages, min(3, len(messages))))
        return LOG

    def _dead(self):
        dead = [s for s, status in statuses(self.rig.queue).items() if isinstance(status, Dead)]
        return [Run(s, s + 1) for s in dead if self.rng.random() < 0.6]

    def _redrive(self):
        self.rig.run(self.rig.engine.dead.redrive(self._dead(), None))
        return LOG

    def _discard(self):
        self.rig.run(self.rig.engine.dead.purge(self._dead()))
        return LOG

    def _purge(self):
        self.rig.purge()
        return LOG

    def _pause(self):
        self.rig.run(self.rig.engine.pause(not self.rig.queue.paused))
        return LOG

    # Time, files, processes

    def _tick(self):
        self.rig.tick()
        return ALL

    def _flush(self):
        self.rig.let_it_work()
        return ALL

    def _wait(self):
        self.rig.clock.moment += self.rng.choice((0.5, 3.0, 11.0, 40.0))
        return NOTHING

    def _look(self):
        self.rig.run(self.rig.engine.endings.outcomes(Run(0, 1000)))
        self.rig.run(self.rig.engine.dead.page(0, 100, 1 << 20, whole=True))
        return NOTHING

    def _close(self):
        return self._open_again(kill=False)

    def _kill(self):
        return self._open_again(kill=True)

    def _open_again(self, *, kill):
        known = self.rig.known()
        self.rig.reopen(kill=kill)
        assert self.rig.known() == known, "a restart has changed something"
        return ALL
