"""What the queue is told of each way in which a task can end."""

from __future__ import annotations

import pickle

import pytest

from daskqueue import Reject, Snooze
from daskqueue.actors.report import settlements_of
from daskqueue.actors.work import Crashed, Cut, carried, ended
from daskqueue.errors import DaskQueueError

from .slices import FIRST, endings, note, run, said_of, work_of


class OwnError(LookupError):
    """An exception type of one's own."""


def same(value):
    return value


def snooze(delay):
    raise Snooze(delay)


def reject():
    raise Reject("the address does not exist")


def fail(error):
    raise error


@pytest.mark.parametrize("threads", [1, 3])
def test_a_snoozed_message_is_released_for_so_long_and_burns_no_attempt(threads):
    ends = endings(
        run([(same, 0), (snooze, "90s"), (same, 2), (snooze, 5), (snooze, "1.5m")], threads=threads)
    )
    assert [ends[index] for index in (1, 3, 4)] == [("snoozed", 90.0), ("snoozed", 5.0), ("snoozed", 90.0)]
    assert [ends[index] for index in (0, 2)] == [("returned", 0), ("returned", 2)]


def test_a_snooze_with_a_delay_that_is_none_is_the_tasks_failure():
    ((reason, error),) = endings(run([(snooze, "soon")])).values()
    assert reason == "raised"
    assert isinstance(error, ValueError)
    assert "soon" in str(error)


def test_what_was_acked_before_it_ran_cannot_be_snoozed_and_fails():
    (said,) = said_of(run([(snooze, "90s")]), late=True)
    assert said.raised == [(FIRST, FIRST + 1)]
    assert not said.released


@pytest.mark.parametrize("threads", [1, 3])
def test_a_rejected_message_is_a_dead_letter_at_once_with_the_reason_given(threads):
    work = run([(reject,)], threads=threads)
    (said,) = said_of(work)
    assert (said.reason, said.final) == ("rejected", True)


def test_a_rejection_tells_its_reason():
    ((_, error),) = endings(run([(reject,)])).values()
    assert isinstance(error, Reject)
    assert error.reason == "the address does not exist"


@pytest.mark.parametrize(
    ("terms", "error", "reason"),
    [
        ({"retry_on": ("builtins.ValueError",)}, ValueError("bad"), "raised"),
        ({"retry_on": ("builtins.ValueError",)}, UnicodeError("a kind of ValueError"), "raised"),
        ({"retry_on": ("builtins.ValueError",)}, KeyError("other"), "not_retryable"),
        ({"retry_on": ("builtins.ValueError", "builtins.LookupError")}, OwnError("own"), "raised"),
        ({"retry_on": (f"{__name__}.OwnError",)}, OwnError("own"), "raised"),
        ({"no_retry_on": ("builtins.LookupError",)}, OwnError("own"), "not_retryable"),
        ({"no_retry_on": ("builtins.LookupError",)}, ValueError("bad"), "raised"),
        (
            {"retry_on": ("builtins.Exception",), "no_retry_on": ("builtins.KeyError",)},
            KeyError("x"),
            "not_retryable",
        ),
        ({"retry_on": ("builtins.TimeoutError",)}, DaskQueueError("no"), "not_retryable"),
        ({}, ValueError("bad"), "raised"),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_which_failures_are_run_again_is_matched_against_all_types_of_what_was_raised(
    terms, error, reason, threads
):
    work = run([(same, 0), (fail, error), (same, 2)], [note(1, **terms)], threads)
    (said,) = [said for said in said_of(work) if said.raised]
    assert (said.reason, said.final) == (reason, reason != "raised")
    assert said.raised == [(FIRST + 1, FIRST + 2)]


def test_a_rejection_is_no_failure_that_retry_on_could_want():
    (said,) = said_of(run([(reject,)], [note(0, retry_on=("builtins.Exception",))]))
    assert said.reason == "rejected"


def test_a_failure_can_be_carried_from_another_process_and_be_judged_there():
    work = work_of([(same, 0)] * 3, [note(0, 3, retry_on=("builtins.ValueError",))])
    made = [ended(UnicodeError("one")), ended(KeyError("two")), ended(Snooze(3))]
    values = pickle.loads(pickle.dumps([carried(end) for end in made]))
    work.outcomes.extend(values)
    ends = endings(work)
    assert ends[0][0] == "raised"
    assert str(ends[0][1]) == "one"
    assert ends[1][0] == "not_retryable"
    assert ends[2] == ("snoozed", 3.0)


def test_a_crash_is_told_as_a_lost_delivery():
    work = work_of([(same, 0)] * 3)
    work.outcomes.extend([0, Crashed("exit code -9"), 2])
    assert [word for _, (word, _) in sorted(endings(work).items())] == ["returned", "crashed", "returned"]


def test_what_raises_after_its_cancel_was_asked_for_is_stopped_and_what_returns_has_returned():
    work = run([(same, 0), (fail, ValueError("ended early")), (fail, ValueError("real"))])
    work.cancelled.update({0, 1})
    ends = endings(work)
    assert ends[0] == ("returned", 0)
    assert ends[1] == ("stopped", None)
    assert ends[2][0] == "raised"


def test_a_snooze_after_a_cancel_was_asked_for_goes_back_to_the_queue_which_knows_of_the_cancel():
    work = run([(snooze, 5)])
    work.cancelled.add(0)
    assert endings(work)[0] == ("snoozed", 5.0)


def test_the_parts_of_a_cut_that_begins_in_the_middle_are_told_by_their_own_terms():
    work = work_of([(same, 0)] * 4, [note(2, retry_on=("builtins.KeyError",))])
    values = [1, ended(ValueError("x")), ended(ValueError("y"))]
    work.outcomes.extend([0, *values])
    reasons = {
        said.reason: said.raised for said in settlements_of(Cut(work, 1, values), late=False) if said.raised
    }
    assert reasons == {"not_retryable": [(FIRST + 2, FIRST + 3)], "raised": [(FIRST + 3, FIRST + 4)]}
