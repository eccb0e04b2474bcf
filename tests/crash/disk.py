"""A disk in memory that remembers every call, and what a kill or a power cut leaves after any of them.

It keeps what POSIX promises and not more. A sync makes the bytes and the length of a file durable, but not its
name; a folder's sync makes the names in it durable. Of all that came since, a power cut leaves any part: of a
file any subset of its 512-byte sectors, each as any of the writes left it, and any length; of the names any,
each as it was at any moment since. So of a rename it leaves the old name, the new one, both or neither.

One run gives all its crashes: `killed(n)` and `power_cut(rng, n)` say what is left after the first *n* calls,
however many there were.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from daskqueue.storage.fs import Volume
from daskqueue.storage.memory import MemoryFileSystem, _File

SECTOR = 512
ROOT = Path("/")
GIB = 1 << 30
_PRODUCT = "daskqueue/"


class Call(NamedTuple):
    """One call that may change the disk.

    Attributes:
        verb: its name in `FileSystem`; `make_folder` is a `mkdir` and a `sync_folder` for each missing folder,
            after a `sync_folder` for the last that is there.
        site: where in the product it stands, as `storage/writer.py:sync`.
        path: the name that it is about, None where it has a handle.
        file: the file that it is about.
        data: the bytes of a write, the length of a truncate or an allocate, the new name of a rename or link.
    """

    verb: str
    site: str
    path: Path | None
    file: object = None
    data: object = None


class _Folder:
    """Stands for a folder where names are kept."""


class ModelDisk(MemoryFileSystem):
    """A disk that is empty, or what a crash left of another.

    Args:
        skip: says of a call whether it does nothing, as if it did not stand in the product.

    Attributes:
        calls: all that changed the disk, or made a change durable.
    """

    def __init__(self, skip=lambda call: False):
        super().__init__()
        self.calls = []
        self._skip = skip
        self._origin = _Plate()
        self._plate, self._plate_at = None, 0
        self._folders.add(ROOT)

    # What a crash leaves

    def killed(self, n=None, part=0):
        """Return what is left when the process ends after *n* calls and *part* bytes of the next, a write.

        What was not synced is there, and is still not synced: a power cut may take it later.
        """
        plate = self._after(n).copy()
        if part:
            call = self.calls[n]
            plate.turn(call._replace(data=call.data[:part]))
        return self._disk(plate)

    def power_cut(self, rng, n=None, keep=None):
        """Return what is left when the power goes after *n* calls.

        Args:
            rng: chooses what was not synced and is left all the same.
            n: how many calls; None for all that there were.
            keep: 0 leaves nothing that was not synced, 1 all of it; None lets *rng* choose for each.
        """
        plate, left = self._after(n), _Plate()

        def choose(versions):
            return versions[-keep] if keep is not None else rng.choice(versions)

        left.names = {path: [choose(versions)] for path, versions in plate.names.items()}
        left.files = {
            file: [
                choose(versions)
                if keep is not None or len(versions) == 1
                else _torn(versions, rng, rng.choice(plate.freed))
            ]
            for file, versions in plate.files.items()
        }
        return self._disk(left)

    def _disk(self, plate):
        """Return a disk that begins with what is on a plate, as far as the folders of the names are there."""
        disk = ModelDisk(self._skip)
        origin, copies = disk._origin, {}
        for path in sorted(plate.names):
            if path.parent not in disk._folders:
                continue
            versions = origin.names[path] = [
                copies.setdefault(node, _copied(node)) for node in plate.names[path]
            ]
            if isinstance(versions[-1], _Folder):
                disk._folders.add(path)
            elif versions[-1] is not None:
                disk._files[path] = versions[-1]
        for file, versions in plate.files.items():
            if file in copies:
                origin.files[copies[file]] = list(versions)
                copies[file].data[:] = versions[-1]
        return disk

    def _after(self, n):
        """Return the plate after *n* calls; forward is fast, back begins anew."""
        n = len(self.calls) if n is None else n
        if self._plate is None or n < self._plate_at:
            self._plate, self._plate_at = self._origin.copy(), 0
        for call in self.calls[self._plate_at : n]:
            self._plate.turn(call)
        self._plate_at = n
        return self._plate

    # The calls

    def _note(self, verb, path=None, file=None, data=None):
        """Take note of a call; return whether it is to be done."""
        frame = sys._getframe(2)
        while frame.f_code.co_filename == __file__:
            frame = frame.f_back
        code = frame.f_code
        call = Call(verb, f"{code.co_filename.rpartition(_PRODUCT)[2]}:{code.co_name}", path, file, data)
        if self._skip(call):
            return False
        self.calls.append(call)
        return True

    def make_folder(self, path, mode=0o700):
        missing = [folder for folder in (path, *path.parents) if folder not in self._folders]
        self.sync_folder((missing[-1].parent if missing else path).parent)
        for folder in reversed(missing):
            if self._note("mkdir", folder):
                self._folders.add(folder)
            self.sync_folder(folder.parent)

    def create(self, path):
        handle = super().create(path)
        self._note("create", path, self._files[path])
        return handle

    def lock(self, path):
        is_new = path not in self._files
        handle = super().lock(path)
        if is_new:
            self._note("create", path, self._files[path])
        return handle

    def write(self, handle, buffers):
        data = b"".join(buffers)
        if self._note("write", None, self._open[handle], data):
            super().write(handle, [data])
        return len(data)

    def truncate(self, handle, length):
        if self._note("truncate", None, self._open[handle], length):
            super().truncate(handle, length)

    def allocate(self, handle, length):
        if self._note("allocate", None, self._open[handle], length):
            super().allocate(handle, length)

    def sync(self, handle):
        self._note("sync", None, self._open[handle])

    def sync_folder(self, path):
        super().sync_folder(path)
        self._note("sync_folder", path)

    def rename(self, old, new):
        file = self._file(old)
        self._demand_folder(new.parent)
        if self._note("rename", old, file, new):
            super().rename(old, new)

    def link(self, old, new):
        if self._note("link", old, self._file(old), new):
            super().link(old, new)

    def remove(self, path):
        if self._note("remove", path, self._file(path)):
            super().remove(path)

    def volume(self, path):
        self._demand_folder(path)
        return Volume(100 * GIB, 200 * GIB)


class _Plate:
    """What may be on the disk: of each name and each file all versions since it was synced, the newest last."""

    def __init__(self):
        self.names = {}
        self.files = {}
        self.freed = [b""]  # bytes whose room on the disk another file may have got

    def copy(self):
        plate = _Plate()
        plate.names = {path: list(versions) for path, versions in self.names.items()}
        plate.files = {file: list(versions) for file, versions in self.files.items()}
        plate.freed = list(self.freed)
        return plate

    def turn(self, call):
        getattr(self, f"_{call.verb}")(call)

    def _create(self, call):
        self.files[call.file] = [b""]
        self._name(call.path, call.file)

    def _mkdir(self, call):
        self._name(call.path, _Folder())

    def _write(self, call):
        versions = self.files[call.file]
        versions.append(versions[-1] + call.data)

    def _truncate(self, call):
        versions = self.files[call.file]
        self.freed.append(versions[-1])
        versions.append(versions[-1][: call.data])

    def _allocate(self, call):
        versions = self.files[call.file]
        versions.append(versions[-1].ljust(call.data, b"\0"))

    def _sync(self, call):
        del self.files[call.file][:-1]

    def _sync_folder(self, call):
        for path in [path for path in self.names if path.parent == call.path]:
            versions = self.names[path]
            if versions[-1] is None:
                del self.names[path]
            else:
                del versions[:-1]

    def _rename(self, call):
        self._free(call.data)
        self._name(call.data, call.file)
        self._name(call.path, None)

    def _link(self, call):
        self._name(call.data, call.file)

    def _remove(self, call):
        self._free(call.path)
        self._name(call.path, None)

    def _free(self, path):
        file = self.names.get(path, [None])[-1]
        if file is not None:
            self.freed.append(self.files[file][-1])

    def _name(self, path, node):
        self.names.setdefault(path, [None]).append(node)


def _copied(node):
    return _File() if isinstance(node, _File) else node


def _torn(versions, rng, other):
    """Return what a power cut may leave of a file; *other* is what another one had in the same place."""
    if rng.random() < 0.4:
        return rng.choice((versions[0], versions[-1]))
    lengths = [len(version) for version in versions]
    length = rng.choice((*lengths, rng.randint(min(lengths), max(lengths))))
    sectors = []
    for start in range(0, length, SECTOR):
        sector = rng.choice(versions)[start : start + SECTOR]
        if start >= lengths[0] and rng.random() < 0.1:  # new, and never written: whatever was there before
            sector = other[start : start + SECTOR] or rng.randbytes(SECTOR)
        sectors.append(sector.ljust(SECTOR, b"\0"))
    return b"".join(sectors)[:length]
