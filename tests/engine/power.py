"""A file system that forgets what was not synced."""

from __future__ import annotations

from daskqueue.storage.memory import MemoryFileSystem


class PowerCutFileSystem(MemoryFileSystem):
    """Files in memory; :meth:`after_power_cut` is what a disk would still have.

    Of a file that is what was there at its last sync, or *torn* bytes more; of a folder the names at its last
    sync, and names that were removed since may be there again.
    """

    def __init__(self):
        super().__init__()
        self._durable = {}  # the file itself -> bytes at its last sync
        self._names = {}  # folder -> {path: file} at its last sync
        self.syncs = 0
        self.on_sync = lambda: None

    def sync(self, handle):
        self.syncs += 1
        file = self._open[handle]
        self._durable[id(file)] = (file, bytes(file.data))
        self.on_sync()

    def sync_folder(self, path):
        super().sync_folder(path)
        self._names[path] = {name: file for name, file in self._files.items() if name.parent == path}

    def after_power_cut(self, torn=0, torn_suffix=""):
        """Return a file system with what survives; files that end with *torn_suffix* keep *torn* bytes more."""
        survivor = PowerCutFileSystem()
        survivor._folders = set(self._folders)
        for folder, names in self._names.items():
            for path, file in names.items():
                _, data = self._durable.get(id(file), (file, b""))
                if torn and str(path).endswith(torn_suffix):
                    data = bytes(file.data[: len(data) + torn])
                kept = survivor._files[path] = type(file)()
                kept.data[:] = data
                survivor._durable[id(kept)] = (kept, data)
                survivor._names.setdefault(folder, {})[path] = kept
        return survivor
