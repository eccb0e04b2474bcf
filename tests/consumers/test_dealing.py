"""Who gets which messages, and what is known of them when a child has died: no process is needed for that."""

from __future__ import annotations

import pytest

from daskqueue.actors.processes.dealer import PORTION_MESSAGES, Dealer
from daskqueue.actors.processes.death import Findings, examine
from daskqueue.actors.processes.memory import Glance
from daskqueue.actors.processes.work import ProcessWork
from daskqueue.batch import Batch, encode_calls


def work_of(*counts, first=0):
    number = iter(range(sum(counts)))
    parts = [(count, encode_calls([(abs, next(number)) for _ in range(count)])) for count in counts]
    return ProcessWork(0, (1, 1), 0, first, parts, (), "q")


def arguments(parts):
    """Return the arguments of the calls in parts, each of which has the count that it says."""
    found = []
    for count, data in parts:
        batch = Batch.parse(data)
        assert batch.count == count
        found += [call.args[0] for call in batch.messages()]
    return found


@pytest.mark.parametrize(
    ("start", "end"), [(0, 230), (0, 1), (229, 230), (99, 101), (100, 110), (50, 200), (110, 110)]
)
def test_a_stretch_of_a_slice_is_cut_out_of_its_record_batches(start, end):
    assert arguments(work_of(100, 10, 120).parts_of(start, end)) == list(range(start, end))


def dealt(dealer):
    """Deal everything; return the portions as (work, start, end)."""
    portions = []
    while (portion := dealer.next()) is not None:
        portions.append((portion.work, portion.start, portion.end))
    return portions


def test_what_is_not_known_is_dealt_one_by_one():
    dealer, work = Dealer(2), work_of(3)
    dealer.works.append(work)
    assert dealt(dealer) == [(work, 0, 1), (work, 1, 2), (work, 2, 3)]


def known(dealer, seconds):
    """Let a dealer know how long a message takes."""
    dealer.works.append(work_of(1))
    portion = dealer.next()
    dealer.begin(portion)
    dealer.learn(portion, seconds, 1)


def test_slow_messages_are_dealt_one_by_one_and_none_ahead():
    dealer = Dealer(2)
    known(dealer, 1.0)
    work = work_of(4)
    dealer.works.append(work)
    assert not dealer.quick
    assert [end - start for _, start, end in dealt(dealer)] == [1] * 4


def test_quick_messages_are_dealt_in_shares_that_end_at_the_same_time():
    dealer = Dealer(2)
    known(dealer, 1e-6)
    work = work_of(900)
    dealer.works.append(work)
    assert dealer.quick
    portions = dealt(dealer)
    assert portions[0] == (work, 0, 450)
    assert [start for _, start, _ in portions[1:]] == [end for _, _, end in portions[:-1]]
    assert portions[-1][2] == 900


def test_a_portion_is_bounded():
    dealer = Dealer(1)
    known(dealer, 1e-7)
    dealer.works.append(work_of(3 * PORTION_MESSAGES))
    assert max(end - start for _, start, end in dealt(dealer)) == PORTION_MESSAGES


def test_what_is_put_back_is_dealt_before_other_slices_and_in_order():
    dealer = Dealer(1)
    known(dealer, 1e-6)
    old, new = work_of(10), work_of(5, first=10)
    dealer.works.append(old)
    dealer.next()
    dealer.works.append(new)
    dealer.put_back(old, 7, 9)
    dealer.put_back(old, 2, 4)
    dealer.put_back(old, 4, 4)
    assert dealt(dealer)[0][:2] == (old, 2)
    assert old.waiting == []


def test_messages_that_have_to_be_alone_are():
    dealer = Dealer(1)
    known(dealer, 1e-6)
    work = work_of(3)
    work.alone = True
    dealer.works.append(work)
    assert [end - start for _, start, end in dealt(dealer)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("glance", "heard", "count", "findings"),
    [
        # Another portion: nothing of this one has begun.
        (Glance(6, 3, 0.0), 0, 10, Findings(0, None, False)),
        # The one that ran, and those before it of which nothing was heard.
        (Glance(7, 3, 0.0), 3, 10, Findings(3, 3, False)),
        (Glance(7, 3, 0.0), 1, 10, Findings(3, 3, False)),
        (Glance(7, 0, 0.0), 0, 10, Findings(0, 0, False)),
        (Glance(7, 9, 0.0), 9, 10, Findings(9, 9, False)),
        # None ran: it died where it loaded some, ...
        (Glance(7, None, 0.0), 4, 10, Findings(4, None, True)),
        # ... or the only one, ...
        (Glance(7, None, 0.0), 9, 10, Findings(9, 9, False)),
        (Glance(7, None, 0.0), 0, 1, Findings(0, 0, False)),
        # ... or had nothing more to do.
        (Glance(7, None, 0.0), 10, 10, Findings(10, None, False)),
    ],
)
def test_what_the_shared_memory_tells(glance, heard, count, findings):
    assert examine(glance, 7, heard, count) == findings


def test_the_rest_begins_behind_the_one_that_ran():
    assert Findings(3, 5, False).rest == 6
    assert Findings(3, None, True).rest == 3
