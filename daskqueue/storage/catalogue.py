"""Find out which segment files of a folder count, and how far, without reading what is in them.

The first frame of a segment lists every older segment that counts, with the length that counts. So the newest
segment with a whole first frame is the *authority*: what it does not list was made by a former owner that did
not know it was one (a *stray*), and bytes behind a listed length were written by one. Segments newer than the
authority (the crash hit before their first frame was whole, or it is damaged) count as far as they go.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from daskqueue.errors import CorruptionError, FolderError
from daskqueue.storage.frame import HEADER_BYTES as FRAME_HEADER_BYTES
from daskqueue.storage.frame import LENGTHS, decode
from daskqueue.storage.scan import scan
from daskqueue.storage.segment import (
    HEADER_BYTES,
    Header,
    Opening,
    Segment,
    SegmentFolder,
    Stretch,
    decode_header,
    decode_opening,
)


class Catalogue(NamedTuple):
    """The segments that count, oldest first, and what was found beside them.

    ``highest_number`` and ``highest_epoch`` are those of all files, strays included; -1 and 0 without any.
    """

    queue_id: bytes | None
    segments: list[Segment]
    strays: list[int]
    damaged: list[Stretch]
    highest_number: int
    highest_epoch: int


class _File(NamedTuple):
    number: int
    size: int
    header: Header | None
    opening: Opening | None = None  # read only where it decides something
    refusal: FolderError | None = None  # it begins like no segment, or like another one
    claimed: Header | None = None  # of that one

    @property
    def stated(self) -> Header | Opening | None:
        return self.header or self.opening


def survey(place: SegmentFolder, queue_id: bytes | None, *, sure: bool = False) -> Catalogue:
    """Return which segments of a folder count; nothing is written.

    Args:
        place: the folder, and how the names of the segments end.
        queue_id: the 16 bytes that they must carry; None takes those of the first whole header.
        sure: whether it is known that the folder is this queue's, whatever its files begin with.

    Raises:
        FolderError: the folder cannot be read, or holds files of another queue or of no queue.
        FormatError: a newer version wrote there.
    """
    try:
        files = [_look(place, number) for number in place.numbers()]
        queue_id, files = _agree(place, files, queue_id)
        if not sure:
            _refuse_foreign(place, files, queue_id)
        if queue_id is None:
            return Catalogue(None, [], [file.number for file in files], [], _highest(files), 0)
        return _judge(place, queue_id, files)
    except OSError as error:
        if isinstance(error, FolderError):
            raise
        raise FolderError(f"cannot read the folder {place.path}: {error}") from error


def find_queue_id(place: SegmentFolder) -> bytes | None:
    """Return the queue id of the first whole header in a folder; None without any.

    Raises:
        FolderError: the folder cannot be read.
        FormatError: a newer version wrote there.
    """
    try:
        headers = (_look(place, number).header for number in place.numbers())
        return next((header.queue_id for header in headers if header is not None), None)
    except OSError as error:
        raise FolderError(f"cannot read the folder {place.path}: {error}") from error


def _look(place: SegmentFolder, number: int) -> _File:
    handle = place.fs.open(place.file(number))
    try:
        data, size = place.fs.read(handle, 0, HEADER_BYTES), place.fs.size(handle)
    finally:
        place.fs.close(handle)
    try:
        header = decode_header(data, str(place.file(number)))
    except FolderError as error:
        return _File(number, size, None, refusal=error)
    if header is not None and header.number != number:
        refusal = FolderError(f"{place.file(number)} is segment {header.number} under another name")
        return _File(number, size, None, refusal=refusal, claimed=header)
    return _File(number, size, header)


def _refuse_foreign(place: SegmentFolder, files: list[_File], queue_id: bytes | None) -> None:
    """Raise if a file begins like no segment, and nothing else says that this is the folder of a queue.

    Beside whole segments it is a damaged one, or one that was being made when the power failed.
    """
    if any(file.header for file in files):
        return
    for number, _, _, _, refusal, _ in files:
        if refusal is not None and (queue_id is None or not has_frames(place, queue_id, number)):
            raise refusal


def has_frames(place: SegmentFolder, queue_id: bytes, number: int, least_kind: int = 0) -> bool:
    """Say whether a segment has a whole frame of a kind from *least_kind* on."""
    handle = place.fs.open(place.file(number))
    try:
        size = place.fs.size(handle)
        found = scan(partial(place.fs.read, handle), HEADER_BYTES, size, place.mark(queue_id, number))
        return any(frame is not None and frame.kind >= least_kind for _, _, frame in found)
    finally:
        place.fs.close(handle)


def _opening(place: SegmentFolder, number: int, queue_id: bytes) -> Opening | None:
    """Return what the first frame of a segment says; None when it is torn or damaged."""
    fs, start, mark = place.fs, HEADER_BYTES, place.mark(queue_id, number)
    handle = fs.open(place.file(number))
    try:
        size = decode(fs.read(handle, start, FRAME_HEADER_BYTES), 0, mark, start).size
        if start + size > fs.size(handle):
            return None
        frame = decode(fs.read(handle, start, size), 0, mark, start).frame
    finally:
        fs.close(handle)
    try:
        return decode_opening(frame.payload) if frame and frame.kind == LENGTHS else None
    except CorruptionError:
        return None


def _agree(
    place: SegmentFolder, files: list[_File], queue_id: bytes | None
) -> tuple[bytes | None, list[_File]]:
    """Return the queue id that all headers carry, and the files without headers that are another queue's.

    A file that was never synced may begin with what was once in its place on the disk, even with a header.
    """
    agreed: list[_File] = []
    for file in files:
        header = file.header
        if header is not None:
            queue_id = queue_id or header.queue_id
            if header.queue_id != queue_id:
                error = FolderError(
                    f"{place.file(file.number)} belongs to queue {header.queue_id.hex()}, not {queue_id.hex()}"
                )
                if _opening(place, file.number, header.queue_id) is not None:
                    raise error
                file = file._replace(header=None, refusal=error)  # noqa: PLW2901  without the header
        agreed.append(file)
    for file in agreed:
        if file.claimed and queue_id and file.claimed.queue_id != queue_id and _is_whole(place, file):
            raise FolderError(
                f"{place.file(file.number)} is segment {file.claimed.number} of queue {file.claimed.queue_id.hex()}, "
                f"not of {queue_id.hex()}"
            )
    return queue_id, agreed


def _is_whole(place: SegmentFolder, file: _File) -> bool:
    """Say whether a file is, up to its end, the segment that its header claims, and not only begins like it."""
    if file.claimed is None:
        return False
    handle = place.fs.open(place.file(file.number))
    try:
        mark = place.mark(file.claimed.queue_id, file.claimed.number)
        found = scan(partial(place.fs.read, handle), HEADER_BYTES, file.size, mark)
        return all(frame is not None for _, _, frame in found)
    finally:
        place.fs.close(handle)


def _judge(place: SegmentFolder, queue_id: bytes, files: list[_File]) -> Catalogue:
    """Tell the segments that count from the strays."""
    files = [
        file if file.header else file._replace(opening=_opening(place, file.number, queue_id))
        for file in files
    ]
    authority, newer = _authority(place, queue_id, files)
    lengths = authority.opening.lengths if authority and authority.opening else {}
    floor = authority.number if authority else -1
    _refuse_renamed(files, lengths)
    counted, strays = [], []
    for file in files:
        # Nothing but a first frame that was never whole, or is damaged, keeps a newer segment from the list.
        unlisted = file.number in newer or (
            file.number > floor and not file.stated and file.size > HEADER_BYTES
        )
        if file.number == floor or file.number in lengths or unlisted:
            counted.append(file)
        else:
            strays.append(file.number)
    epoch = authority.stated.epoch if authority and authority.stated else 0
    segments = [_segment(file, lengths.get(file.number), epoch) for file in counted]
    epochs = (file.stated.epoch for file in files if file.stated)
    damaged = _damage(counted, lengths)
    return Catalogue(queue_id, segments, strays, damaged, _highest(files), max(epochs, default=0))


def _refuse_renamed(files: list[_File], lengths: dict[int, tuple[int, bool]]) -> None:
    """Raise if a file has the header of a segment that should be here under its own name."""
    named = {file.number for file in files if file.claimed is None}
    missing = {number for number in lengths if number > min(named, default=0)} - named
    for file in files:
        if file.claimed and file.claimed.number in missing and file.refusal is not None:
            raise file.refusal


def _authority(place: SegmentFolder, queue_id: bytes, files: list[_File]) -> tuple[_File | None, set[int]]:
    """Return the newest segment with a whole first frame, and the numbers of those newer than it."""
    newer: set[int] = set()
    stated = [(file.stated.epoch, file) for file in files if file.stated]
    for _, file in sorted(stated, key=lambda pair: (pair[0], pair[1].number), reverse=True):
        opening = file.opening or _opening(place, file.number, queue_id)
        if opening is not None:
            return file._replace(opening=opening), newer
        newer.add(file.number)
    return None, newer


def _segment(file: _File, listed: tuple[int, bool] | None, epoch: int) -> Segment:
    length, exact = listed or (file.size, False)
    first_sequence = file.stated.first_sequence if file.stated else file.number
    epoch = file.stated.epoch if file.stated else epoch
    return Segment(file.number, first_sequence, min(length, file.size), epoch, exact)


def _damage(counted: list[_File], lengths: dict[int, tuple[int, bool]]) -> list[Stretch]:
    """Return headers that are damaged and bytes that once counted and are gone."""
    present = {file.number: file for file in counted}
    oldest = min(present, default=0)
    damaged = [
        Stretch(file.number, 0, HEADER_BYTES)
        for file in counted
        if file.header is None and (file.number in lengths or file.opening)
    ]
    for number, (length, exact) in lengths.items():
        size = present[number].size if number in present else 0
        if number >= oldest and exact and size < length:
            damaged.append(Stretch(number, size, length - size))
    return damaged


def _highest(files: list[_File]) -> int:
    return max((file.number for file in files), default=-1)
