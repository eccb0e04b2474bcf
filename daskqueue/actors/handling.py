"""What one process of a consumer opens before its first message, and closes after its last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from daskqueue.consumer import ConsumerBaseClass
from daskqueue.middleware import Middleware, Surrounded, start_all, stop_all
from daskqueue.resources import Resources

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Equipment:
    """What messages are handled with.

    Args:
        name: the consumer's name.
        consumer_class: what is done with each message.
        middleware: told before and after each, the first is outermost.
        resources: what opens each resource, by its name.
    """

    name: str
    consumer_class: type[ConsumerBaseClass]
    middleware: tuple[Middleware, ...] = ()
    resources: Mapping[str, Callable[[], Any]] = field(default_factory=dict)


class Handling:
    """Opens and closes the equipment of one process; both may block, and belong on a thread.

    Args:
        equipment: what there is.
        awaiting: waits for a coroutine and returns what it returns.
    """

    def __init__(self, equipment: Equipment, awaiting: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._equipment = equipment
        self._awaiting = awaiting
        self._consumer: ConsumerBaseClass | None = None
        self._resources: Resources | None = None

    def open(self) -> ConsumerBaseClass:
        """Open the resources, then set up the consumer, then tell the middleware; return what handles messages.

        Raises:
            Exception: what one of them raised; what was opened before is closed again.
        """
        given = self._equipment
        consumer = given.consumer_class()
        consumer.name = given.name
        consumer.awaiting = self._awaiting
        resources = Resources(given.resources, self._awaiting)
        if given.resources:
            consumer.resources = resources
        try:
            consumer.setup()
            self._start(consumer)
        except BaseException:
            resources.close()
            raise
        self._consumer, self._resources = consumer, resources
        return Surrounded(consumer, given.middleware, self._awaiting) if given.middleware else consumer

    def close(self) -> None:
        """Undo :meth:`open`, in the reverse order; a second call does nothing."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        stop_all(self._equipment.middleware, consumer)
        _tear_down(consumer)
        assert self._resources is not None
        self._resources.close()

    def _start(self, consumer: ConsumerBaseClass) -> None:
        try:
            start_all(self._equipment.middleware, consumer)
        except BaseException:
            _tear_down(consumer)
            raise


def _tear_down(consumer: ConsumerBaseClass) -> None:
    try:
        consumer.teardown()
    except Exception:
        logger.exception("teardown of %s failed", consumer.name)
