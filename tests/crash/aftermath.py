"""Opens what a crash has left, and looks for everything that was promised."""

from __future__ import annotations

from daskqueue.errors import QueueFullError
from daskqueue.message import PLAIN

from .promises import Alive, Dead, is_there, statuses
from .story import FEW_BYTES

LATE = b"late".ljust(16)
LONG = 10_000.0


def assert_same(found, expected, *, holes=False):
    """Say what differs of what is known of a queue, perhaps after a power cut that left holes in its log."""
    for name, value in expected.items():
        if not (holes and name == "running"):
            assert found[name] == value, f"{name} changed: {found[name]}, not {value}"


class Aftermath:
    """What a crash has left, opened.

    Args:
        rig: the open queue.
        promises: what was promised before.
        crash: what it was.
    """

    def __init__(self, rig, promises, crash):
        self.rig = rig
        self.promises = promises
        self.n = crash.n
        self.power = crash.power
        self.inside = crash.part > 0
        self.present = set()  # the sequences of the puts that have happened
        self.sent_again = set()  # those of the puts that were sent once more

    def check(self):
        """Check what can be seen without changing anything."""
        self.rig.check_invariants(holes=self.power)
        self._nothing_piles_up()
        self.present = self._puts_are_whole_or_not_there()
        self._messages_are_what_they_may_be()
        self._terms_are_kept()
        paused = self.promises.paused(self.n, power=self.power)
        assert self.rig.queue.paused in paused, f"paused is {self.rig.queue.paused}, not {paused}"
        if not self.inside and self.promises.settled(self.n, power=self.power):
            assert_same(self.rig.known(), self.promises.known[self.n])

    def _nothing_piles_up(self):
        rig = self.rig
        names = [str(path) for path in rig.fs._files]
        assert not [name for name in names if name.endswith(".tmp")], f"left behind: {names}"
        large = {name for name in names if "/large/" in name}
        known = rig.engine._book.large  # what is gone from it is removed with the next commit
        assert len(large) == len(known.names) + len(known.gone), f"files that nobody needs: {large}"

    def _puts_are_whole_or_not_there(self):
        """Return the sequences of the puts that have happened."""
        present = set()
        for put in self.promises.puts:
            if not put.may_hold(self.n):
                break
            if is_there(self.rig.queue, put):
                present.update(put.sequences)
            else:
                assert not put.holds(self.n, power=self.power), f"{put} was answered and is gone"
        return present

    def _messages_are_what_they_may_be(self):
        now = self.rig.clock.now()
        seen = statuses(self.rig.queue, now)
        for sequence, message in self.promises.messages.items():
            found, _ = message.statuses(self.n, power=self.power)
            status = seen.pop(sequence, None)
            if sequence in self.present:
                allowed = {status and status.at(now) for status in found}
                assert status in allowed, f"message {sequence} is {status}, not {allowed}: {message.events}"
            else:
                assert status is None or self._is_ghost(sequence), f"{sequence} was never put: {status}"
        assert not seen, f"nobody has put {seen}"
        assert self.rig.queue.next_sequence > max(self.present, default=-1)

    def _is_ghost(self, sequence):
        """Say whether a message is what a power cut leaves of a put that was never answered.

        The log tells that there was one, but not what: it is a dead letter, or becomes one when it is leased.
        """
        status = statuses(self.rig.queue).get(sequence)
        return self.power and (status == Dead("damaged") or isinstance(status, Alive))

    def _terms_are_kept(self):
        queue, messages = self.rig.queue, self.promises.messages
        chosen = {s: terms for first, last, terms in queue.terms for s in range(first, last)}
        for sequence, status in statuses(queue).items():
            if sequence not in self.present:
                continue
            message = messages[sequence]
            revived = any(isinstance(event.before, Dead) for event in message.events)
            if not revived:
                assert chosen.get(sequence, PLAIN) == message.terms, f"other terms: {sequence}"
            key = message.terms.key
            if key and isinstance(status, Alive) and not revived:
                assert queue.keys.holder(key, self.rig.clock.now()) == sequence

    def check_endings(self):
        """Check that what has ended says how: results of acks, failures of dead letters."""
        seen, settings = statuses(self.rig.queue), self.rig.settings
        for sequence, message in self.promises.messages.items():
            if sequence not in self.present or message.status is None:
                continue
            found, why = message.statuses(self.n, power=self.power)
            status = seen.get(sequence)
            if status is None and why == {"ack"} and settings.results == "durable":
                outcome = self.rig.outcome(sequence)
                gone = outcome is None and settings.result_bytes == FEW_BYTES
                assert gone or outcome == ("returned", ("done", message.value)), f"{sequence}: {outcome}"
            if status == Dead("raised") and found == {status}:
                assert self.rig.outcome(sequence) == ("failed", f"no {sequence}")

    def check_that_it_works(self):
        """Send what may not have arrived once more; take everything; put something new."""
        self._put_again()
        waiting = self._all_is_due()
        seen = self._drained()
        missing = waiting - seen.keys()
        assert seen.keys() <= waiting, f"delivered out of the blue: {seen.keys() - waiting}"
        assert all(self._is_ghost(sequence) for sequence in missing - self.present), f"lost: {missing}"
        assert not missing & self.present, f"not delivered: {missing}"
        for sequence, value in seen.items():
            if sequence not in self.sent_again:
                assert sequence in self.present, f"{sequence} was never put, and is delivered"
                assert value == self.promises.messages[sequence].value, f"{sequence} has another payload"
        last = self.rig.put("new", producer=LATE, number=0)
        assert last > max(seen, default=-1)
        assert self.rig.drain("zoe") == {last: "new"}

    def _put_again(self):
        for put in [put for put in self.promises.puts if put.may_hold(self.n)][-4:]:
            was_there = is_there(self.rig.queue, put)
            try:
                reply = self.rig.put(*put.values, producer=put.producer, number=put.number)
            except QueueFullError:
                assert not was_there
                continue
            if was_there:
                assert reply == put.first, f"sent again it is {reply}: {put}"
            else:
                self.sent_again.update(range(reply, reply + len(put.values)))

    def _all_is_due(self):
        """Let all time go by; return what is to be delivered."""
        rig = self.rig
        if rig.queue.paused:
            rig.run(rig.engine.pause(False))
        before = statuses(rig.queue)
        rig.clock.moment += LONG
        rig.expire()
        rig.expire()  # what came back from a lease may have expired meanwhile
        after = {s for s, status in statuses(rig.queue).items() if isinstance(status, Alive)}
        for sequence in [s for s, status in before.items() if isinstance(status, Alive) and s not in after]:
            self._may_end(sequence, before[sequence])
        return after

    def _may_end(self, sequence, status):
        """Check that a message that time has ended was one that time ends."""
        message = self.promises.messages[sequence]
        expires = message.terms.expires_at is not None
        last_delivery = status.losses + 1 >= self.rig.settings.max_losses
        assert status.asked or expires or last_delivery, f"{sequence} is gone: {status}"

    def _drained(self):
        """Take and ack everything; no message comes twice, and each group's in their order."""
        rig, seen, in_order = self.rig, {}, {}
        groups = {
            s: terms.group
            for first, last, terms in rig.queue.terms
            for s in range(first, last)
            if terms.group
        }
        while (hand := rig.lease(5, "zoe")) is not None:
            assert not seen.keys() & hand.values.keys(), "delivered twice"
            seen.update(hand.values)
            for sequence in hand.values:
                if sequence in groups:
                    in_order.setdefault(groups[sequence], []).append(sequence)
            rig.ack(hand)
        assert all(line == sorted(line) for line in in_order.values()), f"out of order: {in_order}"
        return seen
