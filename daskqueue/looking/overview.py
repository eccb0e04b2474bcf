"""What a pool's user looks at: the messages that come next, and numbers; on the client's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from daskqueue.jobs.job import Job
from daskqueue.looking.content import Content, Seen
from daskqueue.looking.dead import moment_of
from daskqueue.message import PLAIN, Terms, pack_id
from daskqueue.status import html_table, time_text

if TYPE_CHECKING:
    from daskqueue.actors.queues import Queues
    from daskqueue.handle import PoolHandle
    from daskqueue.pool import QueuePool

# What one queue shows of what is in it, at most.
PEEK_BYTES = 4 << 20
_STATES = ("ready", "delayed", "leased", "dead")
_RATES = ("enqueued", "delivered", "acked", "retried", "dead")


class Waiting(Seen):
    """A message that waits; looking at it changes nothing.

    Attributes:
        job: its handle.
        state: ``ready`` or ``delayed``.
        due_at: when it is ready; None for now, or if it waits for its turn in its group.
        attempts: how often it ran and raised.
        deliveries: how often it was handed to a consumer.
        submitted_at: when it was put, to about a hundredth of its age; None if that is not known.
        terms: what was chosen for it: priority, group, key and so on.
    """

    __slots__ = ("attempts", "deliveries", "due_at", "job", "state", "submitted_at", "terms")

    def __init__(self, job: Job, row: Sequence[Any], position: int) -> None:
        _, _, state, attempts, losses, due_at, terms, put_at, batch = row
        super().__init__(Content(batch, position))
        self.job = job
        self.state: str = state
        self.attempts: int = attempts
        self.deliveries: int = attempts + losses
        self.due_at = moment_of(due_at)
        self.terms = PLAIN if terms is None else Terms(*terms)
        self.submitted_at = moment_of(put_at)

    @property
    def cells(self) -> tuple[str, ...]:
        """What a table shows of it."""
        when = time_text(self.due_at) if self.due_at else ""
        return str(self.job.id), str(self._content), self.state, str(self.attempts), when

    def __repr__(self) -> str:
        due = f", due at {time_text(self.due_at)}" if self.due_at else ""
        return f"<Waiting {self.job.id}: {self._content}, {self.state}{due}>"


class WaitingList(list[Waiting]):
    """Messages that wait; prints one in each line, and a table in notebooks."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "nothing waits"

    def _repr_html_(self) -> str:
        return html_table(("job", "call", "state", "attempts", "due"), [waiting.cells for waiting in self])


class PoolStats(dict[str, dict[str, Any]]):
    """Numbers by queue: ``messages`` by state, ``message_bytes``, ``counters``, ``rates`` a second, and more.

    Attributes:
        total: the same for all queues together.
    """

    def __init__(self, queues: Iterable[dict[str, Any]]) -> None:
        super().__init__((stats["name"], stats) for stats in queues)
        self.total = _total(list(self.values()))

    def __repr__(self) -> str:
        rows = [_HEAD, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        )

    def _repr_html_(self) -> str:
        return html_table(_HEAD, self._rows())

    def _rows(self) -> list[tuple[str, ...]]:
        return [_cells(name, stats) for name, stats in (*self.items(), ("all", self.total))]


_HEAD = ("queue", *_STATES, "bytes", *(f"{name}/s" for name in _RATES), "")


async def peek(pool: PoolHandle, n: int) -> WaitingList:
    """Return the first *n* messages that wait, in the order of delivery; large ones may be fewer."""
    queues, whole = pool.queues, cast("QueuePool", pool)
    calls = (
        queues.call_at(index, "look.peek", n, PEEK_BYTES, deadline=30.0, patience=60.0)
        for index in range(queues.spec.n_queues)
    )
    ranked: list[tuple[tuple[float, ...], Waiting]] = []
    for index, (ref, rows) in enumerate(await asyncio.gather(*calls)):
        found = (
            Waiting(Job(whole, pack_id(index, ref.incarnation, sequence)), row, sequence - row[0])
            for row in rows
            for sequence in range(row[0], row[1])
        )
        # Consumers serve the queues in turn, so what is second in one follows what is first in the others.
        ranked += [((*_urgency(waiting), place, index), waiting) for place, waiting in enumerate(found)]
    ranked.sort(key=lambda pair: pair[0])
    return WaitingList(waiting for _, waiting in ranked[:n])


def _urgency(waiting: Waiting) -> tuple[float, float]:
    if waiting.state == "ready":
        return 0, -waiting.terms.priority
    return (1, 0) if waiting.due_at is None else (2, waiting.due_at.timestamp())


async def pause(queues: Queues, paused: bool) -> None:
    """Stop handing out messages in all queues, or go on; returns once that is durable."""
    await asyncio.gather(*(queues.call(i, "look.pause", paused) for i in range(queues.spec.n_queues)))


async def stats(queues: Queues) -> PoolStats:
    """Return the numbers of all queues.

    Raises:
        QueueLostError: a queue does not answer.
    """
    return PoolStats(
        await asyncio.gather(*(queues.call(i, "look.stats") for i in range(queues.spec.n_queues)))
    )


def _total(queues: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {
        name: _sum([stats[name] for stats in queues])
        for name in ("messages", "counters", "dead_by_reason", "rates")
    }
    for name in ("message_bytes", "log_bytes", "results_bytes", "corrupt_records"):
        total[name] = sum(stats[name] for stats in queues)
    total["paused"] = any(stats["paused"] for stats in queues)
    return total


def _sum(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    summed: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            summed[name] = summed.get(name, 0) + value
    return summed


def _cells(name: str, stats: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (str(stats["messages"].get(state, 0)) for state in _STATES)
    rates = (f"{stats['rates'][rate]:.1f}" for rate in _RATES)
    return (name, *counts, str(stats["message_bytes"]), *rates, "paused" if stats["paused"] else "")
