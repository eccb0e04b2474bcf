"""What the operator counts about itself, for Prometheus."""

from __future__ import annotations

import contextlib

from prometheus_client import Counter, Gauge, Histogram

from daskqueue_operator.scaling import ScaleResult

DESIRED_CONSUMERS = Gauge(
    "daskqueue_operator_desired_consumers",
    "Consumers that a DaskQueue should have now.",
    ["namespace", "queue"],
)
RECONCILE_SECONDS = Histogram(
    "daskqueue_operator_reconcile_seconds",
    "How long a pass over one DaskQueue took, from the look at it to its status.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RECONCILE_ERRORS = Counter(
    "daskqueue_operator_reconcile_errors",
    "Passes that failed and are tried again, by what went wrong.",
    ["reason"],
)
ACTIONS = Counter("daskqueue_operator_actions", "What was done about objects.", ["verb", "kind"])
SCALE_EVENTS = Counter(
    "daskqueue_operator_scale_events", "Changes of the number of consumers.", ["direction", "reason"]
)


def scaled(key: tuple[str, str], result: ScaleResult) -> None:
    """Count what the scaling of a DaskQueue decided.

    Args:
        key: namespace and name of the DaskQueue.
        result: what it said.
    """
    DESIRED_CONSUMERS.labels(*key).set(result.desired)
    if result.scaled is not None:
        direction = "up" if result.scaled.after > result.scaled.before else "down"
        SCALE_EVENTS.labels(direction, result.scaled.cause).inc()


def forget(key: tuple[str, str]) -> None:
    """Drop the series of a DaskQueue that is gone.

    Args:
        key: namespace and name of the DaskQueue.
    """
    with contextlib.suppress(KeyError):
        DESIRED_CONSUMERS.remove(*key)
