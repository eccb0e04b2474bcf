"""What the parts of storage promise each for itself, as tales: the checkpoint, the log, the lock, folders ..."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from daskqueue.actors import pool_folder
from daskqueue.errors import StorageError
from daskqueue.storage import checkpoint, quarantine
from daskqueue.storage.folder import TOKEN, FolderLock, read_owner
from daskqueue.storage.large import LargeFiles
from daskqueue.storage.log import Log, Position
from daskqueue.storage.quarantine import Quarantine

from .disk import ModelDisk
from .tales import Tale

FOLDER = Path("/queues/test")
QUEUE_ID = bytes(range(16))
FACT = 16
WIDE = 700  # more than a sector


class Contract(Tale):
    """A tale whose promises are checks of what is left, each from its moment on, until another takes its place."""

    draws = 8

    def __init__(self):
        super().__init__()
        self.promises = []

    def promise(self, check):
        """From now on, until the next promise, *check* of what is left must be true."""
        self.promises.append((self.now, check))

    def look(self, left, ending):
        due = [check for at, check in self.promises if at <= ending.calls]
        if due:
            assert due[-1](left), "what was promised is not there"


class CheckpointsAreReplaced(Contract):
    """When a checkpoint is written it is on the disk; until then the one before it counts."""

    def tell(self):
        self.disk.make_folder(FOLDER)
        path = FOLDER / "test.index"
        for number in range(3):
            payload = bytes([number + 1]) * (WIDE + number)
            checkpoint.write(self.disk, path, QUEUE_ID, Position(number, 64), payload)
            self.promise(lambda left, number=number: _number(left, path) in (number, number + 1))


def _number(left, path):
    found, _ = checkpoint.read(left, path, QUEUE_ID)
    assert found is not None, "there is no checkpoint any more"
    assert set(found.payload) == {found.position.segment + 1}
    return found.position.segment


class LogsKeepWhatTheySaid(Contract):
    """What start, sync and roll have answered is on the disk; what was dropped is not there again."""

    def tell(self):
        log = self._begin()
        self._is_safe()
        for number in range(4):
            log.append([self._frame()])
            log.sync()
            self._is_safe()
            self._roll(log, 10 * number)
            self._is_safe()
        for segment in log.segments[:2]:
            self._is_safe(dropping=1)
            log.drop(segment.number)
            self._dropped += 1
            self._is_safe()
        log.close()

    def _begin(self):
        self.disk.make_folder(FOLDER)
        self._segments, self._dropped = [[]], 0
        log = self._open(self.disk)
        log.start(0, [self._frame()])
        return log

    def _open(self, disk):
        return Log.open(disk, FOLDER, queue_id=QUEUE_ID)

    def _frame(self):
        payload = bytes([sum(map(len, self._segments)) + 1]) * WIDE
        self._segments[-1].append(payload)
        return FACT, [payload]

    def _roll(self, log, number):
        self._segments.append([])
        log.roll(number, [self._frame()])

    def _is_safe(self, *, dropping=0):
        """All that is written is there, but for the oldest segments, of which *dropping* may be gone by now."""
        safe = [list(payloads) for payloads in self._segments]
        first = range(self._dropped, self._dropped + dropping + 1)
        self.promise(lambda left: self._is_kept(left, [sum(safe[start:], []) for start in first]))  # noqa: RUF017

    def _is_kept(self, left, wholes):
        log = self._open(left)
        there = [bytes(frame.payload) for frame, _ in log.replay()]
        log.close()
        return any(there[: len(whole)] == whole for whole in wholes)


class RefusingDisk(ModelDisk):
    """Refuses the next call of a verb, once: `refuse["sync_folder"] = errno.ENOSPC`."""

    def __init__(self, skip=lambda call: False):
        super().__init__(skip)
        self.refuse = {}

    def make_folder(self, path, mode=0o700):
        if "mkdir" in self.refuse and self._note("mkdir", path):  # done, and then nothing more
            self._folders.add(path)
        self._meet("mkdir")
        super().make_folder(path, mode)

    def sync_folder(self, path):
        self._meet("sync_folder")
        super().sync_folder(path)

    def link(self, old, new):
        self._meet("link")
        super().link(old, new)

    def _meet(self, verb):
        number = self.refuse.pop(verb, None)
        if number:
            raise OSError(number, os.strerror(number))


class ARefusedSegmentIsGone(LogsKeepWhatTheySaid):
    """A segment that could not be begun does not cut what the old one gets from then on."""

    def __init__(self):
        super().__init__()
        self.disk = RefusingDisk()

    def tell(self):
        log = self._begin()
        self.disk.refuse["sync_folder"] = errno.ENOSPC
        with suppress(StorageError):
            log.roll(1)
        assert log.failure is None
        log.append([self._frame()])
        log.sync()
        self._is_safe()
        log.close()


class RemovalsComeInOrder(ARefusedSegmentIsGone):
    """Where the sync after one removal was refused it comes before the next one: no later segment goes alone."""

    def tell(self):
        log = self._begin()
        for number in range(1, 4):
            self._roll(log, number)
        first, second = (segment.number for segment in log.segments[:2])
        self._is_safe(dropping=2)
        self.disk.refuse["sync_folder"] = errno.EMFILE
        with suppress(StorageError):
            log.drop(first)
        log.drop(second)
        log.close()


class LargeFilesAreThere(Contract):
    """A large file is there when it is written, also where an opening before was ended while it made the folder."""

    def __init__(self):
        super().__init__()
        self.disk = RefusingDisk()

    def tell(self):
        self.disk.make_folder(FOLDER)
        self.disk.refuse["mkdir"] = errno.EIO
        with suppress(StorageError):
            LargeFiles(self.disk, FOLDER).write("x", b"x")
        files = LargeFiles(self.disk, FOLDER)
        written = {}
        for number in range(2):
            written[str(number)] = bytes([number + 1]) * WIDE
            files.write(str(number), written[str(number)])
            safe = dict(written)
            self.promise(lambda left, safe=safe: {n: LargeFiles(left, FOLDER).read(n) for n in safe} == safe)


class DamagedFilesAreKept(Contract):
    """What was put into the quarantine is there, also where a file can have one name only."""

    def __init__(self):
        super().__init__()
        self.disk = RefusingDisk()

    def tell(self):
        self.disk.make_folder(FOLDER)
        kept = {}
        for name, refusal in (("linked", None), ("copied", errno.EPERM)):
            kept[name] = content = name.encode() * WIDE
            self._write(FOLDER / name, content)
            self.disk.refuse["link"] = refusal
            Quarantine(self.disk, FOLDER).note(FOLDER / name, 1, 1)
            safe = dict(kept)
            self.promise(lambda left, safe=safe: {n: self._read(left, n) for n in safe} == safe)

    def _write(self, path, content):
        handle = self.disk.create(path)
        self.disk.write(handle, [content])
        self.disk.sync(handle)
        self.disk.close(handle)
        self.disk.sync_folder(path.parent)

    def _read(self, left, name):
        handle = left.open(FOLDER / quarantine.NAME / name)
        return left.read(handle, 0, left.size(handle))


class OwnersSignFirst(Contract):
    """An owner's word is synced when the folder is his, so that other machines see it: they see what is synced."""

    def tell(self):
        self.disk.make_folder(FOLDER)
        for number in range(2):
            self.promise(lambda left: True)  # while one comes after the other it may say nothing
            lock = FolderLock.take(self.disk, FOLDER, {TOKEN: f"word {number}", "pid": number})
            self.disk.sync_folder(FOLDER)
            self.promise(lambda left, number=number: read_owner(left, FOLDER) == {"pid": number})
            lock.release()


class PoolsKnowThemselves(Contract):
    """A pool's record is there once it was claimed, and never half."""

    def tell(self):
        pool = str(FOLDER / "pool")
        read = lambda left: pool_folder.read(pool, left)  # noqa: E731
        self.promise(lambda left: read(left) is None or read(left).name == "p")
        claimed = pool_folder.claim(pool, "p", 2, self.disk)
        grown = claimed._replace(n_queues=5)
        self.promise(lambda left: read(left) in (claimed, grown))
        pool_folder.grow(pool, 5, self.disk)
        self.promise(lambda left: read(left) in (grown, claimed))
        shrunk = claimed._replace(n_queues=1)
        self.promise(lambda left: read(left) in (grown, shrunk))
        pool_folder.resize(pool, 1, self.disk)
        self.promise(lambda left: read(left) == shrunk)


CONTRACTS = (
    CheckpointsAreReplaced,
    LogsKeepWhatTheySaid,
    ARefusedSegmentIsGone,
    RemovalsComeInOrder,
    DamagedFilesAreKept,
    OwnersSignFirst,
    LargeFilesAreThere,
    PoolsKnowThemselves,
)
