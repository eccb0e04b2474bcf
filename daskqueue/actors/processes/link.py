"""The pipe between a consumer and its child process: frames of pickled plain data, in both directions.

What users' code made travels in it as bytes only, so that the worker never unpickles any.
"""

from __future__ import annotations

import pickle
import select
import socket
import struct
import threading
from typing import Any

from daskqueue.chunk import Buffer

_LENGTH = struct.Struct("!Q")


def framed(said: tuple[Any, ...]) -> bytes:
    """Return one frame."""
    data = pickle.dumps(said, 5)
    return _LENGTH.pack(len(data)) + data


HEADER_BYTES = _LENGTH.size


def length_in(header: Buffer) -> int:
    """Return how many bytes follow a frame's header."""
    return int(_LENGTH.unpack(header)[0])


class Link:
    """The child's end; any thread may send, one receives."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._sending = threading.Lock()

    def send(self, *said: Any) -> None:
        """Send one frame; waits while the consumer does not read.

        Raises:
            OSError: nobody is there any more.
        """
        data = framed(said)
        with self._sending:
            self._socket.sendall(data)

    def receive(self, seconds: float | None = None) -> tuple[Any, ...] | None:
        """Return the next frame, or None if none has begun to come within *seconds*.

        Raises:
            EOFError: the consumer is gone.
        """
        if seconds is not None and not select.select([self._socket], [], [], seconds)[0]:
            return None
        length = length_in(self._read(HEADER_BYTES))
        said: tuple[Any, ...] = pickle.loads(self._read(length))
        return said

    def _read(self, count: int) -> memoryview:
        data = bytearray(count)
        view, filled = memoryview(data), 0
        while filled < count:
            got = self._socket.recv_into(view[filled:])
            if not got:
                raise EOFError("the consumer of this process is gone")
            filled += got
        return view
