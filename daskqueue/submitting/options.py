"""What can be chosen for a message, as users write it and as queues are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypedDict

from daskqueue.arguments import Duration, Moment, check_choice, check_count, epoch_of, seconds_of
from daskqueue.message import PLAIN, PutOptions, Terms

Overflow = Literal["block", "raise", "drop_oldest"]
OnConflict = Literal["return", "raise"]
# Text, or a function of a call's arguments that returns it.
Naming = str | Callable[..., str]
Types = type[BaseException] | Iterable[type[BaseException]]

MOST_PRIORITY = 1000
# A name is kept in the queue's memory and written into its log with each message.
NAME_LETTERS = 512
# Without a bound of its own, a longer first pause is its own bound.
BACKOFF_MAX_SECONDS = 600.0


class Names(NamedTuple):
    """The key and the group of one message, empty where it has none."""

    key: str = ""
    group: str = ""

    @property
    def deciding(self) -> str:
        """What decides which queue it goes to: messages of a group must be together."""
        return self.group or self.key


NAMELESS = Names()


class Backoff(NamedTuple):
    """Pauses before retries: *first* (seconds, or text such as ``"1s"``), doubled each time, *most* at most."""

    first: Duration = "1s"
    most: Duration = "10m"


class Choices(TypedDict, total=False):
    """The options of :meth:`QueuePool.options`, as users write them; None is no change."""

    retries: int | None
    backoff: Duration | Backoff | None
    backoff_max: Duration | None
    retry_on: Types | None
    no_retry_on: Types | None
    delay: Duration | None
    not_before: Moment | None
    expires: Duration | None
    timeout: Duration | None
    priority: int | None
    key: Naming | None
    key_window: Duration | None
    on_conflict: OnConflict | None
    group: Naming | None
    put_timeout: Duration | None
    overflow: Overflow | None
    linger: Duration | None


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """How messages are put, checked; see ``QueuePool.options``.

    Attributes:
        terms: what the queue is told beside the fields of its own: all but key and group.
        linger_seconds: how long a single submit may wait for others to share its record batch; 0 not at all.
    """

    retries: int = 0
    delay_seconds: float = 0.0
    not_before: float | None = None
    expires_seconds: float | None = None
    overflow: Overflow = "block"
    put_timeout_seconds: float | None = None
    key: Naming | None = None
    key_seconds: float = 0.0
    on_conflict: OnConflict = "return"
    group: Naming | None = None
    terms: Terms = PLAIN
    linger_seconds: float = 0.0

    @property
    def named(self) -> bool:
        """Whether messages go to the queue of their key or group, and not to the next one."""
        return self.key is not None or self.group is not None

    @property
    def patience_seconds(self) -> float | None:
        """How long a put waits for room in a full queue; None for as long as it takes."""
        return 0.0 if self.overflow == "raise" else self.put_timeout_seconds

    def names(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Names:
        """Return key and group of a call with these arguments.

        Raises:
            TypeError, ValueError: a function that was given for them returns no text, or an empty or too long one.
        """
        if self.key is None and self.group is None:
            return NAMELESS
        key, group = (
            _name_of(what, naming, args, kwargs)
            for what, naming in (("key", self.key), ("group", self.group))
        )
        return Names(key, group)

    def wire(self, names: Names = NAMELESS) -> PutOptions:
        """Return what a queue is told of a record batch, the names of its messages included."""
        terms = self.terms
        if names.key:
            terms = terms._replace(key=names.key, key_seconds=self.key_seconds)
        if names.group:
            terms = terms._replace(group=names.group)
        drop_oldest = self.overflow == "drop_oldest"
        return PutOptions(
            self.retries, self.delay_seconds, self.not_before, self.expires_seconds, drop_oldest, terms
        )


def changed(options: SubmitOptions, choices: Choices) -> SubmitOptions:
    """Return *options* with what a user has chosen.

    Raises:
        TypeError, ValueError: a choice that cannot be; the message names the argument and what it may be.
    """
    if unknown := choices.keys() - _READERS.keys():
        raise TypeError(f"there is no option {min(unknown)!r}; choose from {', '.join(_READERS)}")
    given = {what: value for what, value in choices.items() if value is not None}
    changes: dict[str, Any] = {}
    terms: dict[str, Any] = {}
    for what, value in given.items():
        field, read, of_terms = _READERS[what]
        (terms if of_terms else changes)[field] = read(what, value)
    terms |= _backoff_of(given, options.terms)
    _check_when(given)
    new = replace(options, **changes, terms=options.terms._replace(**terms))
    if new.delay_seconds and new.not_before is not None:
        # The later choice counts, not both.
        new = replace(new, delay_seconds=0.0) if "not_before" in given else replace(new, not_before=None)
    if new.expires_seconds is not None and new.expires_seconds <= new.delay_seconds:
        raise ValueError(
            f"the messages would expire after {new.expires_seconds:g} s, before their delay of "
            f"{new.delay_seconds:g} s is over: give a longer expires, or a shorter delay"
        )
    return new


def type_names(what: str, types: object) -> tuple[str, ...]:
    """Return ``module.qualname`` of an exception type, or of several.

    Raises:
        TypeError: something else is given; *what* names the argument.
    """
    several = tuple(types) if isinstance(types, (tuple, list, set, frozenset)) else (types,)
    for kind in several:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(
                f"{what} has {kind!r:.80}; give an exception type such as OSError, or a tuple of them"
            )
    return tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in several)


def check_text(what: str, value: object) -> str:
    """Return *value* if it can be a key or the name of a group.

    Raises:
        TypeError, ValueError: it cannot.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} is {value!r:.80}; it must be text")
    if not 0 < len(value) <= NAME_LETTERS:
        raise ValueError(f"{what} has {len(value)} letters; it must have 1 to {NAME_LETTERS}")
    return value


