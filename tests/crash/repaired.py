"""The tale of a repair: what it has written is on the disk when it says so."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.bench import Bench

from daskqueue.actors import pool_folder
from daskqueue.inspecting.repairing import repair
from daskqueue.storage.fs import LocalFileSystem

from .contracts import Contract

POOL = "p"


class WatchedFileSystem(LocalFileSystem):
    """The local disk, and what of it is not known to be on the disk: files and folders, by inode.

    `make_folder` is left alone: that it syncs is another tale.
    """

    def __init__(self):
        self.dirty = set()

    def write(self, handle, buffers):
        self.dirty.add(os.fstat(handle).st_ino)
        return super().write(handle, buffers)

    def truncate(self, handle, length):
        self.dirty.add(os.fstat(handle).st_ino)
        super().truncate(handle, length)

    def sync(self, handle):
        super().sync(handle)
        self.dirty.discard(os.fstat(handle).st_ino)

    def create(self, path):
        self.dirty.add(path.parent.stat().st_ino)
        return super().create(path)

    def rename(self, old, new):
        self.dirty |= {old.parent.stat().st_ino, new.parent.stat().st_ino}
        super().rename(old, new)

    def sync_folder(self, path):
        super().sync_folder(path)
        self.dirty.discard(path.stat().st_ino)


class RepairsAreOnTheDisk(Contract):
    """A repaired pool is whole, and nothing of it would go with the power; there is no crash in this tale."""

    def tell(self):
        with TemporaryDirectory() as folder:
            old, new = Path(folder, "old"), Path(folder, "above", "new")
            self._make_pool(old)
            fs = WatchedFileSystem()
            repair(old, new, fs)
            assert {path.name for path in new.iterdir()} == {path.name for path in old.iterdir()}
            unsafe = [path for path in (new.parent, new, *new.rglob("*")) if path.stat().st_ino in fs.dirty]
            assert unsafe == []

    def _make_pool(self, folder):
        pool_folder.claim(str(folder), POOL, 2)
        for index in range(2):
            bench = Bench(LocalFileSystem(), pool_folder.queue_folder(str(folder), POOL, index))
            try:
                bench.open()
                bench.put("a", "b", "c")
                bench.ack(bench.lease(1))
                bench.nack(bench.lease(1), final=True)
                bench.close()
            finally:
                bench.clear_away()
