"""How an inspection tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What hears of the bytes that are being read."""

    def begin(self, what: str, size_bytes: int) -> None:
        """Begin another part of the work: what it is, and how many bytes it will read at most."""

    def advance(self, size_bytes: int) -> None:
        """Go on by so many bytes."""


class Silence(Progress):
    """Tells nobody."""

    def begin(self, what: str, size_bytes: int) -> None:
        del what, size_bytes

    def advance(self, size_bytes: int) -> None:
        del size_bytes
