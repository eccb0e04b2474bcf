"""What ledgers must never show, whoever was killed when: the contract, as a pure function of all their lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from .lines import Line

FINISHED, ERROR, CANCELLED = "finished", "error", "cancelled"
# What a task returns, and what it raises when it does, by the name of its message.
VALUES = {FINISHED: "done {}", ERROR: "no {}"}


class Run(NamedTuple):
    """One time that a message ran: when it began, and which attempt and delivery it was."""

    at: int
    attempt: int
    deliveries: int


@dataclass
class Story:
    """All that the ledgers say of one message, by its name."""

    name: str
    group: str = ""
    submitted_at: int | None = None
    answered_at: int | None = None
    ids: set[int] = field(default_factory=set)
    runs: list[Run] = field(default_factory=list)
    ends: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Account:
    """The lines of all ledgers, put together by message."""

    stories: dict[str, Story] = field(default_factory=dict)
    names: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    settled: dict[int, Line] = field(default_factory=dict)  # the first time that anybody was told
    finals: dict[int, tuple[str, str]] = field(default_factory=dict)
    rest: int | None = None

    def story(self, name: str) -> Story:
        return self.stories.setdefault(name, Story(name))

    def take(self, line: Line) -> None:
        """Enter a line."""
        given = line.particulars
        match line.what:
            case "submitting":
                story = self.story(given[0])
                story.group, story.submitted_at = given[1], line.at
            case "answered":
                self.story(given[0]).answered_at = line.at
                self._name(given[1], given[0])
            case "began":
                self._name(given[0], given[1])
                self.story(given[1]).runs.append(Run(line.at, given[2], given[3]))
            case "ended":
                self.story(given[1]).ends.append((line.at, given[3]))
            case "settled":
                self.settled.setdefault(given[0], line)
            case "final":
                self.finals[given[0]] = (given[1], given[2])
            case "rest":
                self.rest = given[0]

    def _name(self, number: int, name: str) -> None:
        self.story(name).ids.add(number)
        self.names[number].add(name)


def account_of(lines: Iterable[Line]) -> Account:
    """Return what the lines say, message by message; they are in the order of time."""
    account = Account()
    for line in lines:
        account.take(line)
    return account


def broken(account: Account) -> list[str]:
    """Return what was promised and not kept, a sentence each; nothing if all is well."""
    found = list(_whole(account))
    for story in account.stories.values():
        found += _nothing_lost(story, account)
        found += _once_settled_never_again(story, account)
        found += _deliveries_grow(story)
    groups = defaultdict(list)
    for story in account.stories.values():
        if story.group:
            groups[story.group].append(story)
    for stories in groups.values():
        found += _in_order(stories)
    return found


def _whole(account: Account) -> Iterator[str]:
    if account.rest != 0:
        yield f"at the end {account.rest} messages still wait or run"
    for number, names in account.names.items():
        if len(names) > 1:
            yield f"{number} is the id of {', '.join(sorted(names))}"


def _nothing_lost(story: Story, account: Account) -> Iterator[str]:
    if len(story.ids) > 1:
        yield f"{story.name} was put once and is there as {sorted(story.ids)}"
    if story.answered_at is None and not story.runs:
        return  # it was never put, as far as anybody knows
    status, value = account.finals.get(min(story.ids), ("unknown", ""))
    if status == CANCELLED:
        return
    if status not in VALUES:
        yield f"{story.name} was answered, or ran, and is {status} at the end"
    elif not story.runs:
        yield f"{story.name} is {status} and never ran"
    elif status == FINISHED and "returned" not in {how for _, how in story.ends}:
        yield f"{story.name} is finished and never returned"
    elif value != VALUES[status].format(story.name):
        yield f"{story.name} is {status} with {value!r}"


def _once_settled_never_again(story: Story, account: Account) -> Iterator[str]:
    for number in story.ids & account.settled.keys():
        line = account.settled[number]
        told, *values = line.particulars[1:]
        final, _ = account.finals.get(number, (told, ""))
        if final != told:
            yield f"{story.name} was told to be {told} and is {final} at the end"
        if values and values[0] != VALUES[told].format(story.name):
            yield f"{story.name} was told to be {told} with {values[0]!r}"
        for run in story.runs:
            if run.at > line.at:
                yield f"{story.name} ran again {(run.at - line.at) / 1e9:.3f} s after it was told to be {told}"


def _deliveries_grow(story: Story) -> Iterator[str]:
    for before, after in pairwise(story.runs):
        if after.deliveries <= before.deliveries or after.attempt < before.attempt:
            yield f"{story.name}: {after} follows {before}"


def _in_order(stories: list[Story]) -> Iterator[str]:
    """Of a group those run one after the other whose submits have returned, in the order of their submits.

    Where a submit did not return, nobody knows when its message arrives, if it does.
    """
    known = sorted((s for s in stories if s.answered_at), key=lambda story: story.submitted_at or 0)
    for before, after in pairwise(known):
        if not before.runs or not after.runs:
            continue
        first = after.runs[0].at
        if before.runs[-1].at > first:
            yield f"{before.name} ran after {after.name}, which is behind it in group {after.group}"
        elif not any(before.runs[-1].at < at < first for at, _ in before.ends):
            yield f"{after.name} began before {before.name} ended, which is before it in group {after.group}"
