"""The few file calls that storage is made of, and the local disk behind them.

Every call that touches a disk goes through :class:`FileSystem`, so a test can stop the world before or after
any of them. A handle is a number that only the file system that gave it understands.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from daskqueue.storage.descriptors import give_back, hold

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from daskqueue.storage.frame import Buffer

LARGE_READ = 1 << 20
MAX_BUFFERS = 1024  # IOV_MAX on Linux: one buffer more and writev answers EINVAL
# How often a lock is asked for while nobody holds it but those who look whether somebody does.
LOCK_TRIES = 1000


class Volume(NamedTuple):
    """How many bytes may still be written where a folder lies, and how many there can be at all."""

    free_bytes: int
    size_bytes: int


class FileSystem(Protocol):
    """What storage asks of a disk. Every call raises ``OSError`` when the disk refuses."""

    def make_folder(self, path: Path, mode: int = 0o700) -> None:
        """Create the folder and its missing parents, durably; of an existing one only the name is made durable."""

    def exists(self, path: Path) -> bool:
        """Say whether there is a file or folder of that name."""

    def names(self, path: Path) -> list[str]:
        """Return the names in a folder, in no particular order."""

    def create(self, path: Path) -> int:
        """Create a file that must not exist yet, and return a handle to read and append."""

    def open(self, path: Path) -> int:
        """Return a handle to read an existing file."""

    def lock(self, path: Path) -> int:
        """Create or open a file for reading and appending, and hold it for this handle alone.

        Raises:
            BlockingIOError: another handle holds it.
        """

    def is_locked(self, path: Path) -> bool:
        """Say whether a handle of any process holds the file; nothing is created or changed."""

    def leads_to(self, path: Path, handle: int) -> bool:
        """Say whether a name is still, or again, that of the file that is open."""

    def write(self, handle: int, buffers: Sequence[Buffer]) -> int:
        """Append all bytes of the buffers to the file, or raise; return their number."""

    def read(self, handle: int, offset: int, length: int) -> bytes:
        """Return *length* bytes from *offset*; fewer only where the file ends."""

    def size(self, handle: int) -> int:
        """Return the file's length in bytes."""

    def truncate(self, handle: int, length: int) -> None:
        """Cut the file to *length* bytes."""

    def allocate(self, handle: int, length: int) -> None:
        """Make the file *length* bytes long, all of them taken from the free room of the disk; never shorter."""

    def sync(self, handle: int) -> None:
        """Return when the file's bytes and length are on the disk."""

    def sync_folder(self, path: Path) -> None:
        """Return when the folder's names are on the disk."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, replacing what had it."""

    def link(self, old: Path, new: Path) -> None:
        """Give a file a second name, which must be free; the bytes stay as long as one of them does."""

    def remove(self, path: Path) -> None:
        """Remove a file's name; open handles still read its bytes."""

    def close(self, handle: int) -> None:
        """Give a handle back, and with it the lock it may hold."""

    def volume(self, path: Path) -> Volume:
        """Return how much room there is where the folder lies."""


class LocalFileSystem(FileSystem):
    """The disks of this machine."""

    def make_folder(self, path: Path, mode: int = 0o700) -> None:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        deepest = missing[-1].parent if missing else path
        with suppress(PermissionError):  # a folder above that is not ours, and was not made by us
            # Whoever made the last one may have been killed before its name was on the disk.
            self.sync_folder(deepest.parent)
        for folder in reversed(missing):
            folder.mkdir(mode=mode, exist_ok=True)
            self.sync_folder(folder.parent)

    def exists(self, path: Path) -> bool:
        return path.exists()

    def names(self, path: Path) -> list[str]:
        return [entry.name for entry in path.iterdir()]

    def create(self, path: Path) -> int:
        return hold(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)

    def open(self, path: Path) -> int:
        return hold(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe under the name of a file would wait for ever

    def lock(self, path: Path) -> int:
        handle = hold(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            _lock(handle)
        except OSError:
            give_back(handle)
            raise
        return handle

    def is_locked(self, path: Path) -> bool:
        handle = self.open(path)
        try:
            # Shared, so that two who ask do not see each other; given back at once with the handle.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            self.close(handle)
        return False

    def leads_to(self, path: Path, handle: int) -> bool:
        try:
            return os.path.samestat(path.stat(), os.fstat(handle))
        except FileNotFoundError:
            return False

    def write(self, handle: int, buffers: Sequence[Buffer]) -> int:
        total = sum(map(len, buffers))
        if len(buffers) <= MAX_BUFFERS:
            written = os.writev(handle, buffers)
            if written == total:
                return total
            buffers = _after(buffers, written)
        for group in _groups(buffers):
            rest = group
            while rest:
                rest = _after(rest, os.writev(handle, rest))
        return total

    def read(self, handle: int, offset: int, length: int) -> bytes:
        if length > LARGE_READ:
            length = max(
                min(length, self.size(handle) - offset), 0
            )  # memory is taken for all that is asked for
        data = os.pread(handle, length, offset)
        if len(data) == length or not data:
            return data
        pieces = [data]
        missing = length - len(data)
        while missing and (data := os.pread(handle, missing, offset + length - missing)):
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)

    def size(self, handle: int) -> int:
        return os.fstat(handle).st_size

    def truncate(self, handle: int, length: int) -> None:
        os.ftruncate(handle, length)

    def allocate(self, handle: int, length: int) -> None:
        os.posix_fallocate(handle, 0, length)

    def sync(self, handle: int) -> None:
        os.fdatasync(handle)

    def sync_folder(self, path: Path) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def link(self, old: Path, new: Path) -> None:
        os.link(old, new)

    def remove(self, path: Path) -> None:
        path.unlink()

    def close(self, handle: int) -> None:
        give_back(handle)

    def volume(self, path: Path) -> Volume:
        volume = os.statvfs(path)
        return Volume(volume.f_bavail * volume.f_frsize, volume.f_blocks * volume.f_frsize)


def _lock(handle: int) -> None:
    for _ in range(LOCK_TRIES):
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Refused as well, if somebody holds it; those who only look are gone at once.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    raise BlockingIOError(errno.EWOULDBLOCK, "many look at the lock, and nobody holds it")


def _groups(buffers: Sequence[Buffer]) -> Iterator[Sequence[Buffer]]:
    """Yield the buffers in groups that one ``writev`` takes."""
    remaining = iter(buffers)
    while group := list(islice(remaining, MAX_BUFFERS)):
        yield group


def _after(buffers: Sequence[Buffer], count: int) -> Sequence[Buffer]:
    """Return what is left of the buffers behind their first *count* bytes."""
    for index, buffer in enumerate(buffers):
        if count < len(buffer):
            return [memoryview(buffer)[count:], *buffers[index + 1 :]]
        count -= len(buffer)
    return []
