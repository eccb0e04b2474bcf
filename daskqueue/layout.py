"""Where the parts of a record batch lie (header, functions, chunk table, chunk data), and slices of one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate, chain, pairwise
from operator import add, lt
from struct import Struct, unpack_from
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from daskqueue.buffers import padded, padding
from daskqueue.chunk import BUFFERED, COLUMNS, PLAIN, REPEAT, Buffer, Span, cut_single
from daskqueue.errors import BatchError, BatchFormatError
from daskqueue.functions import Record, parse_records, used_only

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAGIC = b"DQB\x01"  # the last byte is the version
ALIGNED = b"DQB\x02"  # every chunk lies on a multiple of buffers.ALIGNMENT; only where a chunk is BUFFERED
HEADER = Struct("<4sIIHHIIIII")
ENTRY = Struct("<BBHIIIII")
MAX_BYTES = 0xFFFF_FFFF

ITEMS, RESULTS = 1, 2  # a batch's flags: raw values, results; calls without either
KEYWORDS, MIXED, WIDE = 2, 4, 8  # a chunk's flags, beside chunk.COLUMNS

_WHOLE_TABLE_BYTES = 1024  # a function table up to this size goes with every slice as it is
_CHECKED_FROM = 8  # the checksum covers all that follows it


class Entry(NamedTuple):
    """What the chunk table says about a chunk."""

    codec: int
    flags: int
    reserved: int
    function: int  # its number; 0 where the chunk has a column of numbers, or no calls
    held: int  # messages that the chunk's bytes hold
    skip: int  # of which so many come before this batch's
    take: int  # and so many belong to it
    length: int  # bytes of the chunk's data

    @property
    def column_bytes(self) -> int:
        """The length of the column of function numbers in front of the data."""
        if not self.flags & MIXED:
            return 0
        length = self.held * self.column_width
        return padded(length) if self.codec == BUFFERED else length

    @property
    def column_width(self) -> int:
        """How many bytes each number of the column has."""
        return 4 if self.flags & WIDE else 2

    def span(self, start: int, stop: int) -> Span:
        """Return where the values ``start <= i < stop`` of this batch's part of the chunk are in it."""
        return Span(self.codec, self.flags, self.held, self.skip + start, self.skip + stop)


def assemble(
    flags: int,
    count: int,
    functions: tuple[int, int, Sequence[Buffer]],
    entries: Sequence[Buffer],
    chunks: Iterable[Sequence[Buffer]],
    *,
    aligned: bool = False,
) -> bytes:
    """Put a record batch together.

    Args:
        flags: of the batch.
        count: messages.
        functions: the number of the first function, how many there are, the buffers of their records.
        entries: the packed chunk table, in pieces.
        chunks: the data of each chunk, or of several that lie as they will, in pieces.
        aligned: whether each is put on an aligned place; needed where one is BUFFERED.

    Raises:
        BatchError: it would reach 4 GiB.
    """
    first, known, records = functions
    table_bytes = sum(map(len, records))
    chunk_count = sum(map(len, entries)) // ENTRY.size
    head: list[Buffer] = [*records, *entries]
    parts = _aligned(head, chunks) if aligned else [*head, *chain.from_iterable(chunks)]
    size = HEADER.size + sum(map(len, parts))
    if size > MAX_BYTES:
        raise BatchError(
            f"a record batch of {size} bytes must stay below 4 GiB; put fewer messages at a time"
        )
    fields = (size, flags, 0, count, first, known, table_bytes, chunk_count)
    magic = ALIGNED if aligned else MAGIC
    checksum = crc32(HEADER.pack(magic, 0, *fields)[_CHECKED_FROM:])
    for part in parts:
        checksum = crc32(part, checksum)
    return b"".join([HEADER.pack(magic, checksum, *fields), *parts])


def _aligned(head: list[Buffer], chunks: Iterable[Sequence[Buffer]]) -> list[Buffer]:
    """Return the parts of a batch with zeros between them, so that each chunk is on an aligned place."""
    parts = [*head, padding(HEADER.size + sum(map(len, head)))]
    for chunk in chunks:
        parts += [*chunk, padding(sum(map(len, chunk)))]
    return parts


