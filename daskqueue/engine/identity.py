"""Which queue a folder holds, or that it holds none yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from daskqueue.errors import FolderError
from daskqueue.storage.catalogue import find_queue_id, has_frames
from daskqueue.storage.frame import FIRST_CALLER_KIND
from daskqueue.storage.fs import FileSystem
from daskqueue.storage.segment import HEADER_BYTES, SegmentFolder


def identify(
    fs: FileSystem, folder: Path, index_path: Path, guard: Callable[[], object], *, create: bool
) -> bytes | None:
    """Return the id of the queue in a folder; None if there is none yet.

    What a crash has left of the very first opening is removed; nobody was answered then.

    Args:
        fs: where the folder lies.
        folder: it.
        index_path: where the queue's checkpoint would be, which is written at the end of the first opening.
        guard: called before anything is removed; raises when the folder is no longer this process's own.
        create: whether there may be none.

    Raises:
        FolderError: there was a queue, and its log is gone; or there is none.
        FormatError: a newer version wrote there.
    """
    log, results = SegmentFolder(fs, folder, ".log"), SegmentFolder(fs, folder, ".results")
    queue_id = find_queue_id(log)
    if queue_id is not None:
        return queue_id
    queue_id = find_queue_id(results)
    if queue_id is None:
        _refuse_foreign(log)
    elif any(has_frames(log, queue_id, number) for number in log.numbers()):
        return queue_id
    if not create or fs.exists(index_path) or (queue_id and _have_outcomes(results, queue_id)):
        raise FolderError(
            f"{folder} has lost its log: a queue that is re-opened must find its files. Bring them back, "
            "or move the folder away to begin anew"
        )
    for place in (log, results):
        for number in place.numbers():
            guard()
            fs.remove(place.file(number))
    return None


def _have_outcomes(results: SegmentFolder, queue_id: bytes) -> bool:
    return any(has_frames(results, queue_id, number, FIRST_CALLER_KIND) for number in results.numbers())


def _refuse_foreign(log: SegmentFolder) -> None:
    """Raise if a file has the name of a segment, and nothing tells whose it is."""
    for number in log.numbers():
        handle = log.fs.open(log.file(number))
        try:
            header = log.fs.read(handle, 0, HEADER_BYTES)
        finally:
            log.fs.close(handle)
        if len(header) == HEADER_BYTES and any(header):
            raise FolderError(
                f"{log.file(number)} is no segment of a queue, or its beginning is destroyed, and no other file "
                "tells which queue this is. Bring back what can be brought back, or move the folder away"
            )
