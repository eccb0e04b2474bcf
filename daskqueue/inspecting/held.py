"""The files of a queue's folder as they are at one moment, although somebody may write and remove them meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskqueue.errors import FolderError
from daskqueue.inspecting.read_only import ReadOnlyFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from daskqueue.storage.fs import FileSystem

# In this order: what a checkpoint tells of comes before it in the log, and the results before their acks.
_SUFFIXES = (".index", ".log", ".results")
# A process may have some hundreds of files open; of a folder with more, the others are read as they are by then.
_MOST_HELD = 400


class HeldFiles(ReadOnlyFileSystem):
    """Keeps open what is in a folder, so that it can be read though it is removed; what is appended is not seen.

    Args:
        fs: where the folder is.
        folder: the folder of one queue.

    Raises:
        FolderError: the folder cannot be read.
    """

    def __init__(self, fs: FileSystem, folder: Path) -> None:
        super().__init__(fs)
        self._names: dict[Path, list[str]] = {}
        self._handles: dict[Path, int] = {}
        self._sizes: dict[int, int] = {}
        try:
            large = folder / "large"
            if fs.exists(large):  # first: they go when the log says that they may
                self._hold(large, (".batch",))
            self._names[folder] = self._hold(folder, _SUFFIXES)
        except OSError as error:
            self.release()
            raise FolderError(f"cannot read the folder {folder}: {error.strerror or error}") from error

    def release(self) -> None:
        """Close all files."""
        while self._handles:
            _, handle = self._handles.popitem()
            super().close(handle)

    def names(self, path: Path) -> list[str]:
        if path in self._names:
            return self._names[path]
        held = {each.name for each in self._handles if each.parent == path}
        return sorted(held.union(super().names(path)))

    def exists(self, path: Path) -> bool:
        return path in self._handles or super().exists(path)

    def open(self, path: Path) -> int:
        return self._handles[path] if path in self._handles else super().open(path)

    def size(self, handle: int) -> int:
        return self._sizes[handle] if handle in self._sizes else super().size(handle)

    def read(self, handle: int, offset: int, length: int) -> bytes:
        if handle in self._sizes:
            length = max(min(length, self._sizes[handle] - offset), 0)
        return super().read(handle, offset, length)

    def close(self, handle: int) -> None:
        if handle not in self._sizes:
            super().close(handle)

    def _hold(self, place: Path, suffixes: Iterable[str]) -> list[str]:
        """Open files of a folder; return what is in it."""
        names = super().names(place)
        for suffix in suffixes:
            for name in sorted(name for name in names if name.endswith(suffix)):
                if len(self._handles) >= _MOST_HELD:
                    break
                try:
                    handle = super().open(place / name)
                except FileNotFoundError:  # it was removed since its name was read
                    names.remove(name)
                    continue
                except OSError:  # whoever needs it is told why
                    continue
                self._handles[place / name] = handle
                self._sizes[handle] = super().size(handle)
        return names
