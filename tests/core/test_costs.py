"""Costs: a loop over messages, groups or keys where none belongs would make these tests take minutes."""

from __future__ import annotations

from time import thread_time
from typing import TYPE_CHECKING, Any

import pytest

from daskqueue.core import reads
from daskqueue.core.apply import apply
from daskqueue.core.commands import Ack, Cancel, Command, Expire, Lease, Lose, Nack, Note, Put, Release
from daskqueue.core.decide import decide
from daskqueue.core.facts import Committed
from daskqueue.core.invariants import check
from daskqueue.core.queue import Queue, Settings
from daskqueue.core.snapshot import restore, snapshot
from daskqueue.message import Run, Terms

from .stage import ALICE, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANY = 10**15
FAST = Terms(5, group="", timeout_seconds=3.0)


class Quick:
    """A queue without the checks of a stage, which look at every message."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.queue = Queue(settings or Settings())
        self.now = 0.0
        self._number = 0
        self._requests = 0

    def do(self, command: Command[Any]) -> Any:
        reply, happened = decide(self.queue, command, self.now)
        for fact in happened:
            apply(self.queue, fact)
        return reply

    def put(self, count: int = 1, **options: Any) -> int:
        self._number += 1
        reply: int = self.do(Put(ALICE, self._number, count, **options))
        apply(self.queue, Committed(self.queue.next_sequence))
        return reply

    def lease(self, want: int = 1, consumer: str = "carol") -> Any:
        self._requests += 1
        return self.do(Lease(consumer, "pool", self._requests, want, 10.0))


@pytest.fixture
def quick() -> Iterator[Quick]:
    quick = Quick()
    yield quick
    check(quick.queue)


def slowdown(step: Callable[[int], object], few: int, many: int) -> float:
    """Return how much more processor time the last of many steps take than the first; the best of blocks counts."""
    times = []
    for block in range(many // few):
        begin = thread_time()
        for number in range(few):
            step(block * few + number)
        times.append(thread_time() - begin)
    third = len(times) // 3
    return min(times[-third:]) / min(times[:third])


def test_commands_cost_the_same_for_any_number_of_messages_with_the_same_terms(quick: Quick) -> None:
    for _ in range(2):
        quick.put(MANY, expires=100.0, terms=FAST)
    assert (len(quick.queue.ready), len(quick.queue.terms)) == (1, 1)
    grant = quick.lease(MANY + 5)
    quick.do(Note(grant.receipt, 3, b"x", 10.0))
    quick.do(Cancel([(4, 6)]))
    quick.do(Release(grant.receipt, run(3, 5), 5.0))
    quick.do(Ack(grant.receipt, run(7, MANY)))
    quick.do(Lose(["carol"]))
    assert reads.notes_on(quick.queue, quick.lease(MANY).pieces)[0][4:] == (
        FAST._replace(expires_at=100.0),
        None,
    )
    assert len(snapshot(quick.queue)[9][0]) < 10
    quick.now = 100.0
    quick.do(Expire())
    assert quick.queue.counters.expired > MANY - 100


def test_a_group_of_any_size_is_a_run(quick: Quick) -> None:
    quick.put(MANY, terms=Terms(group="g"))
    for sequence in range(5):
        grant = quick.lease(MANY)
        assert grant.runs == run(sequence, sequence + 1)
        quick.do(Ack(grant.receipt, grant.runs))
    quick.do(Cancel([(10, MANY - 10)]))
    assert len(quick.queue.blocked) == 2


def test_a_put_and_an_ack_cost_the_same_beside_ten_thousand_groups(quick: Quick) -> None:
    def step(number: int) -> None:
        quick.put(terms=Terms(group=f"g{number % 10_000}"))
        if number % 2:
            grant = quick.lease()
            quick.do(Ack(grant.receipt, grant.runs))

    assert slowdown(step, 500, 12_000) < 8
    assert len(quick.queue.groups.lines) > 5_000


def test_messages_of_a_group_may_be_put_with_others_between_them(quick: Quick) -> None:
    def step(number: int) -> None:
        quick.put(terms=Terms(group=f"g{number % 2}"))

    assert slowdown(step, 1000, 15_000) < 8


def test_a_put_and_an_ack_cost_the_same_beside_a_hundred_thousand_keys(quick: Quick) -> None:
    def step(number: int) -> None:
        quick.put(terms=Terms(key=f"k{number}", key_seconds=1e6))
        if number % 4 == 0:
            grant = quick.lease()
            quick.do(Ack(grant.receipt, grant.runs))

    for number in range(90_000):
        quick.queue.keys.kept[f"old{number}"] = (number, 1e9)
    assert slowdown(step, 1000, 15_000) < 8
    again = restore(snapshot(quick.queue))
    assert again.keys.pending == quick.queue.keys.pending
    assert len(again.keys.kept) > 90_000


def test_an_ack_costs_the_same_beside_many_notes(quick: Quick) -> None:
    quick.put(60_000, retries=1)
    grant = quick.lease(60_000)
    for sequence in range(30_000):
        quick.do(Note(grant.receipt, sequence, b"x", 10.0))

    def step(number: int) -> None:
        quick.do(Ack(grant.receipt, run(30_000 + number, 30_001 + number)))

    assert slowdown(step, 1000, 6_000) < 8
    begin = thread_time()
    step(7_000)
    assert thread_time() - begin < 0.1


def test_a_full_queue_drops_its_oldest_without_looking_at_the_others() -> None:
    quick = Quick(Settings(max_messages=20_000))
    for number in range(20_000):
        quick.put(retries=number % 2)
    begin = thread_time()
    for _ in range(500):
        quick.put(drop_oldest=True)
    assert thread_time() - begin < 4.0
    assert quick.queue.counters.displaced == 500
    check(quick.queue)


def test_a_sweep_does_not_look_at_what_is_leased_or_expires_later(quick: Quick) -> None:
    for number in range(20_000):
        quick.put(expires=100.0 + number)
    quick.lease(10_000)
    quick.now = 5_000.0
    begin = thread_time()
    for _ in range(500):
        quick.lease(0 + 1, "dave")
        reads.next_event_at(quick.queue)
    assert thread_time() - begin < 5.0
    assert reads.state_of(quick.queue, Run(0, 1))
    quick.do(Nack(quick.queue.leases[1].grant.receipt, run(0, 1), "raised"))
