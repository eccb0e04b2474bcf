"""Who owns a queue's folder: a lock that the operating system gives back when its holder dies, and a fence.

The lock alone does not stop an owner that was paused: when it wakes, its lock may be gone (somebody removed the
file, a network file system forgot it) and the folder another's. So each owner writes a word of its own into the
file before it looks at anything else in the folder. An owner that finds its word there after a sync knows that
whoever comes later will see what was synced; one that does not find it has lost the folder, and changes nothing.
"""

from __future__ import annotations

import errno
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from daskqueue.errors import FolderError, FolderInUseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from daskqueue.storage.fs import FileSystem

NAME = "lock"
TOKEN = "token"  # noqa: S105  it keeps nobody out
MAX_OWNER_BYTES = 64 * 1024
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class FolderLock:
    """The folder is this process's own until :meth:`release`, or until the process is gone.

    The lock is ``flock`` on the file ``lock``. It is never stolen, and a file left by a process that is gone holds
    nobody back. A forked child has neither the lock nor the folder.

    Attributes:
        owner: what the file says of it.
    """

    def __init__(self, fs: FileSystem, folder: Path, handle: int) -> None:
        self.owner: dict[str, Any] = {}
        self._fs = fs
        self._folder = folder
        self._path = folder / NAME
        self._handle: int | None = handle
        self._token: dict[str, Any] = {}
        self._word = b""

    @classmethod
    def take(cls, fs: FileSystem, folder: Path, owner: Mapping[str, str | float | None]) -> FolderLock:
        """Return the lock of an existing folder, with *owner* written into it.

        Args:
            fs: where the folder lies.
            folder: the queue's folder.
            owner: host, pid, cluster, key, epoch, since (epoch seconds), or what else names the owner; and a random
                :data:`TOKEN`, which no other opening has, and which people are not shown.

        Raises:
            FolderInUseError: somebody has the folder; ``error.owner`` is what they wrote.
            FolderError: the folder cannot be reached or written.
        """
        try:
            handle = fs.lock(folder / NAME)
        except BlockingIOError:
            owner_now = read_owner(fs, folder)
            raise _in_use(f"the folder {folder} is in use by {_words(owner_now)}", owner_now) from None
        except OSError as error:
            raise FolderError(f"cannot lock the folder {folder}: {error}") from error
        lock = cls(fs, folder, handle)
        try:
            lock._sign(owner)
            lock.verify()
        except BaseException:
            lock.release()
            raise
        return lock

    @property
    def held(self) -> bool:
        """Whether it was not released."""
        return self._handle is not None

    def record(self, **changes: str | float | None) -> None:
        """Say more of the owner, such as ``epoch=3``.

        Raises:
            FolderError: the file cannot be written; the lock is still held.
        """
        # Behind what is there: an owner that does not know yet that it is none must not hide the next one's word.
        self._append({**self._token, **changes})
        self.owner |= changes

    def verify(self) -> None:
        """Return if the folder is still this owner's; a few microseconds on a local disk. Safe in any thread.

        After a sync it proves that the next owner finds what was synced; before a file is removed, that nobody
        else may need it.

        Raises:
            FolderInUseError: it is another's by now; ``error.owner`` is what they wrote.
            FolderError: the file ``lock`` is gone or cannot be read, or this process is a forked child.
        """
        handle = self._handle
        if handle is None:
            raise FolderError(f"the lock of {self._folder} was released")
        try:
            word = self._read(handle)
        except FileNotFoundError:
            raise FolderError(
                f"somebody has removed {self._path} while its queue was open: {_STOPS}; open it again"
            ) from None
        except OSError as error:
            what = (
                "a forked child does not own it"
                if error.errno == errno.EBADF
                else "another process may own it"
            )
            raise FolderError(f"cannot read {self._path}, and {what}: {error}") from error
        if word != self._word:
            owner = read_owner(self._fs, self._folder)
            raise _in_use(
                f"the folder {self._folder} was taken over by {_words(owner)} while this process, "
                f"{_words(self.owner)}, was stopped or out of touch: {_STOPS}",
                owner,
            )

    def release(self) -> None:
        """Give the folder to whoever wants it; twice is once."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            with suppress(OSError):  # the lock goes with the descriptor, whatever its close says
                self._fs.close(handle)

    def _sign(self, owner: Mapping[str, str | float | None]) -> None:
        """Put this owner's word in the place of the one before."""
        handle = self._usable()
        try:
            self._fs.truncate(handle, 0)
            self._word = self._append(dict(owner))
            # A network file system shows it to other machines from now on.
            self._fs.sync(handle)
        except FolderError:
            raise
        except OSError as error:
            raise FolderError(f"cannot write {self._path}: {error}") from error
        self.owner = {name: value for name, value in owner.items() if name != TOKEN}
        self._token = {TOKEN: owner[TOKEN]} if TOKEN in owner else {}

    def _append(self, words: dict[str, Any]) -> bytes:
        text = json.dumps(words, indent=1).encode() + b"\n"
        try:
            self._fs.write(self._usable(), [text])
        except OSError as error:
            raise FolderError(f"cannot write {self._path}: {error}") from error
        return text

    def _read(self, handle: int) -> bytes:
        """Return what stands where this owner's word was."""
        length = len(self._word)
        self._fs.read(handle, 0, 1)  # refused in a forked child
        try:
            fresh = self._fs.open(self._path)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
            return self._fs.read(handle, 0, length) if self._fs.leads_to(self._path, handle) else b""
        try:
            return self._fs.read(fresh, 0, length)
        finally:
            self._fs.close(fresh)

    def _usable(self) -> int:
        if self._handle is None:
            raise FolderError(f"the lock of {self._folder} was released")
        return self._handle


def read_owner(fs: FileSystem, folder: Path) -> dict[str, Any] | None:
    """Return what the lock file of a folder says, whether it is held or not; None when it says nothing."""
    try:
        handle = fs.open(folder / NAME)
        try:
            text = fs.read(handle, 0, MAX_OWNER_BYTES)
        finally:
            fs.close(handle)
        first, *others = _objects(text.decode())
    except (OSError, ValueError, RecursionError):
        return None
    token = first.pop(TOKEN, None)
    for more in others:
        if more.pop(TOKEN, None) == token:
            first |= more
    return first


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that follow each other in *text*, up to what is none."""
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        try:
            words, end = decoder.raw_decode(text)
        except ValueError:
            return
        if not isinstance(words, dict):
            return
        yield words
        text = text[end:].strip()


_STOPS = "what it has answered is kept, and it changes nothing more there"


def _words(owner: dict[str, Any] | None) -> str:
    known = ", ".join(f"{name} {value}" for name, value in (owner or {}).items() if value not in (None, ""))
    return known or "an unknown process"


def _in_use(message: str, owner: dict[str, Any] | None) -> FolderInUseError:
    error = FolderInUseError(message)
    vars(error)["owner"] = owner or {}  # in the instance's dict, so that it is pickled with the error
    return error
