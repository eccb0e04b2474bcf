"""Another operator is told apart from people, from old news and from ourselves."""

from __future__ import annotations

import pytest
from made import find, served, wanted

from daskqueue_operator.labels import APPLIED
from daskqueue_operator.observe import Observed
from daskqueue_operator.rivals import MANY, WINDOW_SECONDS, Rivals

KEY = ("shop", "inv")


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def seen(version, digest="theirs"):
    """Return the scheduler's Deployment at a version, as somebody applied it."""
    body = served(find(wanted(), "Deployment", "inv-scheduler"))
    body["metadata"]["resourceVersion"] = str(version)
    body["metadata"]["annotations"] = {APPLIED: digest} if digest else {}
    return body


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rivals(clock):
    made = Rivals(clock)
    made.note(seen(10, "ours"))
    return made


def looked(rivals, bodies):
    return [rivals.contest(KEY, Observed.of([body])) for body in bodies]


def test_whoever_applies_over_us_again_and_again_is_a_rival(rivals):
    answers = looked(rivals, [seen(10 + number) for number in range(1, MANY + 1)])
    assert answers == [""] * (MANY - 1) + ["Deployment inv-scheduler"]


PEACE = {
    "we ourselves": [seen(number, "ours") for number in range(10, 30)],
    "news from before our apply": [seen(9) for _ in range(20)],
    "one edit that is seen again and again": [seen(11) for _ in range(20)],
    "somebody who removes the annotation": [seen(number, "") for number in range(11, 30)],
}


@pytest.mark.parametrize("case", PEACE)
def test_others_are_no_rivals(rivals, case):
    assert set(looked(rivals, PEACE[case])) == {""}


def test_after_a_minute_of_peace_we_try_again(rivals, clock):
    looked(rivals, [seen(10 + number) for number in range(1, MANY + 1)])
    clock.seconds = WINDOW_SECONDS - 1
    assert looked(rivals, [seen(15)]) == ["Deployment inv-scheduler"]
    clock.seconds = WINDOW_SECONDS
    assert looked(rivals, [seen(15)]) == [""]


def test_slow_changes_are_no_fight(rivals, clock):
    for number in range(1, 3 * MANY):
        clock.seconds += WINDOW_SECONDS / 3
        assert looked(rivals, [seen(10 + number)]) == [""]


def test_an_object_that_we_never_applied_is_nobodys_contest():
    assert looked(Rivals(Clock()), [seen(number) for number in range(11, 30)]) == [""] * 19