def declared(data: Buffer | bytearray) -> tuple[int, int]:
    """Return how many messages the head of a record batch speaks of, and its flags; nothing behind it is looked at.

    Raises:
        BatchError: it is no head of a record batch, or the batch is shorter or longer than its head says.
    """
    if len(data) < HEADER.size:
        raise BatchError(f"{len(data)} bytes are too few for a record batch")
    magic, _, size, flags, _, count, *_ = HEADER.unpack_from(data)
    if magic not in (MAGIC, ALIGNED) or size != len(data):
        raise BatchError("a record batch with a head that is none")
    return count, flags


def pack_entry(entry: Entry) -> bytes:
    """Return an entry as it stands in the chunk table."""
    return ENTRY.pack(*entry)


def _is_known(calls: bool, codec: int, flags: int) -> bool:
    if codec == REPEAT:
        return calls and not flags
    if not calls:
        return codec <= BUFFERED and not flags
    allowed = KEYWORDS | MIXED | WIDE | (COLUMNS if codec == PLAIN else 0)
    return codec <= BUFFERED and not flags & ~allowed


def _refusal(magic: bytes) -> BatchError:
    """Return what is said of bytes that begin like no record batch of a known version."""
    if magic[:3] != MAGIC[:3] or magic[3] <= ALIGNED[3]:
        return BatchError(f"no record batch, or one of another version: it starts with {magic!r}")
    return BatchFormatError(
        f"a record batch of another version: {magic[3]}; this daskqueue knows 1 to {ALIGNED[3]}. "
        "Upgrade daskqueue where this is read: queues and consumers before those who submit"
    )


