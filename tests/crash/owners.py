"""Several owners of one queue's folder, each of which believes to be the only one; the test says who runs.

An owner is an engine in a thread of its own, on a disk in memory. It stops before a file call when it has used up
the calls that it was given, like a process that the system has stopped, and goes on when it is given more.
"""

from __future__ import annotations

import threading
from contextlib import closing

from daskqueue.errors import DaskQueueError
from daskqueue.storage.folder import NAME

from .rig import HandLoop, Rig

# Calls that change the disk.
CHANGES = {"create", "write", "truncate", "allocate", "rename", "link", "remove"}
TURNS = 6
WIDTH = 4


class Stopping:
    """A file system whose user stops before the next call when it has none left."""

    def __init__(self, disk):
        self.calls = []
        self._disk = disk
        self._left = 0
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)

    def run(self, calls):
        """Let the user make some calls; return when they are made, or when it has ended."""
        self._left = calls
        self._go.release()
        self._stopped.acquire()

    def stop(self):
        """Give the turn back."""
        self._stopped.release()

    def wait(self):
        """Return when it is the user's turn."""
        self._go.acquire()

    def __getattr__(self, verb):
        call = getattr(self._disk, verb)

        def counted(*args):
            if self._left == 0:
                self.stop()
                self.wait()
            self._left -= 1
            self.calls.append((verb, args))
            return call(*args)

        return counted


class Owner:
    """Opens the queue, works on it and closes it, as far as it comes.

    Attributes:
        put: the values that were answered, by sequence.
        acked: what was acked for certain: while it was the owner, or before a commit that was answered.
        said: all acks that were answered.
        dead: what failed for good, as *acked*.
        late: puts that were answered although they were begun when the folder was another's.
        error: what ended it; None if it came to its end.
    """

    def __init__(self, number, disk, folder, **settings):
        self.number = number
        self.fs = Stopping(disk)
        self.put, self.tried, self.acked, self.said, self.dead = {}, set(), set(), set(), set()
        self.late = []
        self.error = None
        self.ended = False
        self._disk, self._folder, self._settings = disk, folder, settings
        self._rig = None
        self._open = []  # acks and failures that a commit will make certain
        self._loop = HandLoop()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def run(self, calls):
        """Let it make some file calls."""
        if not self.ended:
            self.fs.run(calls)

    def finish(self):
        """Let it come to its end; return what ended it."""
        self.run(-1)
        self._thread.join(30)
        assert self.ended
        return self.error

    @property
    def alone(self):
        """Whether the folder is its own: nobody else has written his word into the lock since."""
        if self._rig is None or self._rig.engine is None:
            return False
        lock = self._disk._files.get(self._folder / NAME)
        return lock is not None and lock.data.startswith(self._rig.engine._files._lock._word)

    def _live(self):
        self.fs.wait()
        try:
            with closing(self._loop):
                self._work()
        except DaskQueueError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001  the test is told
            self.error = AssertionError(f"owner {self.number} ended strangely: {error!r}")
            self.error.__cause__ = error
        finally:
            self.ended = True
            self.fs.stop()

    def _work(self):
        rig = self._rig = Rig(self._loop, self.fs, **self._settings)
        rig.folder = self._folder
        try:
            rig.open()
            for turn in range(TURNS):
                self._put(rig, turn)
                self._consume(rig, turn)
                rig.tick()
                self._commit()
            rig.close()
            self._commit()
        finally:
            # What a fenced owner still had to do in the background fails, and nobody is there to be told.
            self._loop.set_exception_handler(lambda *_: None)
            rig.clear_away()
            rig._end_tasks()

    def _put(self, rig, turn):
        values = [f"{self.number}/{turn}/{step} {'x' * 40}" for step in range(WIDTH)]
        self.tried.update(values)
        alone = self.alone
        first = rig.put(*values, producer=b"%16d" % self.number, number=turn)
        if not alone:
            self.late.append(first)
        self.put.update(zip(range(first, first + WIDTH), values, strict=True))
        self._commit()

    def _consume(self, rig, turn):
        hand = rig.lease(WIDTH, consumer=f"consumer {self.number}")
        if hand is None:
            return
        *acked, bad = sorted(hand.values)
        rig.ack(hand, acked)
        self._note(self.acked, acked)
        if self.number % 2 and turn % 3 == 2:
            rig.nack(hand, [bad], final=True)
            self._note(self.dead, [bad])
        else:
            rig.ack(hand, [bad])
            self._note(self.acked, [bad])

    def _note(self, kept, sequences):
        self.said.update(sequences)
        if self.alone:
            kept.update(sequences)
        else:
            self._open.append((kept, sequences))

    def _commit(self):
        """A commit was answered: all that was said before it is certain."""
        for kept, sequences in self._open:
            kept.update(sequences)
        self._open.clear()


def take_away(disk, folder, *, unlink):
    """Take the lock from whoever has it: somebody removes the file, or the file system forgets who held it."""
    path = folder / NAME
    if not disk.exists(path):
        return
    if unlink:
        disk.remove(path)
    else:
        disk._files[path].holder = None
