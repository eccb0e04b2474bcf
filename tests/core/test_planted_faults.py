"""The properties are only worth what they catch: each fault planted here must make the machine fail."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from daskqueue.core import apply as applying
from daskqueue.core import decide as deciding
from daskqueue.core import facts, lending, settling
from daskqueue.core.commands import Cancel, Decision, Expire, Extend, Move
from daskqueue.core.producers import Producers
from daskqueue.core.queue import Finished, Queue
from daskqueue.core.runs import RunMap, merge
from daskqueue.core.tally import Tally
from daskqueue.core.timers import DelayedRuns

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
    max_examples=1000,
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
    def front(queue: Queue, due: list[Any]) -> list[Any]:
        return sorted([*queue.ready.pieces(), *due])

    patch.setattr(lending, "front", front)


@fault
def a_message_matures_too_early(patch: Patch) -> None:
    true = DelayedRuns.due
    patch.setattr(DelayedRuns, "due", lambda self, at: true(self, at + 1.0))


@fault
def a_nack_is_not_counted(patch: Patch) -> None:
    def retried(queue: Queue, fact: facts.Retried) -> None:
        for piece in applying._take(queue, fact.lease, fact.runs):
            applying._wait(queue, *piece, fact.due_at)
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
    def expire(queue: Queue, _command: Expire, _now: float) -> Decision[Any]:
        return lending._end(queue, list(queue.leases.values()), facts.EXPIRED)

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


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(name: str, monkeypatch: Patch) -> None:
    FAULTS[name](monkeypatch)
    with pytest.raises((AssertionError, ValueError, KeyError, IndexError)):
        run_state_machine_as_test(QueueMachine, settings=BOUNDED)
