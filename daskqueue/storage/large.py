"""Files for byte strings that are too large for the log: written whole, then never changed, then removed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from daskqueue.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from daskqueue.storage.frame import Buffer
    from daskqueue.storage.fs import FileSystem

_SUFFIX = ".batch"


class LargeFiles:
    """The folder ``large`` beside a log; made when it is first needed. All methods block.

    What is in the files is checked by whoever knows what it means.
    """

    def __init__(self, fs: FileSystem, folder: Path) -> None:
        self._fs = fs
        self._folder = folder / "large"

    def write(self, name: str, data: Buffer) -> None:
        """Put *data* on the disk under a new name; it is there for good when this returns.

        Raises:
            StorageError: the disk refused; nothing is left behind, or a file that counts for nothing.
        """
        path = self._folder / (name + _SUFFIX)
        temporary = path.with_name(path.name + ".tmp")
        try:
            self._fs.make_folder(self._folder)
            handle = self._fs.create(temporary)
            try:
                self._fs.write(handle, [data])
                self._fs.sync(handle)
            finally:
                self._fs.close(handle)
            self._fs.rename(temporary, path)
            self._fs.sync_folder(self._folder)
        except OSError as error:
            with suppress(OSError):
                self._fs.remove(temporary)
            raise StorageError(f"cannot write {path}: {error}") from error

    def read(self, name: str) -> bytes:
        """Return what was written under a name.

        Raises:
            StorageError: it is gone, or the disk fails.
        """
        path = self._folder / (name + _SUFFIX)
        try:
            handle = self._fs.open(path)
            try:
                return self._fs.read(handle, 0, self._fs.size(handle))
            finally:
                self._fs.close(handle)
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error}") from error

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are gone already do not matter.

        Raises:
            StorageError: the disk refused.
        """
        for name in names:
            self._unlink(name + _SUFFIX)

    def keep_only(self, names: Iterable[str]) -> int:
        """Remove all other files, as a crash leaves them behind; return how many there were.

        Raises:
            StorageError: the disk refused.
        """
        try:
            present = set(self._fs.names(self._folder)) if self._fs.exists(self._folder) else set()
        except OSError as error:
            raise StorageError(f"cannot read the folder {self._folder}: {error}") from error
        orphans = present - {name + _SUFFIX for name in names}
        for file_name in orphans:
            self._unlink(file_name)
        return len(orphans)

    def _unlink(self, file_name: str) -> None:
        try:
            self._fs.remove(self._folder / file_name)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageError(f"cannot remove {self._folder / file_name}: {error}") from error
