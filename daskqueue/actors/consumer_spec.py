"""What a worker is told of a consumer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskqueue.actors.directory import ActorRef
    from daskqueue.consumer import ConsumerBaseClass
    from daskqueue.middleware import Middleware

THREADS, PROCESSES = "threads", "processes"


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """All that a worker needs to run one consumer.

    Args:
        name: shown in ``results()`` and in the pool's repr.
        pool_id: the consumer pool's id; results are kept under it.
        queue_pool_id: whose queues it reads.
        queues: where they are, home first.
        homes: how many of the first queues are its own; the others it helps out.
        consumer_class: what it does with each message.
        batch_size: the most messages of one lease.
        threads: how many tasks run at the same time.
        early_ack: ack messages before they run.
        lease_seconds: how long a message stays a silent consumer's.
        executor: where tasks run, :data:`THREADS` or child :data:`PROCESSES`.
        middleware: told before and after each message; the first is outermost.
        resources: what opens each resource, by its name.
    """

    name: str
    pool_id: str
    queue_pool_id: str
    queues: tuple[tuple[int, ActorRef], ...]
    homes: int
    consumer_class: type[ConsumerBaseClass]
    batch_size: int
    threads: int
    early_ack: bool
    lease_seconds: float
    executor: str = THREADS
    middleware: tuple[Middleware, ...] = ()
    resources: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
