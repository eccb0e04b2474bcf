"""The calls of a slice: loaded from its record batches as they are needed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from daskqueue.batch import Batch, Broken, Group
from daskqueue.consumer import ConsumerBaseClass, GeneralConsumer
from daskqueue.errors import BatchError
from daskqueue.message import Message

if TYPE_CHECKING:
    from daskqueue.actors.work import Work


class Loader:
    """Makes a slice into groups of calls of what is done with its messages.

    Args:
        consumer: what is done with a message.
        awaiting: waits for a coroutine that a call returned, and returns what it returns.
    """

    def __init__(
        self, consumer: ConsumerBaseClass, awaiting: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        self._consumer = consumer
        self._awaiting = awaiting
        # The functions of submitted messages are called without a detour through process_item.
        self._calls_directly = type(consumer).process_item is GeneralConsumer.process_item

    def groups(self, work: Work) -> Iterator[Group | Broken]:
        """Yield all messages of a slice in their order."""
        first_id = work.base_id + work.first
        for count, data in work.parts:
            try:
                yield from self._groups_of(Batch.parse(data), first_id)
            except BatchError as error:
                yield Broken(count, error)  # type: ignore[arg-type]
            first_id += count

    def _groups_of(self, batch: Batch, first_id: int) -> Iterator[Group | Broken]:
        if batch.holds_items:
            yield from self._item_groups(batch)
        elif self._calls_directly:
            for group in batch.groups():
                yield self._awaited(group) if isinstance(group, Group) else group
        else:
            yield from self._message_groups(batch, first_id)

    def _item_groups(self, batch: Batch) -> Iterator[Group | Broken]:
        for item in batch.items():
            if isinstance(item, Broken):
                yield item
            else:
                yield self._handled(item)

    def _message_groups(self, batch: Batch, first_id: int) -> Iterator[Group | Broken]:
        for index, call in enumerate(batch.messages()):
            if isinstance(call, Broken):
                yield call
            else:
                yield self._handled(Message(first_id + index, *call))

    def _handled(self, item: Any) -> Group:
        handle = self._consumer.process_item
        return Group(1, self._awaiting_call(handle), ((item,),), (handle,))

    def _awaited(self, group: Group) -> Group:
        if any(map(_may_be_coroutine, group.functions)):
            return replace(group, call=self._awaiting_call(group.call))
        return group

    def _awaiting_call(self, call: Callable[..., Any]) -> Callable[..., Any]:
        awaiting = self._awaiting

        def call_and_await(*arguments: Any) -> Any:
            value = call(*arguments)
            return awaiting(value) if inspect.iscoroutine(value) else value

        return call_and_await


def _may_be_coroutine(function: Any) -> bool:
    """Whether a call may return a coroutine: to find out of every call would cost as much as a small task."""
    function = inspect.unwrap(function)
    is_lambda = getattr(function, "__name__", "") == "<lambda>"
    return is_lambda or any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))