class Layout:
    """A parsed record batch: what it says about itself fits together, its payloads are untouched.

    Args:
        view: bytes that start with a record batch; others may follow.

    Raises:
        BatchError: they do not.
        BatchFormatError: a newer version made them.
    """

    __slots__ = (
        "_aligned", "_entries", "checksum", "count", "first_function", "flags", "functions",
        "offsets", "records", "starts", "table", "view",
    )  # fmt: skip

    def __init__(self, view: memoryview) -> None:
        if len(view) < HEADER.size:
            raise BatchError(f"{len(view)} bytes are too few for a record batch")
        magic, checksum, size, flags, reserved, *counts = HEADER.unpack_from(view)
        self._aligned = magic == ALIGNED
        if magic != MAGIC and not self._aligned:
            raise _refusal(magic)
        if not HEADER.size <= size <= len(view) or flags > RESULTS or reserved:
            raise BatchError("the header of the record batch is damaged, or its end is missing")
        self.checksum: int = checksum
        self.flags: int = flags
        self.view = view[:size]
        self.count, self.first_function, functions, table_bytes, chunks = counts
        table_start = HEADER.size + table_bytes
        data_start = table_start + chunks * ENTRY.size
        if data_start > size:
            raise BatchError("the tables of the record batch do not fit into it")
        self.records = view[HEADER.size : table_start]
        self.functions = self._parse_records(functions)
        self.table = view[table_start:data_start]
        self._entries: list[tuple[int, ...]] = [*ENTRY.iter_unpack(self.table)]
        takes, lengths = self._check_entries() if chunks else ((), ())
        if self._aligned:
            data_start, lengths = padded(data_start), [*map(padded, lengths)]
        self.starts = [*accumulate(takes, initial=0)]
        self.offsets = [*accumulate(lengths, initial=data_start)]
        if self.starts[-1] != self.count or self.offsets[-1] != size:
            raise BatchError("the chunks of the record batch do not add up to its header")

    def _parse_records(self, count: int) -> list[Record]:
        records = parse_records(self.records, count)
        if records is None:
            raise BatchError("the function table of the record batch is damaged")
        return records

    def _check_entries(self) -> tuple[Sequence[int], Sequence[int]]:
        """Return how many messages each chunk contributes, and how many bytes."""
        codecs, flags, reserved, _, helds, skips, takes, lengths = zip(*self._entries, strict=True)
        calls = not self.flags
        for kind in set(zip(codecs, flags, strict=True)):
            if not _is_known(calls, *kind):
                raise BatchError(f"a chunk of the unknown kind {kind}")
        if any(reserved) or not all(takes) or any(map(lt, helds, map(add, skips, takes))):
            raise BatchError("a chunk's entry is damaged")
        used = {entry[3] for entry in self._entries if calls and not entry[1] & MIXED}
        first = self.first_function
        if used and not (first <= min(used) and max(used) < first + len(self.functions)):
            raise BatchError("a chunk names a function that its batch does not hold")
        return takes, lengths

    def entry(self, index: int) -> Entry:
        """Return what the chunk table says about a chunk."""
        return Entry._make(self._entries[index])

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return len(self._entries)

    def chunk_data(self, index: int) -> memoryview:
        """Return all bytes of a chunk."""
        if self._aligned:
            return self.view[self.offsets[index] :][: self._entries[index][-1]]
        return self.view[self.offsets[index] : self.offsets[index + 1]]

    def checksum_holds(self) -> bool:
        """Return whether the bytes are those that were written."""
        return crc32(self.view[_CHECKED_FROM:]) == self.checksum

    def slice(self, first: int, last: int) -> bytes:
        """Return a record batch of the messages ``first <= i < last``."""
        if not 0 <= first <= last <= self.count:
            raise BatchError(f"no slice {first}..{last} of {self.count} messages")
        low = bisect_right(self.starts, first) - 1
        high = bisect_left(self.starts, last)
        if first == last:
            return assemble(self.flags, 0, (0, 0, ()), (), ())
        functions = self._functions(low, high)
        entries: list[Buffer] = []
        data: list[list[Buffer]] = []
        for start, stop in pairwise(sorted({low, low + 1, high - 1, high})):  # only the outer two may be cut
            entry, taken = self._cut(start, stop, first, last)
            entries.append(entry)
            data.append(taken)
        return assemble(self.flags, last - first, functions, entries, data, aligned=self._aligned)

    def _cut(self, start: int, stop: int, first: int, last: int) -> tuple[Buffer, list[Buffer]]:
        """Return entries and data of chunks ``start <= i < stop``, less what lies outside of the messages."""
        skipped = max(first - self.starts[start], 0)
        left_out = max(self.starts[stop] - last, 0)
        if skipped or left_out:
            entry, data = self._cut_chunk(start, skipped, left_out)
            return pack_entry(entry), data
        entries = self.table[start * ENTRY.size : stop * ENTRY.size]
        return entries, [self.view[self.offsets[start] : self.offsets[stop]]]

    def _cut_chunk(self, index: int, skipped: int, left_out: int) -> tuple[Entry, list[Buffer]]:
        entry = self.entry(index)
        data = self.chunk_data(index)
        low, take = entry.skip + skipped, entry.take - skipped - left_out
        if entry.codec == PLAIN:
            return entry._replace(skip=low, take=take), [data]
        if entry.codec == REPEAT:
            return entry._replace(held=take, skip=0, take=take), []
        head, width = entry.column_bytes, entry.column_width
        column = bytes(data[low * width : (low + take) * width]) if head else b""
        if entry.codec == BUFFERED:
            column += padding(len(column))
        cut = cut_single(data[head:], entry.span(skipped, skipped + take))
        if cut is None:
            raise BatchError("a chunk's lengths do not fit its data")
        length = len(column) + cut.length
        return entry._replace(held=take, skip=0, take=take, length=length), [column, *cut.parts]

    def _functions(self, low: int, high: int) -> tuple[int, int, Sequence[Buffer]]:
        """Return what :func:`assemble` needs to know about the functions of chunks ``low <= i < high``."""
        if len(self.records) <= _WHOLE_TABLE_BYTES:
            return self.first_function, len(self.functions), [self.records]
        used: set[int] = set()
        for index in range(low, high):
            used.update(self.numbers(index))
        return used_only(self.functions, self.first_function, used)

    def numbers(self, index: int) -> Sequence[int]:
        """Return the function number of each message of a chunk; only one where all have the same."""
        entry = self.entry(index)
        if not entry.flags & MIXED:
            return (entry.function,)
        width = entry.column_width
        data = self.chunk_data(index)
        if entry.column_bytes > len(data):
            raise BatchError("a chunk's column of functions does not fit its data")
        kind = "I" if entry.flags & WIDE else "H"
        return unpack_from(f"<{entry.take}{kind}", data, entry.skip * width)