def _name_of(what: str, naming: Naming | None, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    if naming is None or isinstance(naming, str):
        return naming or ""
    return check_text(f"what the function for {what} returned", naming(*args, **kwargs))


def _naming(what: str, value: object) -> Naming:
    if callable(value):
        return value
    if not isinstance(value, str):
        raise TypeError(
            f"{what} is {value!r:.80}; it must be text, or a function of a call's arguments that returns text"
        )
    return check_text(what, value)


def _retries(what: str, value: object) -> object:
    check_count(what, value, least=0)
    return value


def _priority(what: str, value: object) -> object:
    check_count(what, value, least=-MOST_PRIORITY, most=MOST_PRIORITY)
    return value


def _longer_than_nothing(what: str, value: Any) -> float:
    return seconds_of(what, value, least=0.001)


def _first_pause(what: str, value: Any) -> float:
    return seconds_of(what, value.first if isinstance(value, Backoff) else value)


def _choice(*choices: str) -> Callable[[str, object], object]:
    def check(what: str, value: object) -> object:
        check_choice(what, value, choices)
        return value

    return check


# Argument: the field that it sets, how it is read, and whether it is one of the terms.
_READERS: dict[str, tuple[str, Callable[[str, Any], Any], bool]] = {
    "retries": ("retries", _retries, False),
    "delay": ("delay_seconds", seconds_of, False),
    "not_before": ("not_before", epoch_of, False),
    "expires": ("expires_seconds", _longer_than_nothing, False),
    "overflow": ("overflow", _choice("block", "raise", "drop_oldest"), False),
    "put_timeout": ("put_timeout_seconds", seconds_of, False),
    "key": ("key", _naming, False),
    "key_window": ("key_seconds", seconds_of, False),
    "on_conflict": ("on_conflict", _choice("return", "raise"), False),
    "group": ("group", _naming, False),
    "linger": ("linger_seconds", seconds_of, False),
    "priority": ("priority", _priority, True),
    "timeout": ("timeout_seconds", _longer_than_nothing, True),
    "backoff": ("backoff_seconds", _first_pause, True),
    "backoff_max": ("backoff_max_seconds", seconds_of, True),
    "retry_on": ("retry_on", type_names, True),
    "no_retry_on": ("no_retry_on", type_names, True),
}


def _backoff_of(given: dict[str, Any], before: Terms) -> dict[str, Any]:
    """Return the pauses that are chosen; one that is longer than the longest is a mistake."""
    if "backoff" not in given and "backoff_max" not in given:
        return {}
    first, most = before.backoff_seconds, before.backoff_max_seconds
    if "backoff" in given:
        first = _first_pause("backoff", given["backoff"])
        if isinstance(given["backoff"], Backoff):
            most = seconds_of("the longest backoff", given["backoff"].most)
        elif "backoff_max" not in given and first > BACKOFF_MAX_SECONDS:
            most = max(first, most or 0.0)
    if "backoff_max" in given:
        most = seconds_of("backoff_max", given["backoff_max"])
    if first is not None and most is not None and first > most:
        raise ValueError(f"the first pause, {first:g} s, is longer than backoff_max, {most:g} s")
    return {"backoff_seconds": first, "backoff_max_seconds": most}


def _check_when(given: dict[str, Any]) -> None:
    if "delay" in given and "not_before" in given:
        raise ValueError("delay and not_before both say when the messages may run: give one of them")
