"""How much CPU an idle pool of consumers burns, above the same cluster without it."""

from __future__ import annotations

import time

from distributed import Client
from measuring import Section, Spread, close, cluster, cpu_seconds, family, parser, publish, say

from daskqueue import ConsumerPool, QueuePool

CONSUMERS = 8
TARGET_PERCENT = 2.0


def percent_of_core(seconds: float) -> float:
    """Return how much of one core this process and all its children use during *seconds*."""
    processes = family()
    began, used = time.perf_counter(), cpu_seconds(processes)
    time.sleep(seconds)
    return 100 * (cpu_seconds(processes) - used) / (time.perf_counter() - began)


def with_pool(client: Client, seconds: float, settle: float) -> float:
    """Return the same while consumers wait for work."""
    queue_pool = QueuePool(client, n_queues=2)
    consumer_pool = ConsumerPool(client, queue_pool, n_consumers=CONSUMERS)
    consumer_pool.start()
    time.sleep(settle)
    try:
        return percent_of_core(seconds)
    finally:
        consumer_pool.reset()
        close(queue_pool)


def measure(turns: int, seconds: float) -> Section:
    """Measure an empty cluster and an idle pool on it, in turns."""
    empty, idle = [], []
    with cluster(workers=2, threads=1) as client:
        settle = min(1.0, seconds)
        time.sleep(settle)
        for turn in range(turns):
            empty.append(percent_of_core(seconds))
            idle.append(with_pool(client, seconds, settle))
            say(f"  turn {turn + 1}: {empty[-1]:.2f} % empty, {idle[-1]:.2f} % with an idle pool")
    above = Spread.of([more - less for more, less in zip(idle, empty, strict=True)])
    table = Section(
        f"{CONSUMERS} idle consumers and 2 queues on 2 workers",
        "Per cent of one core, all processes of the cluster and its client; median (least to greatest) of "
        f"{turns} intervals of {seconds:g} s. The cluster is a plain LocalCluster.",
    )
    table.rows.append(
        {
            "ratio to target": above.median / TARGET_PERCENT,
            "above the empty cluster, %": above,
            "target, %": TARGET_PERCENT,
            "empty cluster, %": Spread.of(empty),
            "with the idle pool, %": Spread.of(idle),
        }
    )
    return table


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = parser(__doc__ or "").parse_args()
    turns, seconds = (1, 0.3) if arguments.quick else (5, 6.0)
    publish("idle", [measure(turns, seconds)], arguments)


if __name__ == "__main__":
    main()
