"""Fixtures of the storage tests: a folder on either file system, and logs in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.log import Log
from daskqueue.storage.memory import MemoryFileSystem

QUEUE_ID = bytes(range(16))
FACT = 16
BATCH = 17


class Place:
    """A folder, and the logs that a test opened there."""

    def __init__(self, fs, folder):
        self.fs = fs
        self.folder = folder
        self.logs = []

    def open(self, fs=None, **options):
        """Look at the folder as a new process would; nothing is replayed or started."""
        log = Log.open(fs or self.fs, self.folder, **{"queue_id": QUEUE_ID, **options})
        self.logs.append(log)
        return log

    def start(self, first_sequence=0, frames=(), fs=None):
        """Open, read to the end, and start."""
        log = self.open(fs)
        payloads(log.replay())
        log.start(first_sequence, frames)
        return log

    def file(self, number, suffix=".log"):
        return self.folder / f"{number:020d}{suffix}"

    def bytes_of(self, number):
        handle = self.fs.open(self.file(number))
        data = self.fs.read(handle, 0, self.fs.size(handle))
        self.fs.close(handle)
        return data

    def rewrite(self, number, data):
        """Replace what a segment file holds, as damage would."""
        self.fs.remove(self.file(number))
        handle = self.fs.create(self.file(number))
        self.fs.write(handle, [data])
        self.fs.close(handle)

    def flip(self, number, offset):
        """Flip a bit of a segment file."""
        data = bytearray(self.bytes_of(number))
        data[offset] ^= 0x10
        self.rewrite(number, data)

    def close(self):
        for log in self.logs:
            if log.failure != "it was closed":
                log.close()


def payloads(replay):
    """Return the payloads of all frames."""
    return [bytes(frame.payload) for frame, _ in replay]


@pytest.fixture(params=["local", "memory"])
def place(request, tmp_path):
    """An empty folder on each file system."""
    if request.param == "local":
        fs, folder = LocalFileSystem(), tmp_path / "queue"
    else:
        fs, folder = MemoryFileSystem(), Path("/memory/queue")
    fs.make_folder(folder)
    made = Place(fs, folder)
    yield made
    made.close()


@pytest.fixture
def disk(tmp_path):
    """An empty folder on the local disk."""
    made = Place(LocalFileSystem(), tmp_path)
    yield made
    made.close()
