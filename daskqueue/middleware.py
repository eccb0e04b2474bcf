"""Hooks round each message: subclass :class:`Middleware` and give objects of it to ``ConsumerPool``."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from daskqueue.consumer import ConsumerBaseClass

logger = logging.getLogger(__name__)


class Middleware:
    """Something that is told before and after each message; all hooks are empty until you write them.

    One instance lives in each process that runs messages, and is used by all its task threads. It has to be
    picklable. Of several, the first is outermost: it is told first of a beginning and last of an end. A hook
    runs where the message runs, so that ``daskqueue.current()`` works in it. *message* is a
    :class:`~daskqueue.Message`, or the item that was given to ``put``.
    """

    def on_start(self, consumer: ConsumerBaseClass) -> None:
        """Do something before the first message of a process, after ``setup``; what it raises ends the start."""

    def on_stop(self, consumer: ConsumerBaseClass) -> None:
        """Do something after the last message of a process; what it raises is logged."""

    def before_run(self, message: Any) -> None:
        """Do something before a message runs; what it raises is the message's failure, and it does not run."""

    def after_run(self, message: Any, result: Any) -> None:
        """Do something after a message has run; what it raises is logged, and the result stays."""

    def on_failure(self, message: Any, error: BaseException) -> None:
        """Do something after a message has raised; what this raises is logged, and the error stays."""


class Surrounded(ConsumerBaseClass):
    """A consumer with the hooks of middleware round each of its messages.

    Args:
        inner: what is done with a message.
        middleware: the first is outermost.
        awaiting: waits for a coroutine and returns what it returns.
    """

    def __init__(
        self,
        inner: ConsumerBaseClass,
        middleware: Sequence[Middleware],
        awaiting: Callable[[Coroutine[Any, Any, Any]], Any],
    ) -> None:
        self.name = inner.name
        self.resources = inner.resources
        self._process = inner.process_item
        self._middleware = tuple(middleware)
        self._awaiting = awaiting

    def process_item(self, item: Any) -> Any:
        """Run one message with all hooks round it.

        Raises:
            BaseException: what ``before_run`` or the message raised.
        """
        entered: list[Middleware] = []
        try:
            for layer in self._middleware:
                layer.before_run(item)
                entered.append(layer)
            value = self._process(item)
            if inspect.iscoroutine(value):
                value = self._awaiting(value)
        except BaseException as error:
            _tell(reversed(entered), "on_failure", item, error)
            raise
        _tell(reversed(entered), "after_run", item, value)
        return value


def start_all(middleware: Sequence[Middleware], consumer: ConsumerBaseClass) -> None:
    """Tell all of a process's start; what one raises is told to those before it, and raised.

    Raises:
        Exception: what an ``on_start`` raised.
    """
    for started, layer in enumerate(middleware):
        try:
            layer.on_start(consumer)
        except BaseException:
            stop_all(middleware[:started], consumer)
            raise


def stop_all(middleware: Sequence[Middleware], consumer: ConsumerBaseClass) -> None:
    """Tell all of a process's end, the last first."""
    _tell(reversed(middleware), "on_stop", consumer)


def _tell(middleware: Iterable[Middleware], hook: str, *about: Any) -> None:
    for layer in middleware:
        try:
            getattr(layer, hook)(*about)
        except Exception:
            logger.exception("%s of %s failed", hook, type(layer).__name__)
