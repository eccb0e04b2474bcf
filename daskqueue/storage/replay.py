"""Read a log again after an opening: all whole frames in order, and a report of what was not whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daskqueue.storage.frame import FIRST_CALLER_KIND
from daskqueue.storage.segment import Stretch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from daskqueue.storage.frame import Frame
    from daskqueue.storage.reading import SegmentReader
    from daskqueue.storage.segment import Segment


@dataclass(slots=True)
class RecoveryReport:
    """What a replay met.

    Attributes:
        frames: whole frames that were served.
        torn_bytes: bytes of unfinished last writes, cut off.
        damaged: stretches that were once good and are not; nothing of them was served.
        strays: numbers of segment files that do not count, made by a former owner or by a crash.
    """

    frames: int = 0
    torn_bytes: int = 0
    damaged: list[Stretch] = field(default_factory=list)
    strays: list[int] = field(default_factory=list)

    @property
    def damaged_frames(self) -> int:
        """How many places are damaged; neighbours may count as one."""
        return len(self.damaged)


class Replay:
    """Frames of a log in order, each with where it lies; iterate it once.

    Attributes:
        report: grows while frames are taken; complete at the end.
        relocated: the position asked for is not there any more, so this begins with the oldest segment.
    """

    def __init__(
        self,
        parts: Sequence[tuple[Segment, int]],
        reader: SegmentReader,
        cut: Callable[[int, int], None],
        report: RecoveryReport,
        *,
        relocated: bool,
    ) -> None:
        self.report = report
        self.relocated = relocated
        self._parts = parts
        self._reader = reader
        self._cut = cut

    def __iter__(self) -> Iterator[tuple[Frame, Stretch]]:
        for stretch in self.report.damaged:
            self._reader.on_damage(stretch)
        for segment, start in self._parts:
            yield from self._frames(segment, start)

    def _frames(self, segment: Segment, start: int) -> Iterator[tuple[Frame, Stretch]]:
        number, end, report = segment.number, segment.length, self.report
        valid = end
        for offset, size, frame in self._reader.walk(number, start, end):
            stretch = Stretch(number, offset, size)
            if frame is not None:
                if frame.kind >= FIRST_CALLER_KIND:
                    report.frames += 1
                    yield frame, stretch
            elif offset + size >= end and not segment.exact and not self._reader.was_whole(stretch):
                valid = offset
                report.torn_bytes += size
            else:
                self.damage(stretch)
        self._cut(number, valid)

    def damage(self, stretch: Stretch) -> None:
        """Take note that a place is damaged: here, or in the eyes of whoever reads what the frames say."""
        self.report.damaged.append(stretch)
        self._reader.on_damage(stretch)
