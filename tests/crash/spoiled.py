"""A small queue of which every bit is known, and what must be true when a part of it is not what was written."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import cache
from unittest.mock import patch

from daskqueue.core.facts import Acked, Died, Enqueued, Leased
from daskqueue.engine import engine
from daskqueue.engine.records import OUTCOME, read_fact, read_outcome
from daskqueue.storage.log import Log
from daskqueue.storage.memory import MemoryFileSystem

from .rig import HandLoop, Rig

LARGE = "large " * 30
VALUES = {0: "acked", 1: "failed", 2: "waits", 3: LARGE, 4: "waits, too", 5: "the last"}
DAMAGED = ("failed", "damaged")


def twin(fs):
    """Return a copy of a file system in memory, with nothing open."""
    other = MemoryFileSystem()
    other._folders = set(fs._folders)
    for path, file in fs._files.items():
        copy = other._files[path] = type(file)()
        copy.data[:] = file.data
    return other


@contextmanager
def small_batches_are_large():
    """Give every record batch with LARGE in it a file of its own."""
    with patch.object(engine, "LARGE_BYTES", 200):
        yield


class Spoiled:
    """One message is acked, one a dead letter, four wait, one of them in a file of its own.

    Args:
        closed: whether the queue was closed, so that its checkpoint says all; otherwise it was killed.
    """

    def __init__(self, *, closed):
        self.loop = HandLoop()
        self.fs = MemoryFileSystem()
        with small_batches_are_large():
            rig = Rig(self.loop, self.fs)
            rig.open()
            rig.put(VALUES[0])
            rig.put(VALUES[1], VALUES[2])
            hand = rig.lease(2)
            rig.ack(hand, [0])
            rig.nack(hand, [1], final=True)
            rig.put(VALUES[3])
            rig.put(VALUES[4])
            rig.tick()
            rig.put(VALUES[5])
            rig.close() if closed else rig.kill()
        self.folder = rig.folder
        self.moment = rig.clock.moment

    def end(self):
        self.loop.close()

    def file(self, ending):
        """Return the path of the one file whose name ends so."""
        (path,) = (path for path in self.fs._files if path.name.endswith(ending))
        return path

    def bytes_of(self, path):
        return bytes(self.fs._files[path].data)

    def with_bytes(self, path, data):
        """Return a copy of the file system in which a file has other bytes."""
        fs = twin(self.fs)
        fs._files[path].data[:] = data
        return fs

    def flipped(self, path, bit):
        """Return a copy of the file system in which a bit is not what it was."""
        fs = twin(self.fs)
        fs._files[path].data[bit // 8] ^= 1 << bit % 8
        return fs

    @cache  # noqa: B019  there are two of these, and they end with the tests
    def frames(self, suffix):
        """Return what each frame of a segment is about: first byte, end, messages, kind of fact."""
        log = Log.open(twin(self.fs), self.folder, suffix)
        found = []
        for frame, stretch in log.replay():
            about = read_outcome(frame) if frame.kind == OUTCOME else read_fact(frame)[0]
            found.append((stretch.offset, stretch.offset + stretch.length, messages(about), type(about)))
        return found

    def touched(self, suffix, byte):
        """Return the messages that a byte of a segment is about, and the kind of fact."""
        for start, end, about, kind in self.frames(suffix):
            if start <= byte < end:
                return about, kind
        return set(), None

    def opened(self, fs):
        """Open a copy as the next process would."""
        rig = Rig(self.loop, fs)
        rig.clock.moment = self.moment
        with small_batches_are_large():
            return rig.open(create=False)


def messages(about):
    """Return the sequences that a fact or an outcome is about."""
    if isinstance(about, Enqueued):
        return set(range(about.first, about.first + about.count))
    return {s for run in getattr(about, "runs", ()) for s in range(run.first, run.last)}


def ends(rig):
    """Return how each message ended, None for those that have not, and what was delivered of the others."""
    rig.clock.moment += 100
    rig.expire()
    seen = {}
    while (hand := rig.lease(100)) is not None:
        seen.update(hand.values)
    return {s: rig.outcome(s) for s in VALUES}, seen


def check(rig, *, touched=frozenset(), kind=None, last=frozenset(), saved=False):
    """Look at all messages: what damage has not touched is as it was, and nothing is what it never was.

    Args:
        rig: the queue, opened again.
        touched: messages that the damaged record is about.
        kind: of the fact that it holds.
        last: of these it may not even be known that they were put.
        saved: whether the checkpoint tells what became of all messages.
    """
    rig.check()
    told, seen = ends(rig)
    assert {s: VALUES.get(s) for s in seen} == seen, "what is delivered is what was put"
    assert told[0] == ("returned", ("done", VALUES[0])) or 0 in touched, f"0: {told[0]}"
    assert told[1] == ("failed", "no 1") or 1 in touched, f"1: {told[1]}"
    for s in {2, 3, 4, 5} - set(touched):
        assert (told[s], s in seen) == (None, True), f"{s}: {told[s]}"
    for s in touched:
        allowed = is_damaged_only if saved else is_allowed
        assert allowed(s, told[s], s in seen, kind, s in last), f"{s}: {told[s]}, {s in seen}, {rig.state(s)}"
    assert rig.put("after", producer=b"bob".ljust(16)) > max(VALUES), "no number is given twice"


def is_damaged_only(s, told, seen, kind, last):
    """Say the same where it is known what became of each message, and only its bytes may be missing."""
    if s == 0:
        return told == ("returned", ("done", VALUES[0]))
    if s == 1:
        return told == (DAMAGED if kind is Died else ("failed", "no 1"))
    return told == DAMAGED if kind is Enqueued else (told is None and seen)


def is_allowed(s, told, seen, kind, last):
    """Say whether this may have become of a message that a damaged record is about."""
    if seen:
        return told is None or (s == 1 and kind is Died)
    if kind in (Leased, None):
        return told is not None
    if kind is Enqueued and s == 0:
        return told == ("returned", ("done", VALUES[0]))
    if kind is Enqueued and s == 1:
        return told == ("failed", "no 1")
    if kind is Acked:
        return False
    return told == DAMAGED or (last and told is None)


@contextmanager
def silent():
    """Log nothing: thousands of warnings are only slow."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
