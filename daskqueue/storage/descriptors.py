"""File descriptors that belong to the process that opened them, and to no child that it forks.

A forked child has copies of all descriptors, and with one of them the lock of a queue's folder: it would keep the
folder closed after its parent was killed, and what it wrote would count. So in a child every descriptor of the parent
is replaced, before anything else runs there, by one that refuses to be read or written.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_FILE = 0o600
_DEAD = getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC

_held: set[int] = set()
# Held while a descriptor is made or given back, and while the process forks: none is ever missing in the set.
_guard = RLock()
_dead: list[int] = []


def hold(path: Path, flags: int) -> int:
    """Open a file for this process alone.

    Raises:
        OSError: the system refuses.
    """
    with _guard:
        if not _dead:
            # Opened beforehand: a child may be short of descriptors.
            _dead.append(os.open(os.devnull, _DEAD))
        handle = os.open(path, flags | os.O_CLOEXEC, PRIVATE_FILE)
        _held.add(handle)
    return handle


def give_back(handle: int) -> None:
    """Close what :func:`hold` has opened."""
    with _guard:
        _held.discard(handle)
        os.close(handle)


def _disarm() -> None:
    for handle in _held:
        os.dup2(_dead[0], handle, inheritable=False)
    _guard.release()


os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_disarm)
