"""One file with what a queue was at a position of its log; the file is replaced as a whole."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from daskqueue.errors import DiskFullError, FormatError, StorageError
from daskqueue.storage.reserve import DISK_FULL
from daskqueue.storage.segment import Position, newer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from daskqueue.storage.frame import Buffer
    from daskqueue.storage.fs import FileSystem

MAGIC = b"DASKQIDX"
VERSION = 1
HEADER = struct.Struct("<8sH6x16sQQQ4x")  # magic, version, queue id, segment, offset, payload length
CHECKSUM = struct.Struct("<I")
HEADER_BYTES = HEADER.size + CHECKSUM.size


class Damaged(str):
    """Why a checkpoint cannot be used that was once good."""

    __slots__ = ()


class Checkpoint(NamedTuple):
    """What the caller wrote, and the position of the log that it describes."""

    position: Position
    payload: bytes


def write(
    fs: FileSystem,
    path: Path,
    queue_id: bytes,
    position: Position,
    payload: Buffer,
    guard: Callable[[], object] = lambda: None,
) -> None:
    """Replace the checkpoint; when this returns the new one is on the disk, until then the old one counts.

    Args:
        fs: where the file lies.
        path: the checkpoint's file; a file of the same name with ``.tmp`` is used on the way.
        queue_id: 16 bytes; a checkpoint of another queue is never read.
        position: the log must be on the disk up to there.
        payload: opaque.
        guard: called right before the old one is replaced; what it raises leaves all as it is.

    Raises:
        DiskFullError: there is no room; the old checkpoint still counts.
        StorageError: the disk refused; the old checkpoint still counts.
    """
    packed = HEADER.pack(MAGIC, VERSION, queue_id, *position, len(payload))
    checked = CHECKSUM.pack(crc32(payload, crc32(packed)))
    temporary = path.with_name(path.name + ".tmp")
    try:
        if fs.exists(temporary):
            fs.remove(temporary)
        handle = fs.create(temporary)
        try:
            fs.write(handle, [packed, checked, payload])
            fs.sync(handle)
        finally:
            fs.close(handle)
        guard()
        fs.rename(temporary, path)
        fs.sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            fs.remove(temporary)
        refusal = DiskFullError if error.errno in DISK_FULL else StorageError
        raise refusal(f"cannot write the checkpoint {path}: {error}") from error


def read(fs: FileSystem, path: Path, queue_id: bytes | None = None) -> tuple[Checkpoint | None, str]:
    """Return the checkpoint, or None and why there is none that can be used, a :class:`Damaged` if it is damaged.

    Args:
        fs: where the file lies.
        path: the checkpoint's file.
        queue_id: the queue that it must be of; None takes any.

    Raises:
        FormatError: it is whole, and was written by a newer version.
    """
    try:
        handle = fs.open(path)
    except FileNotFoundError:
        return None, "there is no checkpoint"
    except OSError as error:
        return None, f"the checkpoint cannot be opened: {error}"
    try:
        data = fs.read(handle, 0, fs.size(handle))
    except OSError as error:
        return None, f"the checkpoint cannot be read: {error}"
    finally:
        fs.close(handle)
    return _decode(data, str(path), queue_id)


def _decode(data: bytes, name: str, queue_id: bytes | None) -> tuple[Checkpoint | None, str]:
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        return None, Damaged("the file is no checkpoint")
    _, version, owner, segment, offset, length = HEADER.unpack_from(data)
    payload = data[HEADER_BYTES:]
    whole = CHECKSUM.unpack_from(data, HEADER.size)[0] == crc32(payload, crc32(data[: HEADER.size]))
    if whole and version > VERSION:
        raise FormatError(newer(name, version, VERSION))
    if len(payload) != length:
        return None, Damaged(f"the checkpoint has {len(payload)} bytes instead of {length}")
    if not whole or version != VERSION:
        return None, Damaged("the checkpoint is damaged")
    if queue_id is not None and owner != queue_id:
        return None, f"the checkpoint is of queue {owner.hex()}"
    return Checkpoint(Position(segment, offset), payload), ""
