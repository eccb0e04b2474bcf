"""Who owns a queue's folder: a lock that the operating system gives back when its holder dies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from daskqueue.errors import FolderError, FolderInUseError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from daskqueue.storage.fs import FileSystem

NAME = "lock"
MAX_OWNER_BYTES = 64 * 1024


class FolderLock:
    """The folder is this process's own until :meth:`release`, or until the process is gone.

    The lock is ``flock`` on the file ``lock``; what the file says is for people. It is never stolen, and a
    file left by a process that is gone holds nobody back. A forked child shares the lock.

    Attributes:
        owner: what the file says.
    """

    def __init__(self, fs: FileSystem, folder: Path, handle: int) -> None:
        self.owner: dict[str, Any] = {}
        self._fs = fs
        self._folder = folder
        self._handle: int | None = handle

    @classmethod
    def take(cls, fs: FileSystem, folder: Path, owner: Mapping[str, str | float | None]) -> FolderLock:
        """Return the lock of an existing folder, with *owner* written into it.

        Args:
            fs: where the folder lies.
            folder: the queue's folder.
            owner: host, pid, cluster, key, epoch, since (epoch seconds), or what else names the owner.

        Raises:
            FolderInUseError: somebody has the folder; ``error.owner`` is what they wrote.
            FolderError: the folder cannot be reached or written.
        """
        try:
            handle = fs.lock(folder / NAME)
        except BlockingIOError:
            raise _in_use(folder, read_owner(fs, folder)) from None
        except OSError as error:
            raise FolderError(f"cannot lock the folder {folder}: {error}") from error
        lock = cls(fs, folder, handle)
        try:
            lock.record(**owner)
        except FolderError:
            lock.release()
            raise
        return lock

    def record(self, **changes: str | float | None) -> None:
        """Change what the file says of the owner, such as ``epoch=3``.

        Raises:
            FolderError: the file cannot be written; the lock is still held.
        """
        if self._handle is None:
            raise FolderError(f"the lock of {self._folder} was released")
        self.owner |= changes
        text = json.dumps(self.owner, indent=1).encode() + b"\n"
        try:
            self._fs.truncate(self._handle, 0)
            self._fs.write(self._handle, [text])
        except OSError as error:
            raise FolderError(f"cannot write {self._folder / NAME}: {error}") from error

    def release(self) -> None:
        """Give the folder to whoever wants it; twice is once."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            self._fs.close(handle)


def read_owner(fs: FileSystem, folder: Path) -> dict[str, Any] | None:
    """Return what the lock file of a folder says, whether it is held or not; None when it says nothing."""
    try:
        handle = fs.open(folder / NAME)
        try:
            text = fs.read(handle, 0, MAX_OWNER_BYTES)
        finally:
            fs.close(handle)
        owner = json.loads(text)
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None


def _in_use(folder: Path, owner: dict[str, Any] | None) -> FolderInUseError:
    words = ", ".join(f"{name} {value}" for name, value in (owner or {}).items() if value is not None)
    error = FolderInUseError(f"the folder {folder} is in use by {words or 'an unknown process'}")
    vars(error)["owner"] = owner or {}  # in the instance's dict, so that it is pickled with the error
    return error
