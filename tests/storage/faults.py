"""A file system that does what it is told to do wrong, and remembers what it was asked."""

from __future__ import annotations

import errno
import os

from daskqueue.storage.fs import LocalFileSystem


class FaultyFileSystem(LocalFileSystem):
    """The local disk; ``fail(verb, number, after=bytes)`` makes the next call of a verb fail.

    Attributes:
        calls: the verbs that were called, in order, without those that only look.
    """

    def __init__(self):
        self.calls = []
        self._faults = {}

    def fail(self, verb, number=errno.EIO, after=0, times=1):
        """Make the next *times* calls of *verb* raise; a write gets *after* bytes into the file before."""
        self._faults[verb] = [number, after, times]

    def _meet(self, verb):
        self.calls.append(verb)
        fault = self._faults.get(verb)
        if fault and fault[2]:
            fault[2] -= 1
            return fault
        return None

    def _maybe_raise(self, verb):
        fault = self._meet(verb)
        if fault:
            raise OSError(fault[0], os.strerror(fault[0]))

    def write(self, handle, buffers):
        fault = self._meet("write")
        if fault:
            super().write(handle, [b"".join(buffers)[: fault[1]]])
            raise OSError(fault[0], os.strerror(fault[0]))
        return super().write(handle, buffers)

    def create(self, path):
        self._maybe_raise("create")
        return super().create(path)

    def read(self, handle, offset, length):
        self._maybe_raise("read")
        return super().read(handle, offset, length)

    def truncate(self, handle, length):
        self._maybe_raise("truncate")
        super().truncate(handle, length)

    def sync(self, handle):
        self._maybe_raise("sync")
        super().sync(handle)

    def sync_folder(self, path):
        self._maybe_raise("sync_folder")
        super().sync_folder(path)

    def rename(self, old, new):
        self._maybe_raise("rename")
        super().rename(old, new)

    def remove(self, path):
        self._maybe_raise("remove")
        super().remove(path)
