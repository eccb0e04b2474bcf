"""A file system in the memory of this process: transient queues run the durable code on it."""

from __future__ import annotations

import errno
import os
from itertools import count
from typing import TYPE_CHECKING

from daskqueue.storage.fs import FileSystem, Volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from daskqueue.storage.frame import Buffer


class _File:
    """One file: its bytes, and the handle that has it locked."""

    __slots__ = ("data", "holder")

    def __init__(self) -> None:
        self.data = bytearray()
        self.holder: int | None = None


class MemoryFileSystem(FileSystem):
    """Files that live as long as this object; nothing is ever synced, and nothing needs to be."""

    def __init__(self) -> None:
        self._files: dict[Path, _File] = {}
        self._folders: set[Path] = set()
        self._open: dict[int, _File] = {}
        self._numbers = count(3)

    def make_folder(self, path: Path, mode: int = 0o700) -> None:
        del mode
        self._folders.update((path, *path.parents))

    def exists(self, path: Path) -> bool:
        return path in self._files or path in self._folders

    def names(self, path: Path) -> list[str]:
        self._demand_folder(path)
        return [entry.name for entry in (*self._files, *self._folders) if entry.parent == path and entry.name]

    def create(self, path: Path) -> int:
        self._demand_folder(path.parent)
        if self.exists(path):
            raise _error(FileExistsError, errno.EEXIST, path)
        file = self._files[path] = _File()
        return self._hand_out(file)

    def open(self, path: Path) -> int:
        return self._hand_out(self._file(path))

    def lock(self, path: Path) -> int:
        file = self._files.get(path)
        if file is None:
            self._demand_folder(path.parent)
            file = self._files[path] = _File()
        if file.holder is not None:
            raise _error(BlockingIOError, errno.EWOULDBLOCK, path)
        file.holder = self._hand_out(file)
        return file.holder

    def is_locked(self, path: Path) -> bool:
        return self._file(path).holder is not None

    def leads_to(self, path: Path, handle: int) -> bool:
        return self._files.get(path) is self._open[handle]

    def write(self, handle: int, buffers: Sequence[Buffer]) -> int:
        data = self._open[handle].data
        before = len(data)
        for buffer in buffers:
            data += buffer
        return len(data) - before

    def read(self, handle: int, offset: int, length: int) -> bytes:
        # A slice copies twice, but a memoryview would make an append in another thread raise BufferError.
        return bytes(self._open[handle].data[offset : offset + length])

    def size(self, handle: int) -> int:
        return len(self._open[handle].data)

    def truncate(self, handle: int, length: int) -> None:
        del self._open[handle].data[length:]

    def allocate(self, handle: int, length: int) -> None:
        data = self._open[handle].data
        data += bytes(max(length - len(data), 0))

    def sync(self, handle: int) -> None:
        del handle

    def sync_folder(self, path: Path) -> None:
        self._demand_folder(path)

    def rename(self, old: Path, new: Path) -> None:
        self._files[new] = self._file(old)
        del self._files[old]

    def link(self, old: Path, new: Path) -> None:
        file = self._file(old)
        self._demand_folder(new.parent)
        if self.exists(new):
            raise _error(FileExistsError, errno.EEXIST, new)
        self._files[new] = file

    def remove(self, path: Path) -> None:
        self._file(path)
        del self._files[path]

    def close(self, handle: int) -> None:
        file = self._open.pop(handle)
        if file.holder == handle:
            file.holder = None

    def volume(self, path: Path) -> Volume:
        self._demand_folder(path)
        page = os.sysconf("SC_PAGE_SIZE")
        return Volume(os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page)

    def _hand_out(self, file: _File) -> int:
        handle = next(self._numbers)
        self._open[handle] = file
        return handle

    def _file(self, path: Path) -> _File:
        try:
            return self._files[path]
        except KeyError:
            raise _error(FileNotFoundError, errno.ENOENT, path) from None

    def _demand_folder(self, path: Path) -> None:
        if path not in self._folders:
            raise _error(FileNotFoundError, errno.ENOENT, path)


def _error(kind: type[OSError], number: int, path: Path) -> OSError:
    return kind(number, os.strerror(number), str(path))
