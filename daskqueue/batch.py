"""A record batch to bytes and back, and slices of one: the unit that is sent, kept, leased and acked.

``encode_calls``, ``encode_one`` and ``encode_items`` make one; :class:`Batch` reads it.
``docs/batch-format.md`` describes the bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import groupby, islice, repeat, starmap
from typing import TYPE_CHECKING, Any

from daskqueue.calls import CallLike, encode_calls, encode_items, encode_one
from daskqueue.chunk import Broken, Buffer, Decoded, decode
from daskqueue.errors import BatchError, CannotLoadError
from daskqueue.functions import Function, load_function, name_of, told_name
from daskqueue.layout import ITEMS, KEYWORDS, MIXED, RESULTS, Entry, Layout
from daskqueue.message import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["Batch", "Broken", "CallLike", "Group", "encode_calls", "encode_items", "encode_one"]


@dataclass(slots=True)
class Group:
    """Messages, one after the other, to be run as ``starmap(group.call, group.arguments)``."""

    count: int
    call: Callable[..., Any]
    arguments: Iterable[tuple[Any, ...]]
    functions: tuple[Function, ...]  # the users' distinct functions behind ``call``


class Batch:
    """A record batch whose structure is checked and whose payloads are untouched until they are asked for.

    Attributes:
        count: messages in it.
        size_bytes: its length.
    """

    __slots__ = ("_layout", "_loaded", "_verified", "count", "size_bytes")

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._loaded: dict[int, Function | CannotLoadError] = {}
        self._verified = False
        self.count: int = layout.count
        self.size_bytes = len(layout.view)

    @classmethod
    def parse(cls, buffer: Buffer | bytearray, *, verify: bool = True) -> Batch:
        """Return the batch that *buffer* holds.

        Args:
            buffer: exactly one record batch; it is referred to, not copied.
            verify: check the checksum now. Without it the batch can be sliced; before anything is unpickled
                the check is made all the same.

        Raises:
            BatchError: it is no record batch, a damaged one, or one of a newer version.
        """
        batches = cls.parse_many(buffer, verify=verify)
        if len(batches) != 1:
            raise BatchError(f"{len(batches)} record batches where there should be one")
        return batches[0]

    @classmethod
    def parse_many(cls, buffer: Buffer | bytearray, *, verify: bool = True) -> list[Batch]:
        """Return the batches that lie end to end in *buffer*; see :meth:`parse`."""
        view = memoryview(buffer).toreadonly()
        batches = []
        while view:
            batch = cls(Layout(view))
            if verify:
                batch.verify()
            batches.append(batch)
            view = view[batch.size_bytes :]
        return batches

    @property
    def holds_items(self) -> bool:
        """True for raw values (read :meth:`items`), False for calls (read :meth:`groups`)."""
        return self._layout.flags == ITEMS

    @property
    def holds_results(self) -> bool:
        """True for a blob of results (read :meth:`items`)."""
        return self._layout.flags == RESULTS

    def verify(self) -> None:
        """Check the checksum, once.

        Raises:
            BatchError: the bytes are not those that were written.
        """
        if not self._verified and not self._layout.checksum_holds():
            raise BatchError("the record batch is damaged: its checksum does not match")
        self._verified = True

    def slice(self, first: int, last: int) -> bytes:
        """Return a record batch of the messages ``first <= i < last``, made without unpickling any.

        Raises:
            BatchError: there are no such messages.
        """
        return self._layout.slice(first, last)

    def groups(self) -> Iterator[Group | Broken]:
        """Yield all messages in their order, grouped; a chunk is unpickled when its turn comes.

        Raises:
            BatchError: the bytes are damaged, or the batch holds no calls.
        """
        if self._layout.flags:
            raise BatchError("this record batch holds values, no calls")
        self.verify()
        for index in range(self._layout.chunks):
            entry = self._layout.entry(index)
            if entry.flags & MIXED:
                yield from self._mixed_groups(index, entry)
            else:
                yield from self._uniform_groups(index, entry)

    def _uniform_groups(self, index: int, entry: Entry) -> Iterator[Group | Broken]:
        function = self._function(entry.function)
        if isinstance(function, CannotLoadError):
            yield Broken(entry.take, function)
            return
        for part in self._decode(index, entry):
            if isinstance(part, Broken):
                yield part
            elif entry.flags & KEYWORDS:
                yield Group(part.count, _apply_pair, zip(repeat(function), part.values), (function,))
            else:
                yield Group(part.count, function, part.values, (function,))

    def _mixed_groups(self, index: int, entry: Entry) -> Iterator[Group | Broken]:
        call = _apply_pair if entry.flags & KEYWORDS else _apply
        functions = map(self._function, self._layout.numbers(index))
        for part in self._decode(index, entry):
            chosen = list(islice(functions, part.count))
            if isinstance(part, Broken):
                yield part
            else:
                yield from _split(call, chosen, iter(part.values))

    def _decode(self, index: int, entry: Entry) -> Iterable[Decoded | Broken]:
        data = self._layout.chunk_data(index)
        if entry.flags & MIXED:
            data = data[entry.column_bytes :]
        return decode(data, entry.span(0, entry.take), own=self.holds_results)

    def _function(self, number: int) -> Function | CannotLoadError:
        loaded = self._loaded.get(number)
        if loaded is None:
            position = number - self._layout.first_function
            if not 0 <= position < len(self._layout.functions):
                raise BatchError("a chunk names a function that its batch does not hold")
            loaded = self._loaded[number] = load_function(self._layout.functions[position])
        return loaded

    def messages(self) -> Iterator[Call | Broken]:
        """Yield the calls of :meth:`groups` one by one; a :class:`Broken` here counts one."""
        for group in self.groups():
            if isinstance(group, Broken):
                yield from repeat(Broken(1, group.error), group.count)
            elif group.call is _apply:
                yield from starmap(Call, group.arguments)
            elif group.call is _apply_pair:
                for function, (args, kwargs) in group.arguments:
                    yield Call(function, args, kwargs)
            else:
                yield from map(Call, repeat(group.call), group.arguments)

    def call(self, position: int) -> Call | Broken:
        """Return one of the calls of :meth:`messages`; of the others at most its chunk is unpickled.

        Raises:
            BatchError: there is none, the bytes are damaged, or the batch holds no calls.
        """
        if self._layout.flags:
            raise BatchError("this record batch holds values, no calls")
        self.verify()
        index, at = self._find(position)
        entry = self._layout.entry(index)
        function = self._function(self._number(index, at))
        if isinstance(function, CannotLoadError):
            return Broken(1, function)
        data = self._layout.chunk_data(index)[entry.column_bytes :]
        value = next(_values(decode(data, entry.span(at, at + 1))))
        if isinstance(value, Broken):
            return value
        return Call(function, *value) if entry.flags & KEYWORDS else Call(function, value)

    def function_name(self, position: int) -> str:
        """Return the name of the function of one call, ``module.name`` where it is importable.

        Raises:
            BatchError: as for :meth:`call`.
        """
        number = self._number(*self._find(position)) - self._layout.first_function
        if self._layout.flags or not 0 <= number < len(self._layout.functions):
            raise BatchError("no function of this batch")
        self.verify()
        return name_of(self._layout.functions[number])

    @property
    def function_names(self) -> list[str]:
        """The names of its functions, as far as they can be told without loading any."""
        return [told_name(record) for record in self._layout.functions]

    def _number(self, index: int, at: int) -> int:
        numbers = self._layout.numbers(index)
        return numbers[at if len(numbers) > 1 else 0]

    def _find(self, position: int) -> tuple[int, int]:
        """Return the chunk of a message, and its place among those of the chunk that are in this batch."""
        if not 0 <= position < self.count:
            raise BatchError(f"no value {position} among {self.count}")
        index = bisect_right(self._layout.starts, position) - 1
        return index, position - self._layout.starts[index]

    def items(self) -> Iterator[Any]:
        """Yield the raw values or results one by one, and a :class:`Broken` for one that cannot be loaded.

        Raises:
            BatchError: the bytes are damaged, or the batch holds calls.
        """
        self._expect_values()
        for index in range(self._layout.chunks):
            yield from _values(self._decode(index, self._layout.entry(index)))

    def item_list(self) -> list[Any]:
        """Return all of :meth:`items`, several times faster than one by one."""
        self._expect_values()
        values: list[Any] = []
        for index in range(self._layout.chunks):
            for part in self._decode(index, self._layout.entry(index)):
                values.extend(_values((part,)) if isinstance(part, Broken) else part.values)
        return values

    def item(self, position: int) -> Any:
        """Return one value of :meth:`items`; at most its chunk is unpickled.

        Raises:
            BatchError: there is none, or as for :meth:`items`.
        """
        self._expect_values()
        index, at = self._find(position)
        span = self._layout.entry(index).span(at, at + 1)
        return next(_values(decode(self._layout.chunk_data(index), span, own=self.holds_results)))

    def _expect_values(self) -> None:
        if not self._layout.flags:
            raise BatchError("this record batch holds calls, no values")
        self.verify()


def _values(parts: Iterable[Decoded | Broken]) -> Iterator[Any]:
    for part in parts:
        if isinstance(part, Broken):
            yield from repeat(Broken(1, part.error), part.count)
        else:
            yield from part.values


def _split(
    call: Callable[..., Any], functions: Sequence[Function | CannotLoadError], values: Iterator[Any]
) -> Iterator[Group | Broken]:
    """Yield groups of one chunk's calls, cut where a function could not be loaded."""
    for broken, members in groupby(functions, lambda function: isinstance(function, CannotLoadError)):
        chosen: list[Any] = list(members)
        taken = list(islice(values, len(chosen)))
        if broken:
            yield from (Broken(1, error) for error in chosen)
        else:
            distinct = tuple({id(function): function for function in chosen}.values())
            yield Group(len(chosen), call, zip(chosen, taken, strict=True), distinct)


def _apply(function: Function, args: tuple[Any, ...]) -> Any:
    return function(*args)


def _apply_pair(function: Function, pair: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
    args, kwargs = pair
    return function(*args, **kwargs)
