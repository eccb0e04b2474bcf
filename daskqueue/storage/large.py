"""Files for byte strings that are too large for the log: written whole, then never changed, then removed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from daskqueue.errors import CorruptionError, DiskFullError, StorageError
from daskqueue.storage.reserve import DISK_FULL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from daskqueue.storage.frame import Buffer
    from daskqueue.storage.fs import FileSystem
    from daskqueue.storage.reading import OnDamage

_SUFFIX = ".batch"


class LargeFiles:
    """The folder ``large`` beside a log; made when it is first needed. All methods block.

    What is in the files is checked by whoever knows what it means.

    Args:
        fs: where the log lies.
        folder: the folder of the log.
        on_damage: called with the file, the first byte and the length of what is found damaged.
    """

    def __init__(self, fs: FileSystem, folder: Path, on_damage: OnDamage | None = None) -> None:
        self._fs = fs
        self._on_damage = on_damage
        self._folder = folder / "large"
        self._folder_is_there = False

    def write(self, name: str, data: Buffer) -> None:
        """Put *data* on the disk under a new name; it is there for good when this returns.

        Raises:
            DiskFullError: there is no room; nothing is left behind.
            StorageError: the disk refused; nothing is left behind, or a file that counts for nothing.
        """
        path = self._folder / (name + _SUFFIX)
        temporary = path.with_name(path.name + ".tmp")
        try:
            self._make_folder()
            handle = self._fs.create(temporary)
            try:
                self._fs.write(handle, [data])
                self._fs.sync(handle)
            finally:
                self._fs.close(handle)
            self._fs.rename(temporary, path)
            self._fs.sync_folder(self._folder)
        except OSError as error:
            for left in (temporary, path):
                with suppress(OSError):
                    self._fs.remove(left)
            refusal = DiskFullError if error.errno in DISK_FULL else StorageError
            raise refusal(f"cannot write {path}: {error}") from error

    def read(self, name: str) -> bytes:
        """Return what was written under a name.

        Raises:
            CorruptionError: it is gone.
            StorageError: it cannot be read now; that says nothing about what is in it.
        """
        path = self._folder / (name + _SUFFIX)
        try:
            handle = self._fs.open(path)
            try:
                return self._fs.read(handle, 0, self._fs.size(handle))
            finally:
                self._fs.close(handle)
        except FileNotFoundError as error:
            raise CorruptionError(f"{path} is gone") from error
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error}") from error

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are gone already do not matter.

        Raises:
            StorageError: the disk refused.
        """
        for name in names:
            self._unlink(name + _SUFFIX)

    def note_damage(self, name: str, length: int) -> None:
        """Tell whoever wants to know that a file is not what was written, or is gone."""
        if self._on_damage is not None:
            self._on_damage(self.path(name), 0, length)

    def path(self, name: str) -> Path:
        """Return the file of a name."""
        return self._folder / (name + _SUFFIX)

    def orphans(self, names: Iterable[str]) -> list[Path]:
        """Return the whole files that have other names than these.

        Raises:
            StorageError: the disk refused.
        """
        known = {self.path(name) for name in names}
        return [
            path
            for path in map(self._folder.joinpath, self._names())
            if path.suffix == _SUFFIX and path not in known
        ]

    def keep_only(self, names: Iterable[str], guard: Callable[[], object] = lambda: None) -> int:
        """Remove all other files, as a crash leaves them behind; return how many there were.

        Args:
            names: the files that stay.
            guard: raises where the folder is another's by now. Asked when it is known what is there: a file that
                comes later is the next owner's.

        Raises:
            StorageError: the disk refused.
        """
        orphans = self._names() - {name + _SUFFIX for name in names}
        guard()
        for file_name in orphans:
            self._unlink(file_name)
        return len(orphans)

    def _make_folder(self) -> None:
        if not self._folder_is_there:
            self._fs.make_folder(self._folder)
            self._folder_is_there = True

    def _names(self) -> set[str]:
        try:
            return set(self._fs.names(self._folder)) if self._fs.exists(self._folder) else set()
        except OSError as error:
            raise StorageError(f"cannot read the folder {self._folder}: {error}") from error

    def _unlink(self, file_name: str) -> None:
        try:
            self._fs.remove(self._folder / file_name)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageError(f"cannot remove {self._folder / file_name}: {error}") from error
