"""How the messages of a queue are kept and lent, and what becomes of their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from daskqueue_operator.declare import Option, Rule
from daskqueue_operator.storage_spec import A_SIZE

Fsync = Literal["Always", "Interval", "Never"]
Overflow = Literal["Block", "Raise", "DropOldest"]
Results = Literal["Durable", "Memory", "None"]
A_WEEK, A_YEAR = 604_800, 31_536_000
MOST = 1_000_000_000


def _bounded(queue: Queue) -> bool:
    return queue.max_messages is not None or queue.max_bytes is not None


@dataclass(frozen=True, slots=True)
class Queue:
    """How messages are kept and lent."""

    # These rules also run on what was written, before the nested defaults are there: hence has().
    RULES: ClassVar = (
        Rule(
            "!has(self.overflow) || self.overflow == 'Block' || has(self.maxMessages) || has(self.maxBytes)",
            "overflow is for shards that can be full, and without a bound none is: set maxMessages or maxBytes",
            lambda queue: queue.overflow == "Block" or _bounded(queue),
        ),
        Rule(
            "!has(self.backoffSeconds) || !has(self.backoffMaxSeconds) || "
            "self.backoffSeconds <= self.backoffMaxSeconds",
            "backoffSeconds must not be greater than backoffMaxSeconds",
            lambda queue: queue.backoff_seconds <= queue.backoff_max_seconds,
        ),
    )

    lease_seconds: Annotated[
        int,
        Option(
            "How long a message stays with a consumer that has gone silent, in seconds, before another one gets it. "
            "A consumer that lives keeps its messages as long as its tasks take.",
            at_least=1,
            at_most=604_800,
        ),
    ] = 60
    max_deliveries: Annotated[
        int,
        Option(
            "How often a message may be handed out and lost with its consumer before it is kept as a dead letter. "
            "Tasks that raise have retries of their own.",
            at_least=1,
            at_most=1000,
        ),
    ] = 5
    retries: Annotated[
        int,
        Option(
            "How often a task that raised is run again before it is kept as a dead letter, where its submitter says "
            "nothing else. Clients learn it when they connect.",
            at_least=0,
            at_most=1_000_000,
        ),
    ] = 0
    backoff_seconds: Annotated[
        int,
        Option(
            "The pause before a task that raised is run again, in seconds; it doubles each time and varies a little.",
            at_least=0,
            at_most=A_WEEK,
        ),
    ] = 1
    backoff_max_seconds: Annotated[
        int, Option("The longest of these pauses, in seconds.", at_least=0, at_most=A_WEEK)
    ] = 600
    max_messages: Annotated[
        int | None,
        Option(
            "The most messages of one shard that wait or run; no bound where nothing is said.",
            at_least=1,
            at_most=MOST,
        ),
    ] = None
    max_bytes: Annotated[
        str | None,
        Option(
            "The most bytes that the messages of one shard may take that wait or run, such as 5Gi; no bound where "
            "nothing is said.",
            longest=32,
            rules=(A_SIZE,),
        ),
    ] = None
    overflow: Annotated[
        Overflow,
        Option(
            "What a submit to a full shard does, where its submitter says nothing else: `Block` waits for room, "
            "`Raise` fails at once, `DropOldest` makes room by dropping what waits longest. Clients learn it when "
            "they connect."
        ),
    ] = "Block"
    results: Annotated[
        Results,
        Option(
            "Where the shards keep what tasks return: `Durable` on the volume, `Memory` until the shard ends, `None` "
            "nowhere. Why a task failed is kept in any case."
        ),
    ] = "Durable"
    result_ttl_seconds: Annotated[
        int, Option("How long results are kept, in seconds.", at_least=1, at_most=A_YEAR)
    ] = A_WEEK
    result_bytes: Annotated[
        str,
        Option(
            "How much the results of one shard may take; the oldest make room for new ones.",
            longest=32,
            rules=(A_SIZE,),
        ),
    ] = "1Gi"
    result_count: Annotated[
        int | None,
        Option(
            "How many results one shard keeps, about; no bound where nothing is said.",
            at_least=1,
            at_most=MOST,
        ),
    ] = None
    fsync: Annotated[
        Fsync,
        Option(
            "When a message is safe from a loss of power: `Always` before `submit` returns, `Interval` within "
            "fsyncIntervalMilliseconds after it, `Never` when the system likes. All survive a killed pod."
        ),
    ] = "Always"
    fsync_interval_milliseconds: Annotated[
        int,
        Option(
            "The longest time between two syncs, in milliseconds; only with `fsync: Interval`.",
            at_least=1,
            at_most=60_000,
        ),
    ] = 100
