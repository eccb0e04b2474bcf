"""What a consumer does with each message; subclass :class:`ConsumerBaseClass` to do something of your own."""

from __future__ import annotations

import abc
import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any

from daskqueue.message import Message


class ConsumerBaseClass(abc.ABC):
    """Handles the messages of a consumer, one at a time for each of its threads.

    An instance lives in one process. What :meth:`process_item` returns is the message's result; what it
    raises is the message's failure.

    Attributes:
        name: the consumer's name, as in ``results()``.
        resources: what was opened for ``ConsumerPool(resources=...)`` in this process.
        awaiting: waits for a coroutine, on the event loop of this process's tasks, and returns what it returns.
    """

    name: str = ""
    awaiting: Callable[[Coroutine[Any, Any, Any]], Any] = staticmethod(asyncio.run)
    resources: Mapping[str, Any] = MappingProxyType({})

    def setup(self) -> None:  # noqa: B027  an empty hook
        """Open what is needed once per process; called before the first message, and after the resources."""

    def teardown(self) -> None:  # noqa: B027  an empty hook
        """Close it; called after the last message, and before the resources are closed."""

    @abc.abstractmethod
    def process_item(self, item: Any) -> Any:
        """Handle one item: what was given to ``put``, or the :class:`~daskqueue.Message` of a ``submit``."""


class GeneralConsumer(ConsumerBaseClass):
    """Calls the submitted functions and keeps what they return."""

    def process_item(self, item: Any) -> Any:
        """Call the function of a submitted message.

        Raises:
            TypeError: a raw item, which only a consumer of your own knows what to do with.
        """
        if not isinstance(item, Message):
            raise TypeError(
                f"GeneralConsumer calls submitted functions, and this is an item: {item!r:.80}; "
                "give ConsumerPool a consumer class with your own process_item"
            )
        value = item.run()
        return self.awaiting(value) if inspect.iscoroutine(value) else value


class DummyConsumer(ConsumerBaseClass):
    """Takes everything and does nothing with it."""

    def process_item(self, item: Any) -> None:
        """Do nothing."""
