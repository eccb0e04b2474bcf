"""The child processes of a consumer, as it sees them: forked by a server, spoken with through a pipe each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from daskqueue.actors.processes.link import HEADER_BYTES, framed, length_in
from daskqueue.actors.processes.memory import Memory
from daskqueue.actors.processes.server import FORK, KILL, NEWS, ORDER

logger = logging.getLogger(__name__)

# Whoever holds a dead child's end of the pipe, such as a process that its task has started, is not waited for.
LAST_WORDS_SECONDS = 1.0
_GOODBYE_SECONDS = 5.0


class Child:
    """A child process: what it said comes to *hear*, one frame at a time, and ``None`` when it is dead."""

    def __init__(self, number: int, hear: Callable[[Child, Any], object]) -> None:
        self.number = number
        self.memory = Memory()
        self.status: int | None = None
        self._hear = hear
        self._died = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None

    def __str__(self) -> str:
        return f"child {self.number}"

    @property
    def fate(self) -> str:
        """How it ended, for people."""
        if self.status is None:
            return "was lost"
        code = os.waitstatus_to_exitcode(self.status)
        if code >= 0:
            return f"ended itself with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return f"was killed by signal {-code}"

    def say(self, *said: Any) -> None:
        """Send it something; a dead one does not mind."""
        if self._writer is not None and not self._died.is_set():
            self._writer.write(framed(said))

    def died(self, status: int | None) -> None:
        """Take note of its end; it is told after its last words."""
        self.status = status
        self._died.set()

    async def attach(self, end: socket.socket) -> asyncio.Task[None]:
        """Begin to listen; return what does so until it is dead."""
        reader, self._writer = await asyncio.open_unix_connection(sock=end)
        return asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        listening = asyncio.create_task(self._pass_on(reader))
        await self._died.wait()
        await asyncio.wait([listening], timeout=LAST_WORDS_SECONDS)
        listening.cancel()
        await asyncio.wait([listening])
        if not listening.cancelled() and (error := listening.exception()) is not None:
            logger.error("What %s said was not understood", self, exc_info=error)
        assert self._writer is not None
        self._writer.transport.abort()
        self.memory.close()
        self._hear(self, None)

    async def _pass_on(self, reader: asyncio.StreamReader) -> None:
        # Its end is told by whoever reaps it: a pipe may be held open by others, or close early.
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                length = length_in(await reader.readexactly(HEADER_BYTES))
                self._hear(self, pickle.loads(await reader.readexactly(length)))


class Crew:
    """Forks and kills children.

    Args:
        hear: called with each thing that a child says, see :class:`Child`.
    """

    def __init__(self, hear: Callable[[Child, Any], object]) -> None:
        self._hear = hear
        self._children: dict[int, Child] = {}
        self._listening: list[asyncio.Task[None]] = []
        self._numbers = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    async def fork(self) -> Child:
        """Return a new child; it has still to be told what to open."""
        if self._control is None:
            self._start_server()
        assert self._control is not None
        self._numbers += 1
        child = Child(self._numbers, self._hear)
        ours, theirs = socket.socketpair()
        with theirs:
            self._children[child.number] = child
            order = ORDER.pack(FORK, child.number)
            socket.send_fds(self._control, [order], [theirs.fileno(), child.memory.descriptor])
        ours.setblocking(False)
        try:
            self._listening.append(await child.attach(ours))
        except BaseException:
            ours.close()
            child.memory.close()
            raise
        self._listening = [task for task in self._listening if not task.done()]
        return child

    def kill(self, child: Child) -> None:
        """End a child at once; its end is told as any other."""
        if self._control is not None and child.number in self._children:
            self._control.send(ORDER.pack(KILL, child.number))

    async def close(self) -> None:
        """End all that are left, and the server with them."""
        server = self._server
        self._lose_server()
        if server is not None:
            await asyncio.to_thread(_wait, server)
        if self._listening:
            await asyncio.wait(self._listening)

    def _start_server(self) -> None:
        """Start it from the thread of the event loop: the system ends it with the thread that started it."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from daskqueue.actors.processes.server import main; main({theirs.fileno()}, {os.getpid()})"
        )
        with theirs:
            # A group of its own: Ctrl-C in a terminal is for the consumer, which lets them finish.
            self._server = subprocess.Popen(  # noqa: S603
                [sys.executable, "-u", "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        asyncio.get_running_loop().add_reader(self._control, self._read_news)

    def _read_news(self) -> None:
        assert self._control is not None
        try:
            news = self._control.recv(NEWS.size)
        except BlockingIOError:
            return
        except OSError:
            news = b""
        if news:
            number, status = NEWS.unpack(news)
            self._children.pop(number).died(status)
        else:
            assert self._server is not None
            asyncio.get_running_loop().run_in_executor(None, _wait, self._server)
            self._lose_server()

    def _lose_server(self) -> None:
        """Its children end with it."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
        self._server = self._control = None
        children, self._children = self._children, {}
        for child in children.values():
            child.died(None)


def _wait(server: subprocess.Popen[bytes]) -> None:
    try:
        server.wait(_GOODBYE_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
