"""Every metric of the library: its name, its kind, its labels, and what it says. The docs are made from this.

Print the table of docs/metrics.md with ``python -m daskqueue.metrics``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]

QUEUE = "queue"
CONSUMER = "consumer"


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table.

    Args:
        name: as Prometheus sees it; a counter ends in ``_total``.
        kind: how it behaves.
        labels: their names, in order.
        role: who tells it: a queue or a consumer.
        text: what it says, in one sentence.
        dashboard: whether the chart's dashboard must show it.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    role: str
    text: str
    dashboard: bool = False


def _queue(name: str, kind: Kind, text: str, *labels: str, dashboard: bool = False) -> Metric:
    return Metric(f"daskqueue_{name}", kind, ("queue", *labels), QUEUE, text, dashboard)


def _consumer(name: str, kind: Kind, text: str, *labels: str, dashboard: bool = False) -> Metric:
    return Metric(f"daskqueue_{name}", kind, labels, CONSUMER, text, dashboard)


METRICS = (
    _queue(
        "messages",
        "gauge",
        "Messages in the state: ready (also delayed ones that are due), leased, delayed (also those whose group is "
        "busy), dead.",
        "state",
        dashboard=True,
    ),
    _queue("bytes", "gauge", "What the messages take that wait or run.", dashboard=True),
    _queue(
        "oldest_message_age_seconds",
        "gauge",
        "Time since the oldest message in the state was put; no value while there is none in it.",
        "state",
        dashboard=True,
    ),
    _queue("enqueued_total", "counter", "Messages that were put.", dashboard=True),
    _queue(
        "rejected_total",
        "counter",
        "Puts that were refused; full: the queue had no room in time; disk_full: the disk had none.",
        "reason",
        dashboard=True,
    ),
    _queue(
        "deduplicated_total",
        "counter",
        "Puts that changed nothing; resent: it was there already, key: its key was taken by another message.",
        "reason",
        dashboard=True,
    ),
    _queue(
        "delivered_total",
        "counter",
        "Messages handed to consumers, for the first time or again (redelivered: true or false).",
        "redelivered",
    ),
    _queue("acked_total", "counter", "Messages that are done.", dashboard=True),
    _queue(
        "nacked_total",
        "counter",
        "Attempts that failed; raised: retried or not, the other reasons are those of dead letters.",
        "reason",
    ),
    _queue("retried_total", "counter", "Messages that raised, and will run again.", dashboard=True),
    _queue("snoozed_total", "counter", "Messages whose task asked to be run again later."),
    _queue("released_total", "counter", "Messages that consumers gave back unstarted."),
    _queue(
        "dead_lettered_total",
        "counter",
        "Messages that became dead letters, by the reason.",
        "reason",
        dashboard=True,
    ),
    _queue("redriven_total", "counter", "Dead letters that were let run again.", dashboard=True),
    _queue("cancelled_total", "counter", "Messages that were cancelled, before they ran or in the middle."),
    _queue(
        "expired_total", "counter", "Messages that had not begun when their time was over.", dashboard=True
    ),
    _queue(
        "displaced_total",
        "counter",
        "Messages that were dropped to make room in a full queue.",
        dashboard=True,
    ),
    _queue("purged_total", "counter", "Messages and dead letters that were purged."),
    _queue("lease_expired_total", "counter", "Leases that ended in time, because their consumer was silent."),
    _queue("lease_lost_total", "counter", "Leases that were taken back from a consumer that was gone."),
    _queue("consumers", "gauge", "Consumers that wait here for work or hold some."),
    _queue("wait_seconds", "histogram", "From the put of a message to its lease, while it was never tried."),
    _queue("end_to_end_seconds", "histogram", "From the put of a message to its ack."),
    _queue("put_seconds", "histogram", "How long a call waited until all that it put was durable."),
    _queue("fsync_seconds", "histogram", "How long one sync of the queue's files took.", dashboard=True),
    _queue("commit_messages", "histogram", "Messages that one sync made durable."),
    _queue(
        "log_bytes",
        "gauge",
        "Size of the files; log: messages and facts, results: what tasks returned.",
        "kind",
    ),
    _queue("log_segments", "gauge", "Number of these files."),
    _queue("volume_free_bytes", "gauge", "Room left where the queue's folder lies."),
    _queue("volume_size_bytes", "gauge", "Room there is in all where the queue's folder lies."),
    _queue(
        "corrupt_records_total",
        "counter",
        "Places found damaged at the opening or since, and messages that could not be read.",
    ),
    _queue("recovery_seconds", "gauge", "How long the last opening of the queue took."),
    _queue(
        "writable",
        "gauge",
        "1 while the queue takes messages, 0 when it failed, its disk is full, or it is not open.",
    ),
    _queue("paused", "gauge", "1 while the queue hands out nothing because somebody paused it."),
    _queue("epoch", "gauge", "Which opening of its folder this is: 1, 2, ..."),
    _queue(
        "info",
        "gauge",
        "1, with how durable the queue is and the version of daskqueue.",
        "durability",
        "version",
    ),
    _consumer(
        "processing_seconds",
        "histogram",
        "How long a task ran, by the name of its function and whether it returned or raised.",
        "task",
        "outcome",
        dashboard=True,
    ),
    _consumer(
        "slots",
        "gauge",
        "Places for tasks, threads or processes: busy with one, or idle.",
        "state",
        dashboard=True,
    ),
    _consumer(
        "threads_left_behind",
        "gauge",
        "Threads that were given up with a task that did not end when its time was over.",
    ),
    _consumer(
        "consumer_last_fetch_timestamp_seconds",
        "gauge",
        "When a consumer of this process last got messages, in seconds since 1970; no value before the first.",
    ),
)


def markdown(metrics: Iterable[Metric] = METRICS) -> str:
    """Return the table as the docs show it."""
    lines = ["| metric | kind | labels | told by | what it says |", "|---|---|---|---|---|"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.role} | {metric.text} |")
    return "\n".join(lines) + "\n"
