"""What an inspection found, in words and in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SOUND, WRONG, UNUSABLE = 0, 1, 2

Level = Literal["note", "wrong", "unusable"]
_CODES = {"note": SOUND, "wrong": WRONG, "unusable": UNUSABLE}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that somebody should know.

    Attributes:
        level: ``note`` (as it should be, or harmless), ``wrong`` (the queue opens all the same), ``unusable``.
        what: what there is.
        means: what that means for messages.
        todo: what can be done; empty where nothing needs to be.
    """

    level: Level
    what: str
    means: str = ""
    todo: str = ""


@dataclass(slots=True)
class LogReport:
    """The segments of one log: of messages and facts, or of results.

    Attributes:
        segments: files that count.
        size_bytes: how much of them counts.
        frames: whole ones.
        strays: files that do not count.
        torn_bytes: of unfinished last writes.
        damaged: file, first byte and length of bytes that were once good.
        unknown_kinds: frames of kinds that this version does not know, by kind.
    """

    segments: int = 0
    size_bytes: int = 0
    frames: int = 0
    strays: list[str] = field(default_factory=list)
    torn_bytes: int = 0
    damaged: list[tuple[str, int, int]] = field(default_factory=list)
    unknown_kinds: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class QueueReport:
    """One queue.

    Attributes:
        name: of its folder.
        in_use: who has it open, None if nobody has.
        queue_id: hexadecimal.
        formats: the format version of each kind of file.
        epoch: how often it was opened.
        log, results: their segments.
        checkpoint: ``used``, or why it is not.
        messages: how many are in each state, if it were opened now.
        next_sequence: how many messages were ever put.
        checked: messages that wait, run or are dead, and whose bytes are whole.
        unreadable: runs of those whose bytes are not.
        lost: runs of messages that were put, and of which nothing is known any more.
        large_files: how many are needed.
        quarantine: names of files that were put aside.
        findings: all that is to be said.
    """

    name: str
    in_use: dict[str, Any] | None = None
    queue_id: str = ""
    formats: dict[str, int] = field(default_factory=dict)
    epoch: int = 0
    log: LogReport = field(default_factory=LogReport)
    results: LogReport = field(default_factory=LogReport)
    checkpoint: str = ""
    messages: dict[str, int] = field(default_factory=dict)
    next_sequence: int = 0
    checked: int = 0
    unreadable: list[tuple[int, int]] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    large_files: int = 0
    quarantine: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def say(self, level: Level, what: str, means: str = "", todo: str = "") -> None:
        """Add a finding."""
        self.findings.append(Finding(level, what, means, todo))

    @property
    def exit_code(self) -> int:
        """The code of the worst finding."""
        return worst(self.findings)


@dataclass(slots=True)
class Report:
    """A folder: a pool's with its queues, or one queue's.

    Attributes:
        path: the folder.
        pool: the pool's name; None for a queue's folder.
        queues: one report each.
        findings: about the folder itself.
    """

    path: str
    pool: str | None = None
    queues: list[QueueReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: sound; 1: something is wrong, but all queues open; 2: something cannot be opened."""
        return max([worst(self.findings), *(queue.exit_code for queue in self.queues)])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {**asdict(self), "exit_code": self.exit_code}


def worst(findings: list[Finding]) -> int:
    """Return the exit code that the findings deserve."""
    return max((_CODES[finding.level] for finding in findings), default=SOUND)
