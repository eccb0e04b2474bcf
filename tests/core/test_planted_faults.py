"""The properties are only worth what they catch: each fault planted here must make the machine fail."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from daskqueue.core import apply as applying
from daskqueue.core import decide as deciding
from daskqueue.core import facts, lending, settling, special
from daskqueue.core.commands import Cancel, Crash, Decision, Expire, Extend, Move, Note, Release, Stop
from daskqueue.core.groups import Line
from daskqueue.core.keys import Keys
from daskqueue.core.producers import Producers
from daskqueue.core.queue import Finished, Queue
from daskqueue.core.runs import RunMap, merge
from daskqueue.core.tally import Tally
from daskqueue.core.timers import DelayedRuns, Expiries
from daskqueue.errors import QueueError

from . import stage
from .machine import QueueMachine

if TYPE_CHECKING:
    from collections.abc import Callable

Patch = pytest.MonkeyPatch
FAULTS: dict[str, Callable[[Patch], None]] = {}
BOUNDED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=4000,  # most need a few: hypothesis draws on constants of whatever modules are loaded, so it varies
    stateful_step_count=50,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def fault(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    FAULTS[plant.__name__] = plant
    return plant


def change(patch: Patch, kind: type[facts.Fact], then: Callable[[Queue, Any], None]) -> None:
    patch.setitem(applying._APPLY, kind, then)


@fault
def a_message_is_leased_before_it_is_synced(patch: Patch) -> None:
    true = lending._lanes

    def lanes(queue: Queue, due: list[Any], over: Any) -> list[Any]:
        committed, queue.committed = queue.committed, queue.next_sequence
        found = [iter(list(lane)) for lane in true(queue, due, over)]
        queue.committed = committed
        return found

    patch.setattr(lending, "_lanes", lanes)


@fault
def a_message_matures_too_early(patch: Patch) -> None:
    true = DelayedRuns.due
    patch.setattr(DelayedRuns, "due", lambda self, at: true(self, at + 1.0))


@fault
def a_nack_is_not_counted(patch: Patch) -> None:
    def retried(queue: Queue, fact: facts.Retried) -> None:
        for piece in applying._take(queue, fact.lease, fact.runs):
            applying.wait(queue, *piece, fact.due_at)
        queue.counters.retried += sum(last - first for first, last in fact.runs)
        applying._finish(queue, fact.lease)

    change(patch, facts.Retried, retried)


@fault
def a_task_is_retried_once_too_often(patch: Patch) -> None:
    def generous(dies: Callable[[Tally], bool]) -> Callable[[Tally], bool]:
        return lambda tally: dies(tally._replace(attempts=tally.attempts - 1))

    true = settling.split
    patch.setattr(settling, "split", lambda lease, runs, dies: true(lease, runs, generous(dies)))


@fault
def a_lost_delivery_is_not_counted(patch: Patch) -> None:
    def lost(queue: Queue, fact: facts.LeaseLost) -> None:
        applying._released(queue, facts.Released(fact.lease, fact.runs))

    change(patch, facts.LeaseLost, lost)


@fault
def suspects_go_out_in_company(patch: Patch) -> None:
    true = lending._choose
    patch.setattr(lending, "_choose", lambda front, want, *, alone: true(front, want, alone=True))


@fault
def messages_that_were_lost_once_go_out_all_at_once(patch: Patch) -> None:
    patch.setattr(lending, "LOST_ONCE_AT_ONCE", 1000)


@fault
def a_sweep_ends_every_lease(patch: Patch) -> None:
    def expire(queue: Queue, _command: Expire, now: float) -> Decision[Any]:
        return lending._end(queue, list(queue.leases.values()), facts.EXPIRED, now)

    patch.setitem(deciding._DECIDE, Expire, expire)


@fault
def an_extension_may_shorten_a_lease(patch: Patch) -> None:
    def extended(queue: Queue, fact: facts.Extended) -> None:
        for number in fact.leases:
            queue.leases[number].deadline = fact.deadline

    change(patch, facts.Extended, extended)


@fault
def a_heartbeat_extends_what_its_consumer_never_got(patch: Patch) -> None:
    def extend(queue: Queue, command: Extend, now: float) -> Decision[Any]:
        return lending.extend(queue, Extend(command.consumer, command.seconds), now)

    patch.setitem(deciding._DECIDE, Extend, extend)


@fault
def a_put_that_comes_again_is_put_again(patch: Patch) -> None:
    patch.setattr(Producers, "seen", lambda self, producer, number: False)


@fault
def a_late_ack_counts_as_done(patch: Patch) -> None:
    true = applying._finish

    def finish(queue: Queue, number: int) -> None:
        true(queue, number)
        if number in queue.finished:
            epoch, granted, _lost = queue.finished[number]
            queue.finished[number] = Finished(epoch, granted, ())

    patch.setattr(applying, "_finish", finish)


@fault
def a_cancel_reaches_into_leases(patch: Patch) -> None:
    def cancel(queue: Queue, command: Cancel, _now: float) -> Decision[Any]:
        maps = [queue.ready, queue.delayed.runs, *[lease.runs for lease in queue.leases.values()]]
        runs = merge([piece[:2] for run in command.runs for one in maps for piece in one.pieces(*run)])
        return Decision(runs, (facts.Cancelled(runs),) if runs else ())

    patch.setitem(deciding._DECIDE, Cancel, cancel)


@fault
def replay_knows_nothing_of_what_matured(patch: Patch) -> None:
    patch.setattr(applying, "_take_anywhere", lambda queue, runs: [])


@fault
def a_moved_message_forgets_its_tries(patch: Patch) -> None:
    def moved(queue: Queue, fact: facts.Moved) -> None:
        clean = tuple([(first, last, 0, 0, retries) for first, last, _, _, retries in fact.ready])
        applying._moved(queue, facts.Moved(clean, fact.delayed, fact.dead))

    change(patch, facts.Moved, moved)


@fault
def a_move_takes_leased_messages_along(patch: Patch) -> None:
    def move(queue: Queue, command: Move, now: float) -> Decision[Any]:
        moving, happened = deciding._move(queue, command, now)
        out = [
            (*piece[:2], *piece[2])
            for lease in queue.leases.values()
            for piece in lease.runs.pieces(*command.run)
        ]
        if not out:
            return Decision(moving, happened)
        ready = [row for fact in happened if isinstance(fact, facts.Moved) for row in fact.ready]
        return Decision(moving, (facts.Moved(tuple(sorted(ready + out))),))

    patch.setitem(deciding._DECIDE, Move, move)


@fault
def a_segment_does_not_carry_the_numbers_of_leases(patch: Patch) -> None:
    def carried(queue: Queue, fact: facts.Carried) -> None:
        number = queue.next_lease
        applying._carried(queue, fact)
        queue.next_lease = number

    change(patch, facts.Carried, carried)


@fault
def a_restart_leaves_the_old_deadlines(patch: Patch) -> None:
    def restarted(queue: Queue, fact: facts.Restarted) -> None:
        queue.epoch = fact.epoch
        queue.committed = queue.next_sequence

    change(patch, facts.Restarted, restarted)


@fault
def a_checkpoint_forgets_dead_letters(patch: Patch) -> None:
    true = stage.snapshot

    def forgetful(queue: Queue) -> list[Any]:
        data = true(queue)
        data[6] = data[6][1:]
        return data

    patch.setattr(stage, "snapshot", forgetful)


@fault
def a_run_that_is_taken_in_part_is_gone_whole(patch: Patch) -> None:
    true = RunMap.take

    def take(self: RunMap[Any], first: int, last: int) -> list[Any]:
        taken = true(self, first, last)
        true(self, last, last + 1)
        return taken

    patch.setattr(RunMap, "take", take)


@fault
def the_same_request_gets_another_lease(patch: Patch) -> None:
    def forget(queue: Queue, fact: facts.Leased) -> None:
        applying._leased(queue, replace(fact, request=-1))

    change(patch, facts.Leased, forget)


@fault
def priorities_mean_nothing(patch: Patch) -> None:
    patch.setattr(lending, "_most_urgent", lambda lanes: iter(sorted(chain.from_iterable(lanes))))


@fault
def plain_messages_ride_along_with_urgent_ones(patch: Patch) -> None:
    patch.setattr(lending, "_most_urgent", chain.from_iterable)


@fault
def a_redriven_letter_runs_beside_its_group(patch: Patch) -> None:
    patch.setattr(Line, "turn", property(lambda self: next(iter(self.runs))[0]))


@fault
def a_group_goes_on_while_its_first_waits_for_its_retry(patch: Patch) -> None:
    true = special.wait

    def wait(queue: Queue, first: int, last: int, tally: Tally, due_at: float | None = None) -> None:
        true(queue, first, last, tally, due_at)
        for since, _, terms in list(queue.terms.pieces(first, last)):
            line = queue.groups.lines.get(terms.group)
            if line is not None and due_at is not None and line.turn == since and line.runs.count > 1:
                line.running = next(line.runs.pieces(since + 1))[0]
                special._pass_turn(queue, terms.group, since)
                line.running = None

    patch.setattr(applying, "wait", wait)


@fault
def groups_mean_nothing(patch: Patch) -> None:
    patch.setattr(special, "enlist", lambda queue, first, last, terms: None)


@fault
def a_moved_message_comes_back_behind_its_group(patch: Patch) -> None:
    def moved(queue: Queue, fact: facts.Moved) -> None:
        for first, last, terms in list(queue.terms):
            line = queue.groups.lines.get(terms.group)
            if line is not None and line.running is None and first <= line.turn < last:
                line.running = line.turn  # whoever was known first keeps the turn
        applying._moved(queue, fact)

    change(patch, facts.Moved, moved)


@fault
def a_moved_message_forgets_its_terms(patch: Patch) -> None:
    def moved(queue: Queue, fact: facts.Moved) -> None:
        applying._moved(queue, replace(fact, terms=()))

    change(patch, facts.Moved, moved)


@fault
def a_moved_message_forgets_its_note(patch: Patch) -> None:
    def moved(queue: Queue, fact: facts.Moved) -> None:
        applying._moved(queue, replace(fact, notes=()))

    change(patch, facts.Moved, moved)


@fault
def a_key_that_is_taken_is_taken_again(patch: Patch) -> None:
    patch.setattr(Keys, "holder", lambda self, key, now: None)


@fault
def a_key_is_free_when_its_message_ends(patch: Patch) -> None:
    true = Keys.release
    patch.setattr(Keys, "release", lambda self, key, at, until, now: true(self, key, at, None, now))


@fault
def a_key_is_never_free_again(patch: Patch) -> None:
    patch.setattr(Keys, "release", lambda self, key, at, until, now: None)


@fault
def a_checkpoint_forgets_the_keys_of_what_has_ended(patch: Patch) -> None:
    forget_in_checkpoints(patch, 1)


@fault
def a_checkpoint_forgets_notes(patch: Patch) -> None:
    forget_in_checkpoints(patch, 2)


@fault
def a_checkpoint_forgets_what_was_asked_to_end(patch: Patch) -> None:
    forget_in_checkpoints(patch, 3)


def forget_in_checkpoints(patch: Patch, part: int) -> None:
    true = stage.snapshot

    def forgetful(queue: Queue) -> list[Any]:
        data = true(queue)
        data[9][part] = []
        return data

    patch.setattr(stage, "snapshot", forgetful)


@fault
def a_segment_does_not_carry_the_keys_of_what_has_ended(patch: Patch) -> None:
    def carried(queue: Queue, fact: facts.Carried) -> None:
        applying._carried(queue, replace(fact, kept_keys=()))

    change(patch, facts.Carried, carried)


@fault
def a_put_whose_key_was_taken_is_put_when_it_comes_again(patch: Patch) -> None:
    def matched(queue: Queue, _fact: facts.Matched) -> None:
        queue.counters.matched += 1

    change(patch, facts.Matched, matched)


@fault
def an_expired_message_is_leased(patch: Patch) -> None:
    patch.setattr(lending, "_housekeeping", lambda queue, now: ((facts.Matured(now),), ()))


@fault
def no_message_expires_before_somebody_asks_for_one(patch: Patch) -> None:
    def expire(queue: Queue, _command: Expire, now: float) -> Decision[Any]:
        over = [lease for lease in queue.leases.values() if lease.deadline <= now]
        return lending._end(queue, over, facts.EXPIRED, now)

    patch.setitem(deciding._DECIDE, Expire, expire)


@fault
def messages_that_expire_together_are_forgotten_together(patch: Patch) -> None:
    true = Expiries.forget_first

    def forget(self: Expiries) -> None:
        expires_at = self.first[0] if self.first else 0.0
        while self.first and self.first[0] == expires_at:
            true(self)

    patch.setattr(Expiries, "forget_first", forget)


@fault
def a_redriven_letter_keeps_its_expiry(patch: Patch) -> None:
    patch.setattr(special, "revive", lambda queue, runs: None)


@fault
def a_snooze_burns_an_attempt(patch: Patch) -> None:
    def released(queue: Queue, fact: facts.Released) -> None:
        if fact.due_at is None:
            applying._released(queue, fact)
        else:
            applying._retried(queue, facts.Retried(fact.lease, fact.runs, fact.due_at))

    change(patch, facts.Released, released)


@fault
def what_was_asked_to_end_is_run_again(patch: Patch) -> None:
    patch.setattr(special, "split_asked", lambda queue, runs: ((), runs))


@fault
def a_note_stays_behind_its_message(patch: Patch) -> None:
    patch.setattr(special, "noted_in", lambda queue, runs: [])


@fault
def a_note_does_not_prolong_its_lease(patch: Patch) -> None:
    def note(queue: Queue, command: Note, now: float) -> Decision[bool]:
        held, happened = lending.note(queue, command, now)
        return Decision(held, happened[:1])

    patch.setitem(deciding._DECIDE, Note, note)


@fault
def anybody_may_say_how_far_a_message_is(patch: Patch) -> None:
    def note(_queue: Queue, command: Note, _now: float) -> Decision[bool]:
        return Decision(True, (facts.Progressed(command.sequence, command.note),))

    patch.setitem(deciding._DECIDE, Note, note)


@fault
def a_full_queue_drops_the_newest(patch: Patch) -> None:
    def newest(queue: Queue, most: int) -> Any:
        waiting = [s for run in special.waiting_in(queue, [(0, queue.next_sequence)]) for s in range(*run)]
        return merge([(s, s + 1) for s in sorted(waiting)[-most:]])

    patch.setattr(special, "oldest", newest)


@fault
def a_bound_is_no_bound(patch: Patch) -> None:
    patch.setattr(deciding, "_make_room", lambda queue, command, now: ())


@fault
def a_bound_of_bytes_is_no_bound(patch: Patch) -> None:
    true = deciding._make_room
    patch.setattr(
        deciding,
        "_make_room",
        lambda queue, put, now: true(queue, replace(put, held_bytes=0, size_bytes=0), now),
    )


@fault
def a_crash_of_some_is_not_counted(patch: Patch) -> None:
    patch.setitem(deciding._DECIDE, Crash, given_back)


@fault
def what_stopped_runs_again(patch: Patch) -> None:
    patch.setitem(deciding._DECIDE, Stop, given_back)


def given_back(queue: Queue, command: Crash | Stop, now: float) -> Decision[Any]:
    return settling.release(queue, Release(command.receipt, command.runs), now)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(name: str, monkeypatch: Patch) -> None:
    FAULTS[name](monkeypatch)
    with pytest.raises((AssertionError, ValueError, KeyError, IndexError, QueueError, pytest.fail.Exception)):
        run_state_machine_as_test(QueueMachine, settings=BOUNDED)
