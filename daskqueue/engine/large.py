"""Record batches that lie in files of their own beside the log, which holds a reference only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from daskqueue.clock import new_id
from daskqueue.core import readers
from daskqueue.core.runs import RunMap
from daskqueue.errors import StorageError
from daskqueue.storage.frame import Buffer

if TYPE_CHECKING:
    from daskqueue.engine.files import Files

# A record batch from this size on has a file of its own: it is written, and moved, without holding up others.
LARGE_BYTES = 8 << 20

_MAGIC = b"DQL\x01"  # a record batch begins with DQB
_NAME_BYTES = 16
_FORM = Struct(f"<4s{_NAME_BYTES}sQ")


class Reference(NamedTuple):
    """What the log holds of a record batch that lies in a file: the file's name, and its size."""

    name: str
    size_bytes: int

    def pack(self) -> bytes:
        """Return the reference as it stands in the place of the batch."""
        return _FORM.pack(_MAGIC, bytes.fromhex(self.name), self.size_bytes)


def new_reference(data: Buffer) -> Reference:
    """Return a reference to a file that does not exist yet."""
    return Reference(new_id().hex(), len(data))


def read_reference(attachment: memoryview) -> Reference | None:
    """Return the reference that stands in the place of a record batch, None where the batch itself does."""
    if len(attachment) < _FORM.size or attachment[:4] != _MAGIC:
        return None
    _, name, size = _FORM.unpack_from(attachment)
    return Reference(name.hex(), size)


def _name(value: Any) -> str:
    if len(bytes.fromhex(readers.text(value))) != _NAME_BYTES:
        raise ValueError("no name of a large record batch")
    return readers.text(value)


_READ = readers.run_rows(_name)


class LargeRuns:
    """Which messages are in which file, and which files nobody needs any more.

    Args:
        rows: what :meth:`dump` returned.

    Raises:
        TypeError: it did not return this.
        ValueError: it did not return this.

    Attributes:
        gone: names of files whose messages are all settled, or were written into the log.
    """

    def __init__(self, rows: Sequence[Sequence[int | str]] = ()) -> None:
        self.gone: list[str] = []
        self._runs: RunMap[str] = RunMap()
        self._left: dict[str, int] = {}
        for first, last, name in _READ(rows):
            self.add(first, last, name)

    @property
    def names(self) -> list[str]:
        """The files that are needed."""
        return list(self._left)

    def knows(self, name: str) -> bool:
        """Return whether a file is needed."""
        return name in self._left

    def add(self, first: int, last: int, name: str) -> None:
        """Note that messages are in a file."""
        self._runs.add(first, last, name)
        self._left[name] = self._left.get(name, 0) + last - first

    def remove(self, first: int, last: int) -> None:
        """Note that messages are settled, or elsewhere."""
        if not self._runs.count:
            return
        for since, until, name in self._runs.take(first, last):
            self._left[name] -= until - since
            if not self._left[name]:
                del self._left[name]
                self.gone.append(name)

    def has(self, first: int, last: int) -> bool:
        """Return whether any of the messages is in a file."""
        return bool(self._runs.count) and next(self._runs.pieces(first, last), None) is not None

    def dump(self) -> list[tuple[int, int, str]]:
        """Return all there is to know, for a checkpoint."""
        return list(self._runs)


class Sweeper:
    """Removes the files that nobody needs any more, once the facts that say so are on the disk."""

    def __init__(self, files: Files, thread: Executor) -> None:
        self._files = files
        self._thread = thread
        self._sweep: asyncio.Task[None] | None = None

    def start_if_due(self) -> None:
        """Begin to remove files, if there are any; what a crash leaves is removed at the next opening."""
        if self._files.book.large.gone and self._sweep is None:
            self._sweep = asyncio.get_running_loop().create_task(self._run())

    async def wait(self) -> None:
        """Return when nothing is being removed."""
        while self._sweep is not None:
            await asyncio.wait([self._sweep])

    async def _run(self) -> None:
        large = self._files.book.large
        loop = asyncio.get_running_loop()
        try:
            while large.gone:
                names, large.gone = large.gone, []
                await loop.run_in_executor(self._thread, self._files.remove_large, names)
        except StorageError:
            # A failed log says so to every command that follows; the files are removed at the next opening.
            pass
        finally:
            self._sweep = None
