"""A file system that is only looked at: what would change it is refused, by whatever code it is tried."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NoReturn

from daskqueue.storage.fs import FileSystem, Volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from daskqueue.storage.frame import Buffer


class ReadOnlyFileSystem(FileSystem):
    """The files of another file system, for reading; every other call raises ``OSError`` (EROFS)."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs

    def exists(self, path: Path) -> bool:
        return self._fs.exists(path)

    def names(self, path: Path) -> list[str]:
        return self._fs.names(path)

    def open(self, path: Path) -> int:
        return self._fs.open(path)

    def is_locked(self, path: Path) -> bool:
        return self._fs.is_locked(path)

    def leads_to(self, path: Path, handle: int) -> bool:
        return self._fs.leads_to(path, handle)

    def read(self, handle: int, offset: int, length: int) -> bytes:
        return self._fs.read(handle, offset, length)

    def size(self, handle: int) -> int:
        return self._fs.size(handle)

    def close(self, handle: int) -> None:
        self._fs.close(handle)

    def volume(self, path: Path) -> Volume:
        return self._fs.volume(path)

    def make_folder(self, path: Path, mode: int = 0o700) -> None:
        del mode
        _refuse(path)

    def create(self, path: Path) -> int:
        _refuse(path)

    def lock(self, path: Path) -> int:
        _refuse(path)

    def write(self, handle: int, buffers: Sequence[Buffer]) -> int:
        del buffers
        _refuse(handle)

    def truncate(self, handle: int, length: int) -> None:
        del length
        _refuse(handle)

    def allocate(self, handle: int, length: int) -> None:
        del length
        _refuse(handle)

    def sync(self, handle: int) -> None:
        _refuse(handle)

    def sync_folder(self, path: Path) -> None:
        _refuse(path)

    def rename(self, old: Path, new: Path) -> None:
        del new
        _refuse(old)

    def link(self, old: Path, new: Path) -> None:
        del new
        _refuse(old)

    def remove(self, path: Path) -> None:
        _refuse(path)


def _refuse(what: Path | int) -> NoReturn:
    raise OSError(errno.EROFS, "this folder is only looked at", str(what))
