"""What queues and consumers say of themselves, in the words that users of daskqueue know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

# From this many members on, a pool shows sums instead of a line for each.
MANY = 5


def pending_of(status: Mapping[str, Any]) -> int:
    """Return how many messages of a queue are not settled: they wait, or they run."""
    return sum(status.get(state, 0) for state in ("ready", "delayed", "leased"))


def queue_line(status: Mapping[str, Any]) -> str:
    """Return a queue's line in its pool's repr."""
    if "lost" in status:
        return f"{status['name']}: lost ({status['lost']})"
    return f"{status['name']}: {pending_of(status)} pending items"


def describe_queues(statuses: Sequence[Mapping[str, Any]]) -> str:
    """Return the repr of a pool of queues."""
    if len(statuses) < MANY:
        lines = "".join(f"\n\t{queue_line(status)}" for status in statuses)
        return f"QueuePool : {len(statuses)} queue(s){lines}"
    received = sum(status.get("enqueued", 0) for status in statuses)
    pending = sum(map(pending_of, statuses))
    return f"QueuePool : \n\t{len(statuses)} queue(s) \n\t{received} received \n\t{pending} pending"


def describe_consumers(statuses: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Return the repr of a pool of consumers; None stands for one that does not answer."""
    if len(statuses) < MANY:
        lines = "".join(map(_consumer_line, statuses, statuses.values()))
        return f"Consumers : {len(statuses)} Consumers(s){lines}"
    known = [status for status in statuses.values() if status]
    received, pending = (sum(status[what] for status in known) for what in ("received", "pending"))
    return f"Consumers : \n\t{len(statuses)} Consumers(s), \n\t{received} received \n\t{pending} pending "


def _consumer_line(name: str, status: Mapping[str, Any] | None) -> str:
    if status is None:
        return f"\n\t{name}: lost, to be replaced"
    return f"\n\t{name}: {status['received']} received, {status['pending']} pending tasks"


def time_text(moment: datetime | None) -> str:
    """Return a moment as people of this place write it, to the second."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table for notebooks; what is in the cells is escaped."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
