"""What users may choose for messages: read once, at the call, with the choices named."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest

from daskqueue.errors import WaitTimeoutError
from daskqueue.message import PutOptions, Terms
from daskqueue.submitting.options import Backoff, Choices, Names, SubmitOptions, changed


def chosen(**choices):
    return changed(SubmitOptions(), choices)


def told(**choices):
    """Return what the queue is told."""
    return chosen(**choices).wire()


def test_nothing_chosen_is_nothing_told():
    assert chosen().wire() == PutOptions()
    assert chosen(**dict.fromkeys(Choices.__annotations__)) == SubmitOptions()


@pytest.mark.parametrize(
    ("choices", "put"),
    [
        ({"retries": 3}, PutOptions(retries=3)),
        ({"delay": "10s"}, PutOptions(delay=10.0)),
        ({"delay": timedelta(minutes=1)}, PutOptions(delay=60.0)),
        ({"not_before": 1e9}, PutOptions(not_before=1e9)),
        ({"expires": "1h"}, PutOptions(expires=3600.0)),
        ({"overflow": "drop_oldest"}, PutOptions(drop_oldest=True)),
        ({"overflow": "raise"}, PutOptions()),
        ({"priority": -5}, PutOptions(terms=Terms(priority=-5))),
        ({"timeout": "2 minutes"}, PutOptions(terms=Terms(timeout_seconds=120.0))),
        ({"backoff": "5s"}, PutOptions(terms=Terms(backoff_seconds=5.0))),
        ({"backoff_max": "1m"}, PutOptions(terms=Terms(backoff_max_seconds=60.0))),
        (
            {"backoff": Backoff("2s", "1h")},
            PutOptions(terms=Terms(backoff_seconds=2.0, backoff_max_seconds=3600.0)),
        ),
        ({"retry_on": OSError}, PutOptions(terms=Terms(retry_on=("builtins.OSError",)))),
        (
            {"no_retry_on": (ValueError, WaitTimeoutError)},
            PutOptions(terms=Terms(no_retry_on=("builtins.ValueError", "daskqueue.errors.WaitTimeoutError"))),
        ),
    ],
    ids=str,
)
def test_a_queue_is_told_what_was_chosen(choices, put):
    assert told(**choices) == put


def test_a_moment_is_local_unless_it_has_a_time_zone():
    moment = datetime(2030, 1, 2, 3, 4, 5)  # noqa: DTZ001  as a user writes it
    assert told(not_before=moment).not_before == moment.timestamp()
    aware = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5)))
    assert told(not_before=aware).not_before == datetime(2030, 1, 1, 22, 4, 5, tzinfo=UTC).timestamp()


def test_key_and_group_are_those_of_the_message():
    options = chosen(key=lambda path, **_: path.upper(), key_window="1h", group="letters")
    names = options.names(("a.png",), {"size": 3})
    assert names == Names("A.PNG", "letters")
    assert names.deciding == "letters", "a group must be together, so it decides"
    terms = options.wire(names).terms
    assert (terms.key, terms.key_seconds, terms.group) == ("A.PNG", 3600.0, "letters")
    assert Names("a", "").deciding == "a"


def test_choices_add_up_and_the_last_one_counts():
    options = changed(chosen(retries=3, priority=1, retry_on=OSError), {"priority": 2})
    assert options.wire() == PutOptions(retries=3, terms=Terms(priority=2, retry_on=("builtins.OSError",)))
    assert changed(options, {"retry_on": ()}).terms.retry_on == ()
    assert changed(chosen(delay="10s"), {"not_before": 1e9}).wire() == PutOptions(not_before=1e9)
    assert changed(chosen(not_before=1e9), {"delay": "10s"}).wire() == PutOptions(delay=10.0)


def test_only_blocking_has_patience():
    assert chosen().patience_seconds is None
    assert chosen(put_timeout="2s").patience_seconds == 2.0
    assert chosen(put_timeout="2s", overflow="raise").patience_seconds == 0.0


def test_a_long_first_pause_needs_no_longest():
    assert told(backoff="1h").terms[5:8] == (None, 3600.0, 3600.0)


def test_options_travel():
    options = chosen(retries=3, key="a", backoff=Backoff())
    assert pickle.loads(pickle.dumps(options)) == options


BAD = {
    "an unknown option": ({"colour": "red"}, TypeError, "no option 'colour'; choose from retries, "),
    "negative retries": ({"retries": -1}, ValueError, "retries is -1; it must be 0 or more"),
    "words for a delay": ({"delay": "soon"}, ValueError, "delay is 'soon'; give seconds"),
    "a moment of words": ({"not_before": "noon"}, TypeError, "give a datetime, or seconds since the epoch"),
    "a moment before time": ({"not_before": -1}, ValueError, "not_before is -1"),
    "a moment that is a yes": ({"not_before": True}, TypeError, "not_before is True"),
    "delay and moment": ({"delay": 1, "not_before": 1e9}, ValueError, "give one of them"),
    "no life": ({"expires": 0}, ValueError, "expires is 0"),
    "a life shorter than its delay": ({"delay": 10, "expires": 10}, ValueError, "expire after 10 s, before"),
    "no time to run": ({"timeout": 0}, ValueError, "timeout is 0"),
    "half a priority": ({"priority": 0.5}, TypeError, "priority is 0.5; it must be a whole number"),
    "too high a priority": ({"priority": 1001}, ValueError, "between -1000 and 1000"),
    "an instance to retry on": ({"retry_on": OSError()}, TypeError, "give an exception type such as OSError"),
    "a name to retry on": ({"retry_on": "OSError"}, TypeError, "retry_on has 'OSError'"),
    "no exception to retry on": ({"retry_on": (OSError, int)}, TypeError, "retry_on has <class 'int'>"),
    "nor not to": ({"no_retry_on": int}, TypeError, "no_retry_on has <class 'int'>"),
    "a backwards back-off": (
        {"backoff": "10s", "backoff_max": "1s"},
        ValueError,
        "longer than backoff_max, 1 s",
    ),
    "a backwards typed one": ({"backoff": Backoff("10s", "1s")}, ValueError, "longer than backoff_max"),
    "a back-off of words": ({"backoff": Backoff("slow")}, ValueError, "backoff is 'slow'"),
    "an empty key": ({"key": ""}, ValueError, "key has 0 letters; it must have 1 to 512"),
    "too long a key": ({"key": "k" * 513}, ValueError, "key has 513 letters"),
    "a number for a key": ({"key": 3}, TypeError, "text, or a function of a call's arguments"),
    "a number for a group": ({"group": 3}, TypeError, "group is 3"),
    "a negative window": ({"key_window": -1}, ValueError, "key_window is -1"),
    "an unknown conflict": ({"on_conflict": "skip"}, ValueError, 'choose "return" or "raise"'),
    "an unknown overflow": ({"overflow": "burst"}, ValueError, 'choose "block", "raise" or "drop_oldest"'),
    "a negative put_timeout": ({"put_timeout": -1}, ValueError, "put_timeout is -1"),
    "a negative linger": ({"linger": -1}, ValueError, "linger is -1"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_what_cannot_be_is_refused_with_the_choices_named(case):
    choices, error, words = BAD[case]
    with pytest.raises(error) as caught:
        chosen(**choices)
    assert words in str(caught.value)


@pytest.mark.parametrize("answer", [3, None, "", "k" * 513], ids=str)
def test_a_function_for_keys_must_return_text(answer):
    with pytest.raises((TypeError, ValueError), match="what the function for key returned"):
        chosen(key=lambda: answer).names((), {})
