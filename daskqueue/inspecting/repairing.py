"""Write all that is whole in a folder into a new one; the old folder is only read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from daskqueue.actors import pool_folder
from daskqueue.core.runs import count, merge
from daskqueue.errors import FolderError, FolderInUseError, StorageError
from daskqueue.inspecting.agreement import differences
from daskqueue.inspecting.findings import SOUND
from daskqueue.inspecting.opened import NoQueueError, Opened, owner_of
from daskqueue.inspecting.payloads import unreadable
from daskqueue.inspecting.places import Place, find
from daskqueue.inspecting.progress import Silence
from daskqueue.inspecting.read_only import ReadOnlyFileSystem
from daskqueue.inspecting.rebuilding import Rebuilding, Rebuilt
from daskqueue.inspecting.remarks import words_of
from daskqueue.inspecting.verifying import verify_queue
from daskqueue.storage.fs import LocalFileSystem

if TYPE_CHECKING:
    from pathlib import Path

    from daskqueue.inspecting.progress import Progress
    from daskqueue.storage.fs import FileSystem

_UNFINISHED = ".unfinished"


@dataclass(slots=True)
class Repaired:
    """What was written, and what was left behind.

    Attributes:
        path: the old folder.
        target: the new one.
        queues: what was written of each queue, by the name of its folder.
        notes: sentences about the folder itself.
    """

    path: str
    target: str
    queues: dict[str, Rebuilt] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def left_behind(self) -> int:
        """How many messages were not whole."""
        return sum(count(queue.left_behind) for queue in self.queues.values())

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {**asdict(self), "left_behind": self.left_behind}


def repair(
    path: Path, target: Path, fs: FileSystem | None = None, progress: Progress | None = None
) -> Repaired:
    """Write a new folder with all that is whole in an old one, which is not touched.

    It is built under another name and looked through before it gets its own: a *target* that is there is whole.

    Args:
        path: the folder of a pool or of a queue; nobody may have it open.
        target: the new folder; it must be empty or not be there.
        fs: where both are; the disks of this machine by default.
        progress: hears how far this is.

    Raises:
        FolderError: *path* is no folder of queues or has lost a log, or *target* is not empty.
        FolderInUseError: somebody has a queue open.
        FormatError: a newer version wrote there.
        StorageError: the disk refused.
    """
    fs = fs or LocalFileSystem()
    place = find(ReadOnlyFileSystem(fs), path)
    unfinished = target.with_name(target.name + _UNFINISHED)
    _refuse(fs, place, target, unfinished)
    repaired = Repaired(str(path), str(target))
    try:
        fs.make_folder(unfinished)
        _write(repaired, place, fs, target, unfinished, progress or Silence())
        fs.rename(unfinished, target)
        fs.sync_folder(target.parent)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot write {target}: {error}; {unfinished} may be deleted") from error
    return repaired


def _refuse(fs: FileSystem, place: Place, target: Path, unfinished: Path) -> None:
    """Make sure that the old folder is nobody's now, and the new one nothing yet."""
    if target.resolve().is_relative_to(place.path.resolve()):
        raise FolderError(
            f"{target} lies in {place.path}, which must not be touched; name a folder elsewhere"
        )
    try:
        if fs.exists(target) and fs.names(target):
            raise FolderError(f"{target} is not empty; name a folder that is empty or not there")
    except NotADirectoryError:
        raise FolderError(f"{target} is a file; name a folder that is empty or not there") from None
    if fs.exists(unfinished):
        raise FolderError(
            f"{unfinished} is there: another repair runs, or was interrupted; delete it if none runs"
        )
    for queue in place.queues:
        _refuse_owner(fs, queue.path)


def _refuse_owner(fs: FileSystem, path: Path) -> None:
    owner = owner_of(fs, path)
    if owner is not None:
        words = ", ".join(f"{name} {value}" for name, value in owner.items() if value is not None)
        raise FolderInUseError(
            f"{path} is in use by {words or 'an unknown process'}; stop the queue before it is repaired"
        )


def _write(
    repaired: Repaired, place: Place, fs: FileSystem, target: Path, unfinished: Path, progress: Progress
) -> None:
    if place.queues and place.queues[0].path == place.path:
        repaired.queues[place.path.name] = _rebuild(place.path, fs, unfinished, target.name, progress)
        return
    _write_record(repaired, place, fs, unfinished)
    for queue in place.queues:
        folder = unfinished / queue.path.name
        fs.make_folder(folder)
        repaired.queues[folder.name] = _rebuild(queue.path, fs, folder, folder.name, progress)


def _write_record(repaired: Repaired, place: Place, fs: FileSystem, unfinished: Path) -> None:
    """Write ``pool.json``: as it was, or from what the names of the folders say."""
    if place.pool is not None:
        pool_folder.write(fs, unfinished, place.pool)
        return
    names = {queue.path.name.rpartition("-queue-")[0] for queue in place.queues}
    if len(names) != 1:
        raise FolderError(f"{place.path} holds queues of {len(names)} pools; repair them one by one")
    (name,) = names
    size = 1 + max(queue.number or 0 for queue in place.queues)
    pool_folder.claim(str(unfinished), name, size, fs)
    repaired.notes.append(f"pool.json was written anew: the pool {name!r} with {size} queues, under a new id")


def _rebuild(path: Path, fs: FileSystem, folder: Path, name: str, progress: Progress) -> Rebuilt:
    """Write one queue anew, and compare what was written with what there was."""
    try:
        source = Opened(fs, path)
    except NoQueueError:
        return Rebuilt()
    with source:
        progress.begin(f"{path.name}: looking", source.log.size_bytes)
        book, _ = source.fold()
        gone = unreadable(source, book, progress)
        progress.begin(f"{path.name}: writing", source.log.size_bytes + source.results.size_bytes)
        rebuilding = Rebuilding(source, gone, fs, folder, name)
        rebuilding.run(progress)
        _compare(rebuilding, fs, folder, name)
        _refuse_owner(fs, path)
        with Opened(fs, path) as now:
            is_same = now.log.epoch == source.log.epoch
        if not is_same:
            raise StorageError(
                f"{path} was opened by a queue while it was repaired; stop the queue, and repair again"
            )
    rebuilding.rebuilt.without_failure = list(merge(rebuilding.rebuilt.without_failure))
    return rebuilding.rebuilt


def _compare(rebuilding: Rebuilding, fs: FileSystem, folder: Path, name: str) -> None:
    """Make sure that the new folder is sound and says what the old one did, apart from what was left behind.

    Raises:
        StorageError: it does not, by a fault of daskqueue.
    """
    report = verify_queue(folder, fs, name=name)
    with Opened(fs, folder, name) as written:
        book, recovered = written.fold()
    found = differences(rebuilding.expected(), book.queue, recovered.saved_at)
    wrong = [finding.what for finding in report.findings if finding.level != "note"]
    wrong += [f"{each.what}: {words_of(each.runs) if each.runs else each.words}" for each in found]
    if report.exit_code != SOUND or wrong:
        raise StorageError(
            f"the folder that was written is not what it should be, so it stays in {folder}: {'; '.join(wrong)}. "
            "This is a fault of daskqueue: report it, and keep the old folder"
        )
