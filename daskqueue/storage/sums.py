"""Checksums of any stretch of a file at the cost of reading the file once, however often the stretches overlap.

Damaged bytes may claim anything about their length. Whoever computed a checksum over each claim would need hours
for a file of lies. Here crc32 is known up to every block's end, and that of a stretch follows from those at its
two ends: to begin with another value, or to append n bytes, is arithmetic on polynomials of 32 bits, as in the
function ``crc32_combine`` of zlib.
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int, int], bytes]  # offset, length -> bytes; fewer where the file ends

_BLOCK = 4096
_BLOCKS_AT_ONCE = 256
_POLYNOMIAL = 0xEDB88320  # of crc32; the highest bit of a number is the lowest power of x
_ONE = 1 << 31
_LENGTH_BITS = 33  # of what a frame takes at most


class Sums:
    """Checksums of stretches of a file that begin at *start* or later; grows as far as it is asked.

    Args:
        read: gives bytes of the file; what is missing at its end counts as zeros.
        start: the first byte of interest.
    """

    def __init__(self, read: Read, start: int) -> None:
        self._read = read
        self._start = start
        self._known = array("I", [0])  # of the bytes from the start to the end of each block

    def of(self, first: int, last: int, value: int) -> int:
        """Return ``crc32(data, value)`` of the bytes from *first* up to *last*."""
        return self._up_to(last) ^ _times(_power(last - first), self._up_to(first) ^ value)

    def _up_to(self, offset: int) -> int:
        blocks, rest = divmod(offset - self._start, _BLOCK)
        while len(self._known) <= blocks:
            self._extend()
        if not rest:
            return self._known[blocks]
        return crc32(self._bytes(offset - rest, rest), self._known[blocks])

    def _extend(self) -> None:
        offset = self._start + (len(self._known) - 1) * _BLOCK
        data = memoryview(self._bytes(offset, _BLOCKS_AT_ONCE * _BLOCK))
        for place in range(0, len(data), _BLOCK):
            self._known.append(crc32(data[place : place + _BLOCK], self._known[-1]))

    def _bytes(self, offset: int, length: int) -> bytes:
        return self._read(offset, length).ljust(length, b"\0")


def _times(a: int, b: int) -> int:
    """Return the product of two polynomials, modulo that of crc32."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


def _squares() -> tuple[int, ...]:
    """Return what 1, 2, 4, ... further bytes multiply a checksum by."""
    squares = [_ONE >> 8]
    while len(squares) < _LENGTH_BITS:
        squares.append(_times(squares[-1], squares[-1]))
    return tuple(squares)


_SQUARES = _squares()


@lru_cache(maxsize=1024)
def _power(length: int) -> int:
    """Return what *length* further bytes multiply a checksum by: x to the power of their bits."""
    power = _ONE
    for place in range(length.bit_length()):
        if length >> place & 1:
            power = _times(power, _SQUARES[place])
    return power
