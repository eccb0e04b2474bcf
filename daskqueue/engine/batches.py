"""The bytes of leased messages: read, checked once, kept while they are being handed out, cut into slices."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from daskqueue.batch import Batch
from daskqueue.core.facts import Enqueued, Moved
from daskqueue.engine.large import Reference, read_reference
from daskqueue.engine.records import read_fact, read_moved
from daskqueue.errors import BatchError, BatchFormatError, CorruptionError
from daskqueue.layout import ALIGNED, MAGIC
from daskqueue.message import Run
from daskqueue.storage.frame import Frame
from daskqueue.storage.large import LargeFiles
from daskqueue.storage.log import Log, Stretch
from daskqueue.storage.positions import Entry, Positions

CACHE_BYTES = 8 << 20


class Slice(NamedTuple):
    """Some messages as one record batch: the sequence of the first, how many, the bytes."""

    first: int
    size: int
    data: bytes

    def cut(self, first: int, last: int) -> bytes:
        """Return the record batch of those of the messages that have the sequences ``first <= s < last``."""
        return Batch.parse(self.data, verify=False).slice(first - self.first, last - self.first)


class _Placed(NamedTuple):
    first: int
    batch: Batch


class BatchReader:
    """Finds and slices the record batches of a queue; at most :data:`CACHE_BYTES` of them stay in memory."""

    def __init__(self, log: Log, positions: Positions, large: LargeFiles) -> None:
        self._log = log
        self._positions = positions
        self._large = large
        self._cache: OrderedDict[Stretch, list[_Placed]] = OrderedDict()
        self._cached_bytes = 0

    def remember(self, stretch: Stretch, first: int, batch: Batch) -> None:
        """Keep a batch that was just written, if there is room: it is likely to be leased next."""
        if self._cached_bytes + max(stretch.length, batch.size_bytes) <= CACHE_BYTES:
            self._keep(stretch, [_Placed(first, batch)])

    def forget(self, segments: Collection[int]) -> None:
        """Drop what lies in segments that are to go."""
        for stretch in [s for s in self._cache if s.segment in segments]:
            self._drop(stretch)

    def cold(self, runs: Iterable[Run]) -> list[Stretch]:
        """Return the stretches that must be read from the disk before *runs* can be sliced."""
        wanted = {e.stretch for run in runs for e in self._positions.overlapping(run.first, run.last)}
        return sorted(stretch for stretch in wanted if stretch not in self._cache)

    def read(self, stretch: Stretch) -> list[_Placed]:
        """Return the record batches in *stretch*; damaged ones are left out. Safe in any thread.

        Raises:
            StorageError: the disk cannot read now, or a later version wrote it.
        """
        return [placed for frame in self._log.readable(stretch) for placed in self._whole_batches(frame)]

    def _whole_batches(self, frame: Frame) -> Iterator[_Placed]:
        try:
            yield from self._batches(frame)
        except BatchFormatError:
            raise  # not damaged: a later version will read it
        except (CorruptionError, BatchError):
            pass

    def admit(self, stretch: Stretch, placed: list[_Placed]) -> None:
        """Keep what :meth:`read` returned, in the place of what was used longest ago."""
        while self._cache and self._cached_bytes + _weight(stretch, placed) > CACHE_BYTES:
            self._drop(next(iter(self._cache)))
        self._keep(stretch, placed)

    def slices(self, runs: Iterable[Run]) -> Iterator[Slice]:
        """Yield the messages of *runs* in order; those whose bytes are damaged are not among them."""
        for run in runs:
            for entry in self._positions.overlapping(run.first, run.last):
                placed = self._get(entry.stretch)
                yield from _cut(placed, entry)
                if _weight(entry.stretch, placed) > CACHE_BYTES:
                    self._drop(entry.stretch)

    def read_slices(self, entry: Entry) -> list[Slice]:
        """Return the messages of an entry from the disk; nothing stays in memory. Safe in any thread."""
        return list(_cut(self.read(entry.stretch), entry))

    def bytes_per_message(self, run: Run) -> float:
        """Return about how many bytes a message at the start of *run* takes."""
        entry = self._positions.find(run.first)
        if entry is None:
            return 0.0
        return entry.stretch.length / max(entry.last - entry.first, 1)

    def _get(self, stretch: Stretch) -> list[_Placed]:
        placed = self._cache.get(stretch)
        if placed is None:
            placed = self.read(stretch)
            self.admit(stretch, placed)
        else:
            self._cache.move_to_end(stretch)
        return placed

    def _keep(self, stretch: Stretch, placed: list[_Placed]) -> None:
        if stretch not in self._cache:
            self._cache[stretch] = placed
            self._cached_bytes += _weight(stretch, placed)

    def _drop(self, stretch: Stretch) -> None:
        self._cached_bytes -= _weight(stretch, self._cache.pop(stretch))

    def _batches(self, frame: Frame) -> Iterator[_Placed]:
        fact, attachment = read_fact(frame)
        if isinstance(fact, Enqueued):
            reference = read_reference(attachment)
            batch = self._large_batch(reference) if reference else Batch.parse(attachment, verify=False)
            if batch is not None:
                yield _Placed(fact.first, batch)
        elif isinstance(fact, Moved):
            first = moved_run(fact).first
            for batch in Batch.parse_many(read_moved(attachment)[0], verify=False):
                yield _Placed(first, batch)
                first += batch.count

    def _large_batch(self, reference: Reference) -> Batch | None:
        """Return a record batch that is in a file; None if that is gone or damaged, which no frame would tell.

        Raises:
            StorageError: it cannot be read now.
        """
        try:
            data = self._large.read(reference.name)
        except CorruptionError:
            return None  # it is gone, and perhaps rightly so: this may be about others than are wanted
        try:
            if len(data) == reference.size_bytes:
                return Batch.parse(data)
        except BatchFormatError:
            if not any(map(_is_whole, (known + data[len(known) :] for known in (MAGIC, ALIGNED)))):
                raise
        except BatchError:
            pass
        self._large.note_damage(reference.name, reference.size_bytes)
        return None


def _is_whole(data: bytes) -> bool:
    try:
        Batch.parse(data)
    except BatchError:
        return False
    return True


def _cut(found: list[_Placed], entry: Entry) -> Iterator[Slice]:
    at = entry.first
    for placed in found:
        first = max(placed.first, at)
        last = min(placed.first + placed.batch.count, entry.last)
        if first < last:
            at = last  # of two records that claim the same numbers the first counts
            data = placed.batch.slice(first - placed.first, last - placed.first)
            yield Slice(first, last - first, data)


def _weight(stretch: Stretch, placed: list[_Placed]) -> int:
    """Return how much memory it takes to keep the batches of a stretch."""
    return max(stretch.length, sum([each.batch.size_bytes for each in placed]))


def moved_run(fact: Moved) -> Run:
    """Return the one run that a Moved fact is about."""
    pieces = [*fact.ready, *fact.delayed, *fact.dead]
    return Run(min(int(piece[0]) for piece in pieces), max(int(piece[1]) for piece in pieces))
