"""Every frame of the two logs of a queue: whole or not, known or not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daskqueue.batch import Batch
from daskqueue.core.runs import count
from daskqueue.engine.records import OUTCOME, read_fact, read_outcome
from daskqueue.errors import BatchError, CorruptionError
from daskqueue.inspecting.findings import LogReport
from daskqueue.storage.log import Stretch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskqueue.engine.records import Outcome
    from daskqueue.inspecting.progress import Progress
    from daskqueue.storage.frame import Frame
    from daskqueue.storage.log import Log
    from daskqueue.storage.segment import SegmentFolder


@dataclass(slots=True)
class Scan:
    """What is in a log.

    Attributes:
        report: its numbers.
        torn: unfinished ends of segments.
        nonsense: frames whose checksum is right and which say nothing that this version could understand.
    """

    report: LogReport
    torn: list[Stretch] = field(default_factory=list)
    nonsense: list[Stretch] = field(default_factory=list)


def scan_facts(log: Log, place: SegmentFolder, progress: Progress) -> Scan:
    """Read all frames of messages and facts."""
    scan = Scan(LogReport())
    unknown: Counter[int] = Counter()
    for frame, stretch in _frames(log, place, scan, progress):
        try:
            fact, _ = read_fact(frame)
        except CorruptionError:
            scan.nonsense.append(stretch)
            continue
        if fact is None:
            unknown[frame.kind] += 1
    scan.report.unknown_kinds = dict(unknown)
    return scan


def scan_results(log: Log, place: SegmentFolder, progress: Progress) -> Scan:
    """Read all frames of results; nothing is unpickled."""
    scan = Scan(LogReport())
    unknown: Counter[int] = Counter()
    for frame, stretch in _frames(log, place, scan, progress):
        if frame.kind != OUTCOME:
            unknown[frame.kind] += 1
        elif not _is_outcome(frame):
            scan.nonsense.append(stretch)
    scan.report.unknown_kinds = dict(unknown)
    return scan


def _is_outcome(frame: Frame) -> bool:
    try:
        return holds_each(read_outcome(frame))
    except (CorruptionError, BatchError):
        return False


def holds_each(outcome: Outcome) -> bool:
    """Return whether an outcome that has values has one for each of its messages.

    Raises:
        BatchError: its values are damaged.
    """
    if not len(outcome.blob):
        return True
    return Batch.parse(outcome.blob).count == count(outcome.runs)


def _frames(
    log: Log, place: SegmentFolder, scan: Scan, progress: Progress
) -> Iterator[tuple[Frame, Stretch]]:
    """Yield the frames of a log, and take note of everything that is none."""
    report, before = scan.report, log.segments
    report.segments, report.size_bytes = len(before), log.size_bytes
    report.strays = [place.file(number).name for number in log.strays]
    replay = log.replay()
    for frame, stretch in replay:
        progress.advance(stretch.length)
        yield frame, stretch
    report.frames = replay.report.frames
    report.torn_bytes = replay.report.torn_bytes
    report.damaged = [
        (place.file(number).name, offset, length) for number, offset, length in replay.report.damaged
    ]
    for long, short in zip(before, log.segments, strict=True):
        if long.length > short.length:
            scan.torn.append(Stretch(long.number, short.length, long.length - short.length))
