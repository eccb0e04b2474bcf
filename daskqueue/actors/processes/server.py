"""A small process that forks the children of one consumer.

A Dask worker has many threads and must not be forked, and a new interpreter for each child costs half a
second of imports. This process has one thread and has imported what a child needs; a child is there in
milliseconds, also as a replacement of one that a task has killed. It runs no user's code itself.

It is started as ``python -c``, so no ``__main__`` of a user is run again, in it or in its children.
"""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable

# Imported here once, for all children.
from daskqueue.actors.processes.child import main as run_child

# Requests and answers: what, and the child's number; an answer has its wait status, too.
ORDER = struct.Struct("!cQ")
NEWS = struct.Struct("!Qi")
FORK, KILL = b"f", b"k"
_PR_SET_PDEATHSIG = 1


def main(descriptor: int, parent: int) -> None:
    """Fork and reap until the consumer is gone.

    Args:
        descriptor: a socket to the consumer.
        parent: the id of the consumer's process.
    """
    end_with_parent(parent)
    # What was imported stays in memory that the children share, also when their collector runs.
    gc.freeze()
    Server(socket.socket(fileno=descriptor)).run()
    # There is nothing to clean up, and the consumer waits for the end.
    os._exit(0)


def end_with_parent(parent: int) -> None:
    """Have the system kill this process when *parent* ends, however that happens and whatever runs here."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


class Server:
    """Forks a child for each order, and tells of each child's end."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._woken, self._waker = socket.socketpair()
        self._numbers: dict[int, int] = {}

    def run(self) -> None:
        """Serve until the consumer closes its end; the children end with this process."""
        self._waker.setblocking(False)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ, self._obey)
            selector.register(self._woken, selectors.EVENT_READ, self._reap)
            going_on = True
            while going_on:
                for key, _ in selector.select():
                    serve: Callable[[], bool] = key.data
                    going_on = serve() and going_on
        for pid in self._numbers:
            os.kill(pid, signal.SIGKILL)

    def _obey(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, ORDER.size, 2)
        if not data:
            return False
        what, number = ORDER.unpack(data)
        if what == FORK:
            self._fork(number, descriptors)
        for pid in [pid for pid, known in self._numbers.items() if known == number and what == KILL]:
            os.kill(pid, signal.SIGKILL)
        return True

    def _fork(self, number: int, descriptors: list[int]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_child(parent, descriptors)
        self._numbers[pid] = number
        for descriptor in descriptors:
            os.close(descriptor)

    def _become_child(self, parent: int, descriptors: list[int]) -> None:
        """Leave everything of the server behind; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self._control, self._woken, self._waker):
                end.close()
            end_with_parent(parent)
            # A task that kills its process group shall not hit the others.
            os.setpgid(0, 0)
            run_child(*descriptors)
            status = 0
        except BaseException:  # noqa: BLE001  it must not go on as the server
            traceback.print_exc()
        finally:
            # What the interpreter would do at its end belongs to the server.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> bool:
        self._woken.recv(4096)
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            # Others than its children may have been left to this process: grandchildren are not.
            if (number := self._numbers.pop(pid, None)) is not None:
                self._control.send(NEWS.pack(number, status))
        return True


def _nothing(_signal: int, _frame: object) -> None:
    """Taken so that the signal wakes the selector."""
