"""What a folder is that somebody names: a pool's, a queue's, or neither."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from daskqueue.actors import pool_folder
from daskqueue.errors import FolderError

if TYPE_CHECKING:
    from pathlib import Path

    from daskqueue.actors.pool_folder import PoolRecord
    from daskqueue.storage.fs import FileSystem

_POOL_FILE = "pool.json"
_OF_QUEUE = re.compile(r"(.+)-queue-(\d+)")
_IN_QUEUE = re.compile(r"\d{20}\.(log|results)|lock|.+\.index")


class QueuePlace(NamedTuple):
    """The folder of one queue, and its number in the pool, if it has one."""

    number: int | None
    path: Path


class Place(NamedTuple):
    """A folder, and the queues in it.

    Attributes:
        path: the folder.
        pool: what its ``pool.json`` says; None where there is none, or none that can be used.
        queues: in the order of their numbers.
        trouble: why ``pool.json`` cannot be used, empty where it can or none is needed.
    """

    path: Path
    pool: PoolRecord | None
    queues: list[QueuePlace]
    trouble: str = ""


def find(fs: FileSystem, path: Path) -> Place:
    """Return the queues of a folder, which is a pool's or a queue's own.

    Raises:
        FolderError: it is neither, or cannot be read.
        FormatError: a newer version wrote its ``pool.json``.
    """
    try:
        if not fs.exists(path):
            raise FolderError(f"there is no folder {path}")
        names = fs.names(path)
    except NotADirectoryError:
        raise FolderError(f"{path} is a file; name the folder of a pool or of a queue") from None
    except OSError as error:
        if isinstance(error, FolderError):
            raise
        raise FolderError(f"cannot read the folder {path}: {error.strerror or error}; {_WHO}") from error
    if _POOL_FILE in names:
        return _pool(fs, path, names)
    if any(_IN_QUEUE.fullmatch(name) for name in names):
        match = _OF_QUEUE.fullmatch(path.name)
        return Place(path, None, [QueuePlace(int(match[2]) if match else None, path)])
    queues = _queues(path, names, None)
    if queues:
        return Place(path, None, queues, f"{path / _POOL_FILE} is gone, so no pool opens this folder")
    inside = f"it holds {len(names)} other files" if names else "it is empty"
    raise FolderError(
        f"{path} is no folder of a pool (no {_POOL_FILE}) and none of a queue (no log): {inside}"
    )


_WHO = "look at it as the user that the queue runs as, or as root"


def _pool(fs: FileSystem, path: Path, names: list[str]) -> Place:
    try:
        pool = pool_folder.read(str(path), fs)
    except OSError as error:
        return Place(path, None, _queues(path, names, None), f"{_POOL_FILE} cannot be used: {error}")
    return Place(path, pool, _queues(path, names, pool.name if pool else None))


def _queues(path: Path, names: list[str], pool: str | None) -> list[QueuePlace]:
    matches = [match for name in names if (match := _OF_QUEUE.fullmatch(name))]
    return sorted(QueuePlace(int(m[2]), path / m[0]) for m in matches if pool is None or m[1] == pool)
