"""What a consumer does with each message; subclass :class:`ConsumerBaseClass` to do something of your own."""

from __future__ import annotations

import abc
import asyncio
import inspect
from typing import Any, cast

from distributed import get_worker

from daskqueue.message import Message


class ConsumerBaseClass(abc.ABC):
    """Handles the messages of a consumer, one at a time for each of its threads.

    An instance lives in one process. What :meth:`process_item` returns is the message's result; what it
    raises is the message's failure.
    """

    def setup(self) -> None:  # noqa: B027  an empty hook
        """Open what is needed once per process; called before the first message."""

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
        if inspect.iscoroutine(value):
            return asyncio.run_coroutine_threadsafe(
                value, cast("Any", get_worker().loop).asyncio_loop
            ).result()
        return value


class DummyConsumer(ConsumerBaseClass):
    """Takes everything and does nothing with it."""

    def process_item(self, item: Any) -> None:
        """Do nothing."""
