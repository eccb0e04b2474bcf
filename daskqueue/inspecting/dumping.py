"""What stands in the segments of a queue, frame by frame, for people; nothing is unpickled."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from daskqueue.batch import Batch
from daskqueue.core.facts import Acked, Carried, Died, Enqueued, Fact, Moved
from daskqueue.engine.large import read_reference
from daskqueue.engine.records import OUTCOME, read_fact, read_moved, read_outcome, read_position, read_witness
from daskqueue.errors import BatchError, StorageError
from daskqueue.inspecting.opened import identity
from daskqueue.inspecting.read_only import ReadOnlyFileSystem
from daskqueue.message import PLAIN, Terms
from daskqueue.storage.catalogue import survey
from daskqueue.storage.frame import LENGTHS
from daskqueue.storage.reading import SegmentReader
from daskqueue.storage.segment import HEADER_BYTES, Position, SegmentFolder, decode_opening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from daskqueue.storage.frame import Frame
    from daskqueue.storage.fs import FileSystem


class Shown(NamedTuple):
    """One frame, or bytes that are none.

    Attributes:
        file: the segment's name.
        offset: its first byte there.
        size: its bytes, header and padding included.
        kind: the number of its kind; -1 where there is no frame.
        name: what it is.
        fields: what it says.
    """

    file: str
    offset: int
    size: int
    kind: int
    name: str
    fields: dict[str, Any]


def frames(
    fs: FileSystem, path: Path, suffix: str = ".log", start: Position | None = None, *, payloads: bool = False
) -> Iterator[Shown]:
    """Yield what lies in the segments of a queue that count, in order.

    Args:
        fs: where the folder is.
        path: the folder of one queue.
        suffix: ``.log`` for messages and facts, ``.results`` for results.
        start: where to begin: a segment's number and a byte between two frames.
        payloads: also say what the record batches hold: how many messages, which functions.

    Raises:
        FolderError: the folder cannot be read, or is no queue's.
        FormatError: a newer version wrote there.
    """
    place = SegmentFolder(ReadOnlyFileSystem(fs), path, suffix)
    queue_id = identity(fs, path, path / f"{path.name}.index")
    found = survey(place, queue_id, sure=True)
    reader = SegmentReader(place, queue_id)
    try:
        for segment in found.segments:
            if start is not None and segment.number < start.segment:
                continue
            is_first = start is not None and segment.number == start.segment
            begin = start.offset if start is not None and is_first else HEADER_BYTES
            name = place.file(segment.number).name
            for offset, size, frame in reader.walk(segment.number, begin, segment.length):
                if frame is None:
                    torn = offset + size >= segment.length and not segment.exact
                    yield Shown(name, offset, size, -1, "torn" if torn else "damaged", {})
                else:
                    yield Shown(name, offset, size, frame.kind, *_said(frame, payloads=payloads))
    finally:
        reader.close()


def _said(frame: Frame, *, payloads: bool) -> tuple[str, dict[str, Any]]:
    """Return the name of a frame's kind, and what it says."""
    try:
        if frame.kind == LENGTHS:
            opening = decode_opening(frame.payload)
            lengths = {str(number): length for number, (length, _) in opening.lengths.items()}
            said = {"epoch": opening.epoch, "first_sequence": opening.first_sequence, "segments": lengths}
            return "Lengths", said
        if frame.kind == OUTCOME:
            outcome = read_outcome(frame)._asdict()
            return "Outcome", {**_plain(outcome), "blob": _summary(outcome["blob"], payloads=payloads)}
        fact, attachment = read_fact(frame)
        if fact is None:
            return "unknown", {"bytes": len(frame.payload)}
        return type(fact).__name__, {**_plain(_fields(fact)), **_beside(fact, attachment, payloads=payloads)}
    except StorageError as error:
        return "nonsense", {"why": str(error), "bytes": len(frame.payload)}


def _beside(fact: Fact, attachment: memoryview, *, payloads: bool) -> dict[str, Any]:
    """Return what lies beside a fact."""
    told: dict[str, Any] = {}
    match fact:
        case Enqueued() if reference := read_reference(attachment):
            told = {"file": f"large/{reference.name}.batch", "bytes": reference.size_bytes}
        case Enqueued():
            told = {"batch": _summary(attachment, payloads=payloads)}
        case Moved():
            batches, failures = read_moved(attachment)
            told = {"batches": _summary(batches, payloads=payloads), "failures": {"bytes": len(failures)}}
        case Acked() if witness := read_witness(attachment):
            told = {"needs": list(witness.needs), "synced": list(witness.synced)}
        case Carried():
            told = {"results": list(read_position(attachment))}
        case Died():
            told = {"failures": {"bytes": len(attachment)}}
    return told


def _summary(data: memoryview, *, payloads: bool) -> dict[str, Any]:
    """Return how many bytes record batches have, and what can be told of them without unpickling."""
    told: dict[str, Any] = {"bytes": len(data)}
    if not payloads or not len(data):
        return told
    try:
        batches = Batch.parse_many(data)
    except BatchError as error:
        return told | {"damaged": str(error)}
    told["messages"] = sum(batch.count for batch in batches)
    told["holds"] = sorted({_content(batch) for batch in batches})
    told["functions"] = sorted({name for batch in batches for name in batch.function_names})
    return told


def _content(batch: Batch) -> str:
    if batch.holds_results:
        return "results"
    return "items" if batch.holds_items else "calls"


def _fields(fact: Any) -> dict[str, Any]:
    return {field.name: getattr(fact, field.name) for field in fields(fact)}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as JSON has them; bytes as hexadecimal digits, and of terms those that were chosen."""
    return {name: _value(value) for name, value in values.items() if not isinstance(value, memoryview)}


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Terms):
        chosen = value._asdict()
        return {name: _value(chosen[name]) for name in chosen if chosen[name] != getattr(PLAIN, name)}
    if isinstance(value, tuple | list):
        return [_value(each) for each in value]
    return value
