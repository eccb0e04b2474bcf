"""A disk that refuses: any call, with any error, once or for as long as it is full."""

from __future__ import annotations

import errno
import os
from collections import Counter
from typing import NamedTuple

from daskqueue.storage.fs import Volume
from daskqueue.storage.memory import MemoryFileSystem

BLOCK = 4096
# What each verb may be refused with; "short" writes a part and then finds the disk full.
SPACE = (errno.ENOSPC, errno.EDQUOT)
SICK = (errno.EIO, errno.EROFS)
HANDLES = (errno.EMFILE, errno.ENFILE, errno.EINTR)
REFUSALS = {
    "make_folder": (*SPACE, *SICK),
    "names": (errno.EIO, *HANDLES),
    "create": (*SPACE, *SICK, *HANDLES),
    "open": (errno.EIO, *HANDLES),
    "lock": (*SPACE, *SICK, *HANDLES),
    "write": (*SPACE, *SICK, errno.EINTR),
    "read": (errno.EIO, errno.EINTR),
    "size": (errno.EIO,),
    "truncate": SICK,
    "allocate": (*SPACE, errno.EIO, errno.EOPNOTSUPP),
    "sync": (errno.EIO, errno.ENOSPC, errno.EDQUOT),
    "sync_folder": (errno.EIO, errno.EMFILE),
    "rename": (*SPACE, *SICK),
    "remove": SICK,
    "close": (errno.EIO,),
    "volume": (errno.EIO,),
}


class Fault(NamedTuple):
    """The call number *nth* of a verb is refused with an error number; a write gets a *part* of its bytes in."""

    verb: str
    nth: int
    number: int
    part: float = 0.0

    def __str__(self):
        part = f" after {self.part:.0%}" if self.part else ""
        return f"{self.verb} number {self.nth}: {errno.errorcode[self.number]}{part}"


class FaultyDisk(MemoryFileSystem):
    """Files in memory; what a failed sync left behind is taken for written, as Linux does, and never is.

    Attributes:
        calls: how often each verb was called.
        fault: what goes wrong, None for nothing.
        met: whether it did.
        chance: how likely any call is to be refused, as *rng* says.
        refused: how many were.
        size_bytes: how many bytes there are on the disk, None for no end of them.
    """

    def __init__(self, fault=None, size_bytes=None, rng=None):
        super().__init__()
        self.calls = Counter()
        self.chance = 0.0
        self.refused = 0
        self._rng = rng
        self.fault = fault
        self.met = False
        self.size_bytes = size_bytes
        self.foreign_bytes = 0  # somebody else's
        self._synced = {}  # id of a file -> the file, its bytes on the disk
        self._skipped = {}  # id of a file -> stretches that a failed sync has marked as written
        self._failed = []  # the files of those, so that no later file has the id of one that is gone
        self._names = {}  # folder -> its names on the disk
        self._forgotten = {}  # folder -> names that a failed sync has marked as written: added, removed

    # Faults

    def _meet(self, verb):
        self.calls[verb] += 1
        fault = self.fault
        if fault is not None and fault.verb == verb and fault.nth == self.calls[verb]:
            self.met = True
            return fault
        if self.chance and self._rng.random() < self.chance:
            self.refused += 1
            part = self._rng.random() if verb == "write" else 0.0
            return Fault(verb, self.calls[verb], self._rng.choice(REFUSALS[verb]), part)
        return None

    def _refuse(self, verb):
        fault = self._meet(verb)
        if fault is not None:
            raise OSError(fault.number, os.strerror(fault.number))

    def _take(self, file, length):
        """Make sure that there is room for a file that is to have a length."""
        if self.size_bytes is not None:
            missing = _blocks(length) - _blocks(len(file.data))
            if missing > self.free_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @property
    def free_bytes(self):
        """How many bytes nobody has."""
        files = {id(file): file for file in (*self._files.values(), *self._open.values())}
        taken = sum(_blocks(len(file.data)) for file in files.values())
        return max(self.size_bytes - self.foreign_bytes - taken, 0)

    # Verbs

    def make_folder(self, path, mode=0o700):
        self._refuse("make_folder")
        super().make_folder(path, mode)

    def names(self, path):
        self._refuse("names")
        return super().names(path)

    def create(self, path):
        self._refuse("create")
        return super().create(path)

    def open(self, path):
        self._refuse("open")
        return super().open(path)

    def lock(self, path):
        self._refuse("lock")
        return super().lock(path)

    def write(self, handle, buffers):
        fault = self._meet("write")
        data, file = b"".join(buffers), self._open[handle]
        if fault is not None:
            super().write(handle, [data[: int(fault.part * len(data))]])
            raise OSError(fault.number, os.strerror(fault.number))
        self._take(file, len(file.data) + len(data))
        return super().write(handle, [data])

    def read(self, handle, offset, length):
        self._refuse("read")
        return super().read(handle, offset, length)

    def size(self, handle):
        self._refuse("size")
        return super().size(handle)

    def truncate(self, handle, length):
        self._refuse("truncate")
        super().truncate(handle, length)
        file = self._open[handle]
        if id(file) in self._skipped:
            skipped = self._skipped[id(file)]
            self._skipped[id(file)] = [(start, min(end, length)) for start, end in skipped if start < length]

    def allocate(self, handle, length):
        self._refuse("allocate")
        self._take(self._open[handle], length)
        super().allocate(handle, length)

    def sync(self, handle):
        file = self._open[handle]
        fault = self._meet("sync")
        before = len(self._synced.get(id(file), (file, b""))[1])
        if fault is not None:
            self._failed.append(file)
            self._skipped.setdefault(id(file), []).append((before, len(file.data)))
            raise OSError(fault.number, os.strerror(fault.number))
        data = bytearray(file.data)
        for start, end in self._skipped.get(id(file), ()):
            data[start:end] = bytes(end - start)
        self._synced[id(file)] = (file, bytes(data))

    def sync_folder(self, path):
        fault = self._meet("sync_folder")
        super().sync_folder(path)
        now = {name: file for name, file in self._files.items() if name.parent == path}
        before = self._names.get(path, {})
        added, removed = self._forgotten.get(path, ({}, {}))
        if fault is not None:
            added |= {name: file for name, file in now.items() if before.get(name) is not file}
            removed |= {name: file for name, file in before.items() if name not in now}
            self._forgotten[path] = (added, removed)
            raise OSError(fault.number, os.strerror(fault.number))
        on_disk = {name: file for name, file in now.items() if added.get(name) is not file}
        self._names[path] = removed | on_disk

    def rename(self, old, new):
        self._refuse("rename")
        super().rename(old, new)

    def remove(self, path):
        self._refuse("remove")
        super().remove(path)

    def close(self, handle):
        super().close(handle)
        self._refuse("close")

    def volume(self, path):
        self._refuse("volume")
        if self.size_bytes is None:
            return super().volume(path)
        return Volume(self.free_bytes, self.size_bytes)

    # Afterwards

    def after_power_cut(self):
        """Return a good disk with what was really written."""
        left = FaultyDisk()
        left._folders = set(self._folders)
        for names in self._names.values():
            for path, file in names.items():
                kept = left._files[path] = type(file)()
                kept.data[:] = self._synced.get(id(file), (file, b""))[1]
        return left


def _blocks(length):
    return -(-length // BLOCK) * BLOCK
