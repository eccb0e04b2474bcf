"""What ten million waiting messages cost: time, memory of the queue's process, disk, re-opening."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from distributed import Client
from measuring import (
    Section,
    bytes_on_disk,
    close,
    cluster,
    let_go,
    new_worker_pid,
    parser,
    peak_bytes,
    publish,
    resident_bytes,
    say,
    seconds_of,
    worker_pids,
)

from daskqueue import QueuePool

MESSAGES = 10_000_000
QUICK_MESSAGES = 20_000
BATCH = 10_000
PART = 1_000_000


class Target(NamedTuple):
    """What issue 3 asks for: a number, and whether more is better."""

    value: float
    better: str


RATES = {"equal calls": Target(4e6, "more"), "(f, i)": Target(1.2e6, "more")}
MEMORY_MB = Target(200.0, "less")
OPEN_SECONDS = Target(5.0, "less")
NEW_QUEUE_KB = Target(64.0, "less")


def process_numbered(number: int = 0) -> int:
    """The notebook's task with an argument: what makes each message another one."""
    return sum(i * i for i in range(10**2)) + number


def calls_of(what: str, count: int) -> list[Any]:
    """Return *count* calls, equal or numbered."""
    if what == "equal calls":
        return [(process_numbered,)] * count
    return [(process_numbered, i) for i in range(count)]


def put(pool: QueuePool, what: str, count: int) -> float:
    """Put *count* messages, a list of a million after the other; return the seconds of putting alone."""
    seconds = 0.0
    for start in range(0, count, PART):
        calls = calls_of(what, min(PART, count - start))
        seconds += seconds_of(lambda part=calls: pool.batch_submit(part, batch_size=BATCH))  # type: ignore[misc]
    return seconds


def row(messages: str, what: str, value: float, target: Target | None = None) -> dict[str, Any]:
    """Return a row of the table."""
    return {
        "ratio to target": value / target.value if target else None,
        "better is": target.better if target else None,
        "messages": messages,
        "what": what,
        "is": float(value),
        "target": target.value if target else None,
    }


def opened(client: Client, folder: Path) -> QueuePool:
    """Return a pool of one durable queue in *folder*, new or as it was left."""
    return QueuePool(client, n_queues=1, durability="durable", dirpath=folder)


def new_queue(client: Client, folder: Path) -> dict[str, Any]:
    """Measure what a queue without messages takes on the disk."""
    pool = opened(client, folder)
    kilobytes = bytes_on_disk(folder) / 1e3
    close(pool)
    return row("none", "a new queue on the disk, KB", kilobytes, NEW_QUEUE_KB)


def backlog(folder: Path, what: str, count: int) -> Iterator[dict[str, Any]]:
    """Put *count* messages, kill the queue's process with -9, open the queue again in a new one."""
    with cluster(workers=1, threads=1) as client:
        (pid,) = worker_pids(client)
        start, own_start = resident_bytes(pid), resident_bytes(os.getpid())
        pool = opened(client, folder)
        seconds = put(pool, what, count)
        expect(pool, count)
        say(f"  {what}: {count:,} put in {seconds:.2f} s")
        yield row(what, "put by one client, messages/s", count / seconds, RATES[what])
        yield row(what, "queue's process above its start, MB", (resident_bytes(pid) - start) / 1e6, MEMORY_MB)
        yield row(what, "its peak above its start, MB", (peak_bytes(pid) - start) / 1e6, MEMORY_MB)
        yield row(what, "the client above its start, MB", (resident_bytes(os.getpid()) - own_start) / 1e6)
        yield row(what, "on the disk, MB", bytes_on_disk(folder) / 1e6)
        os.kill(pid, signal.SIGKILL)
        let_go(pool)
        yield from reopening(client, new_worker_pid(client, pid), folder, what, count)


def reopening(client: Client, pid: int, folder: Path, what: str, count: int) -> Iterator[dict[str, Any]]:
    """Open a backlog that a killed process left."""
    start = resident_bytes(pid)
    pools: list[QueuePool] = []
    seconds = seconds_of(lambda: pools.append(opened(client, folder)))
    expect(pools[0], count)
    say(f"  {what}: re-opened in {seconds:.2f} s")
    yield row(what, "re-opened after kill -9, s", seconds, OPEN_SECONDS)
    yield row(
        what, "re-opened process's peak above its start, MB", (peak_bytes(pid) - start) / 1e6, MEMORY_MB
    )
    close(pools[0])


def expect(pool: QueuePool, count: int) -> None:
    """Raise unless so many messages wait in the pool."""
    found = sum(pool.get_queue_size().values())
    if found != count:
        raise AssertionError(f"{count} messages were put, {found} wait")


def measure(count: int, folder: Path) -> Section:
    """Run everything; return the table."""
    table = Section(
        f"{count:,} pending messages in one durable queue",
        "**Ratio to target**: what was measured over what issue 3 asks for; the next column says what is better.",
    )
    with cluster(workers=1, threads=1) as client:
        table.rows.append(new_queue(client, folder / "new"))
    for number, what in enumerate(RATES):
        table.rows += backlog(folder / str(number), what, count)
    return table


def main() -> None:
    """Run the benchmark as the command line says."""
    made = parser(__doc__ or "")
    made.add_argument("--messages", type=int, default=MESSAGES, help="how many messages wait")
    arguments = made.parse_args()
    count = QUICK_MESSAGES if arguments.quick else arguments.messages
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        publish("backlog", [measure(count, Path(folder))], arguments)


if __name__ == "__main__":
    main()
