"""``pool.json``: which pool a folder belongs to, and how many queues it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from daskqueue.clock import new_name
from daskqueue.errors import FolderError, FormatError
from daskqueue.message import MAX_QUEUES
from daskqueue.storage.fs import FileSystem, LocalFileSystem

FORMAT_VERSION = 1
_NAME = "pool.json"
_FIELDS = ("format", "pool", "name", "queues")  # what later versions keep, too, and the checksum covers


class PoolRecord(NamedTuple):
    """What ``pool.json`` says."""

    pool_id: str
    name: str
    n_queues: int


def queue_folder(dirpath: str, name: str, index: int) -> Path:
    """Return the folder of one queue of a pool."""
    return Path(dirpath) / f"{name}-queue-{index}"


def claim(dirpath: str, name: str, n_queues: int, fs: FileSystem | None = None) -> PoolRecord:
    """Return the record of the pool in *dirpath*, after writing it if the folder is new.

    A pool that is opened with another number of queues than it had keeps its record until :func:`resize`.

    Raises:
        FolderError: the folder cannot be written, belongs to a pool of another name, or holds queue folders
            without a record.
        FormatError: written by a newer version.
    """
    fs = fs or LocalFileSystem()
    folder = Path(dirpath)
    try:
        fs.make_folder(folder)
        record = read(dirpath, fs)
        if record is None:
            _refuse_foreign(fs, folder, name)
            record = write(fs, folder, PoolRecord(new_name(), name, n_queues))
        _refuse_other(folder, record, name)
    except OSError as error:
        if isinstance(error, FolderError):
            raise
        raise FolderError(f"{folder} cannot be used: {error}") from error
    return record


def read(dirpath: str, fs: FileSystem | None = None) -> PoolRecord | None:
    """Return the record of the pool in *dirpath*, None if there is none.

    Raises:
        FolderError: the record is damaged.
        FormatError: written by a newer version.
    """
    fs = fs or LocalFileSystem()
    path = Path(dirpath) / _NAME
    if not fs.exists(path):
        return None
    handle = fs.open(path)
    try:
        content = fs.read(handle, 0, fs.size(handle))
    finally:
        fs.close(handle)
    try:
        fields: dict[str, Any] = json.loads(content)
        version, record = int(fields["format"]), PoolRecord(*[fields[name] for name in _FIELDS[1:]])
        _check(fields)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise FolderError(
            f"{path} is damaged: {error!r}. The queues beside it are not touched by that. Write the file again, with "
            f'what can still be read of it: {{"format": {FORMAT_VERSION}, "pool": "<its id>", "name": "<the '
            'pool\'s name>", "queues": <how many there are>}'
        ) from error
    if version > FORMAT_VERSION:
        raise FormatError(
            f"{path} has format {version}; this version knows {FORMAT_VERSION}: a newer daskqueue has had this "
            "folder open. Nothing was changed. Upgrade daskqueue"
        )
    return record


def _check(fields: dict[str, Any]) -> None:
    """Raise if the fields are not what was written; people may leave the checksum out, as early versions did."""
    format_version, pool_id, name, n_queues = [fields[field] for field in _FIELDS]
    words, numbers = (pool_id, name), (format_version, n_queues)
    if not all(type(word) is str for word in words) or not all(type(number) is int for number in numbers):
        raise ValueError("names and numbers are not where they should be")
    if not (pool_id and name and 0 < n_queues <= MAX_QUEUES):
        raise ValueError("there is no such pool")
    if "checksum" in fields and fields["checksum"] != _checksum(fields):
        raise ValueError("its checksum does not match")


def _checksum(fields: dict[str, Any]) -> int:
    return crc32(json.dumps([fields[field] for field in _FIELDS]).encode())


def grow(dirpath: str, n_queues: int, fs: FileSystem | None = None) -> None:
    """Write down that the pool in *dirpath* has *n_queues* queues now; they are all open."""
    fs = fs or LocalFileSystem()
    record = read(dirpath, fs)
    if record is not None and record.n_queues < n_queues:
        write(fs, Path(dirpath), record._replace(n_queues=n_queues))


def resize(dirpath: str, n_queues: int, fs: FileSystem | None = None) -> None:
    """Write down that *n_queues* queues of the pool in *dirpath* are in use; folders of others are empty."""
    fs = fs or LocalFileSystem()
    record = read(dirpath, fs)
    if record is not None and record.n_queues != n_queues:
        write(fs, Path(dirpath), record._replace(n_queues=n_queues))


def count_folders(dirpath: str, name: str, fs: FileSystem | None = None) -> int:
    """Return one past the highest number of a queue that has a folder in *dirpath*, in use or not."""
    fs = fs or LocalFileSystem()
    start = f"{name}-queue-"
    numbers = (entry.removeprefix(start) for entry in fs.names(Path(dirpath)) if entry.startswith(start))
    return max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)


def settle(dirpath: str, name: str, index: int, fs: FileSystem | None = None) -> int:
    """Make sure that *dirpath* is a folder of the pool *name* with a place for queue *index*.

    Returns:
        How many queues the pool has, as far as this folder knows.

    Raises:
        FolderError: the folder cannot be written, or belongs to a pool of another name.
        FormatError: written by a newer version.
    """
    record = read(dirpath, fs)
    n_queues = max(index + 1, record.n_queues if record else 0)
    claim(dirpath, name, n_queues, fs)
    grow(dirpath, n_queues, fs)
    return n_queues


def _refuse_foreign(fs: FileSystem, folder: Path, name: str) -> None:
    strangers = [entry for entry in fs.names(folder) if entry.startswith(f"{name}-queue-")]
    if strangers:
        raise FolderError(
            f"{folder} holds {', '.join(sorted(strangers))} but no {_NAME}: it was not made by this "
            "version of daskqueue; choose another dirpath"
        )


def _refuse_other(folder: Path, record: PoolRecord, name: str) -> None:
    if record.name != name:
        raise FolderError(
            f"{folder} belongs to the pool {record.name!r}; open it with name={record.name!r}, "
            f"or give {name!r} a folder of its own"
        )


def write(fs: FileSystem, folder: Path, record: PoolRecord) -> PoolRecord:
    """Write the record of a pool into its folder, in the place of what was there; return it."""
    fields = {
        "format": FORMAT_VERSION,
        "pool": record.pool_id,
        "name": record.name,
        "queues": record.n_queues,
    }
    temporary = folder / f".{_NAME}.{new_name()}"
    handle = fs.create(temporary)
    try:
        fs.write(handle, [json.dumps(fields | {"checksum": _checksum(fields)}, indent=2).encode()])
        fs.sync(handle)
    finally:
        fs.close(handle)
    fs.rename(temporary, folder / _NAME)
    fs.sync_folder(folder)
    return record
