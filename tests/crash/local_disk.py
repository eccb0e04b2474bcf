"""What `LocalFileSystem` makes of its verbs, as tales: on the model disk where that can show it."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from daskqueue.storage.fs import LocalFileSystem

from .contracts import FOLDER, Contract


class _Place:
    """A path of the model disk, as `LocalFileSystem` takes paths."""

    def __init__(self, disk, path):
        self._disk, self._path = disk, path

    @property
    def parents(self):
        return [_Place(self._disk, parent) for parent in self._path.parents]

    @property
    def parent(self):
        return _Place(self._disk, self._path.parent)

    def exists(self):
        return self._disk.exists(self._path)

    def mkdir(self, mode, *, exist_ok):
        del mode, exist_ok
        if self._disk._note("mkdir", self._path):
            self._disk._folders.add(self._path)


class _LocalOnModel(LocalFileSystem):
    """The product's `make_folder`, on a model disk."""

    def __init__(self, disk):
        self._disk = disk

    def sync_folder(self, path):
        self._disk.sync_folder(path._path)


class FoldersAreThere(Contract):
    """Folders that were made are there, and their parents."""

    def tell(self):
        for name in ("a", "b", "b/c"):
            path = FOLDER / name
            if name == "b":
                _Place(self.disk, path).mkdir(0o700, exist_ok=True)  # by somebody who was killed then
            _LocalOnModel(self.disk).make_folder(_Place(self.disk, path))
            self.promise(lambda left, path=path: left.exists(path))


class TheSystemIsTold(Contract):
    """`LocalFileSystem` makes of each sync, rename and link the system's; there is no crash in this tale."""

    def tell(self):
        with TemporaryDirectory() as folder:
            self._sync_and_name(LocalFileSystem(), Path(folder))

    def _sync_and_name(self, fs, folder):
        asked = []

        def note(name, real):
            def call(handle):
                asked.append((name, os.fstat(handle).st_ino))
                real(handle)

            return call

        with (
            patch.object(os, "fdatasync", note("file", os.fdatasync)),
            patch.object(os, "fsync", note("folder", os.fsync)),
        ):
            handle = fs.create(folder / "old")
            try:
                fs.write(handle, [b"bytes"])
                fs.sync(handle)
            finally:
                fs.close(handle)
            fs.sync_folder(folder)
            fs.rename(folder / "old", folder / "new")
            fs.link(folder / "new", folder / "second")
        file, place = (folder / "new").stat(), folder.stat()
        assert asked == [("file", file.st_ino), ("folder", place.st_ino)]
        assert sorted(entry.name for entry in folder.iterdir()) == ["new", "second"]
        assert file.st_nlink == 2
