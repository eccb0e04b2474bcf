"""Damaged files are kept: under a second name, in the folder ``quarantine`` beside the log.

The file itself goes on being served as far as it is whole, and is removed when its time has come; what lies
in the quarantine is never removed by daskqueue, so that people can look at it, and get out of it what they can.
"""

from __future__ import annotations

import logging
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING

from daskqueue.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from daskqueue.storage.fs import FileSystem

logger = logging.getLogger(__name__)

NAME = "quarantine"
_COPIED_BYTES = 1 << 20


class Quarantine:
    """The damaged files of one queue. All methods may be called from any thread.

    Args:
        fs: where the queue's folder lies.
        folder: the queue's folder.
        guard: called before anything is written; raises when the folder is no longer this process's own.

    Attributes:
        places: how many damaged places were met, each counted once.
        files: how many files are in the quarantine.
    """

    def __init__(self, fs: FileSystem, folder: Path, guard: Callable[[], object] = lambda: None) -> None:
        self.places = 0
        self.files = 0
        self._fs = fs
        self._queue_folder = folder
        self._folder = folder / NAME
        self._guard = guard
        self._known: dict[Path, set[int]] = {}
        self._lock = Lock()
        if fs.exists(self._folder):
            self.files = len(fs.names(self._folder))

    def note(self, path: Path, offset: int, length: int) -> None:
        """Count a damaged place, and keep its file if it is the first one there; a full disk is only logged.

        Args:
            path: the file.
            offset: its first damaged byte.
            length: how many bytes are damaged, as far as that is known.
        """
        with self._lock:
            known = self._known.get(path)
            if known is not None:
                self.places += offset not in known
                known.add(offset)
                return
            self._known[path] = {offset}
            self.places += 1
            logger.warning(
                "%s is damaged: %d bytes from byte %d on are not what was written. Messages that lay there become "
                'dead letters with the reason "damaged", everything else is served. %s. `daskqueue verify %s` '
                "says what is affected, and docs/reliability.md what can be done",
                path,
                length,
                offset,
                self._keep(path),
                self._queue_folder,
            )

    def keep(self, path: Path) -> None:
        """Keep a file that is not damaged, but belongs to what is."""
        with self._lock:
            logger.warning(
                "%s belongs to damaged records and is needed by no others. %s", path, self._keep(path)
            )

    def _keep(self, path: Path) -> str:
        """Give a file its second name; return what came of it, in words."""
        try:
            self._guard()
            self._fs.make_folder(self._folder)
            if self._second_name(path) is not None:
                self._fs.sync_folder(self._folder)
                self.files += 1
        except FileNotFoundError:
            return "The file is gone"
        except (OSError, StorageError) as error:
            return f"The file could not be kept in {self._folder} ({error}): copy it elsewhere before it is removed"
        return f"The file is kept in {self._folder}"

    def _second_name(self, path: Path) -> Path | None:
        """Return the new name of a file; None if it was kept before."""
        for number in count():
            target = self._folder / (f"{path.name}.{number}" if number else path.name)
            if not self._fs.exists(target):
                self._link_or_copy(path, target)
                return target
            if self._size(target) == self._size(path):
                return None
        raise AssertionError("unreachable")

    def _link_or_copy(self, path: Path, target: Path) -> None:
        try:
            self._fs.link(path, target)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without hard links
            self._copy(path, target)

    def _copy(self, path: Path, target: Path) -> None:
        source = self._fs.open(path)
        try:
            handle = self._fs.create(target)
            try:
                self._copy_bytes(source, handle)
            except OSError:
                self._fs.remove(target)
                raise
            finally:
                self._fs.close(handle)
        finally:
            self._fs.close(source)

    def _copy_bytes(self, source: int, target: int) -> None:
        for offset in range(0, self._fs.size(source), _COPIED_BYTES):
            self._fs.write(target, [self._fs.read(source, offset, _COPIED_BYTES)])
        self._fs.sync(target)

    def _size(self, path: Path) -> int:
        handle = self._fs.open(path)
        try:
            return self._fs.size(handle)
        finally:
            self._fs.close(handle)
