"""How fast tasks go through daskqueue, beside ProcessPoolExecutor and plain Dask, in one run."""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from distributed import Client
from hosting import gathered, hosts
from measuring import Pair, Section, close, cluster, in_turns, parser, percentile, publish, say, seconds_of

from daskqueue import ConsumerPool, QueuePool

CHUNK = 1000
DURABLE, TRANSIENT = "durable", "transient"


def process_item() -> int:
    """The notebook's task."""
    return sum(i * i for i in range(10**2))


def process_numbered(number: int) -> int:
    """The notebook's task with an argument: what makes each call another one."""
    return sum(i * i for i in range(10**2)) + number


def process_any(_: int) -> int:
    """The notebook's task for ``map`` calls, which must have an argument."""
    return sum(i * i for i in range(10**2))


def loop(count: int) -> int:
    """Run the notebook's task over and over."""
    return len([process_item() for _ in range(count)])


class Sizes(NamedTuple):
    """How much is done in one turn, and how many turns there are."""

    tasks: int = 100_000
    plain_dask: int = 10_000
    one_by_one: int = 2_000
    enqueued: int = 500_000
    round_trips: int = 500
    turns: int = 7


QUICK = Sizes(2_000, 200, 50, 2_000, 10, 1)


class Shape(NamedTuple):
    """A cluster, and the pools on it."""

    name: str
    workers: int
    threads: int
    queues: int
    consumers: int


SMALL = Shape("2 queues + 2 consumers on 2 workers", 2, 1, 2, 2)
NOTEBOOK = Shape("2 queues + 5 consumers on 4 workers x 3 threads (the notebook's)", 4, 3, 2, 5)


class Rivals:
    """What daskqueue is compared with; its two processes wait while others run.

    Args:
        executor: two processes.
        sizes: how much to do.
    """

    def __init__(self, executor: ProcessPoolExecutor, sizes: Sizes) -> None:
        self._executor = executor
        self._tasks = sizes.tasks

    def executor_map(self) -> float:
        """Return the seconds of all tasks through ``ProcessPoolExecutor.map``."""
        return seconds_of(lambda: list(self._executor.map(process_any, range(self._tasks), chunksize=CHUNK)))

    def executor_map_numbered(self) -> float:
        """Return the same for the task with an argument."""
        return seconds_of(
            lambda: list(self._executor.map(process_numbered, range(self._tasks), chunksize=CHUNK))
        )

    def bare_loop(self) -> float:
        """Return the seconds of a loop in each process, with half of the tasks."""
        return seconds_of(lambda: list(self._executor.map(loop, [self._tasks // 2] * 2)))


class Pools:
    """One queue pool of a shape and what is measured with it."""

    def __init__(self, client: Client, shape: Shape, queue_pool: QueuePool) -> None:
        self._client = client
        self._shape = shape
        self.queue_pool = queue_pool

    def end_to_end(self, calls: list[Any], batch_size: int) -> float:
        """Return the seconds from ``batch_submit`` until ``results()`` has returned."""
        with self.consumers() as consumer_pool:
            began = time.perf_counter()
            self.queue_pool.batch_submit(calls, batch_size=batch_size)
            consumer_pool.join()
            results = consumer_pool.results()
            seconds = time.perf_counter() - began
        if sum(map(len, results.values())) != len(calls):
            raise AssertionError(f"{len(calls)} tasks gave {sum(map(len, results.values()))} results")
        return seconds

    def notebook_order(self, calls: list[Any], batch_size: int) -> float:
        """Return the seconds of the notebook's steps: submit, make and start consumers, join, results."""
        began = time.perf_counter()
        self.queue_pool.batch_submit(calls, batch_size=batch_size)
        with self.consumers() as consumer_pool:
            consumer_pool.join()
            consumer_pool.results()
            return time.perf_counter() - began

    def enqueue(self, calls: list[Any], batch_size: int) -> float:
        """Return the seconds of ``batch_submit`` alone, nobody consuming."""
        seconds = seconds_of(lambda: self.queue_pool.batch_submit(calls, batch_size=batch_size))
        self.queue_pool.reset()
        return seconds

    def ping(self, index: int) -> float:
        """Return the seconds of an empty call of one queue."""
        index %= len(self.queue_pool)
        return seconds_of(lambda: self.queue_pool.sync(self.queue_pool.queues.call, index, "ping"))

    def round_trip(self) -> float:
        """Return the seconds of one task there and back."""
        return seconds_of(lambda: self.queue_pool.submit(process_item).result())

    @contextmanager
    def consumers(self) -> Iterator[ConsumerPool]:
        """Yield a new consumer pool that has started."""
        made = ConsumerPool(
            self._client, self.queue_pool, n_consumers=self._shape.consumers, batch_size=CHUNK
        )
        made.start()
        yield made
        made.reset()


@contextmanager
def pools(client: Client, shape: Shape, durability: str, folder: Path) -> Iterator[Pools]:
    """Yield new pools in a folder of their own."""
    where = tempfile.mkdtemp(dir=folder) if durability == DURABLE else None
    queue_pool = QueuePool(client, n_queues=shape.queues, durability=durability, dirpath=where)
    yield Pools(client, shape, queue_pool)
    close(queue_pool)


def compare(
    what: dict[str, Any], tasks: int, pair: tuple[list[float], list[float]], base: int
) -> dict[str, Any]:
    """Return a row of the main table."""
    say(f"  {', '.join(map(str, what.values()))}")
    measured = Pair(*pair, base, tasks)
    return {
        "ratio": measured.ratio,
        **what,
        "tasks": tasks,
        "tasks/s": measured.rate,
        "executor's tasks/s": measured.base_rate,
    }


def row(shape: str, durability: str, calls: str, batch: int | None) -> dict[str, Any]:
    """Return the columns that say what was measured."""
    return {"what": shape, "durability": durability, "calls": calls, "batch": batch}


def others(client: Client, rivals: Rivals, sizes: Sizes) -> list[dict[str, Any]]:
    """Measure what is not daskqueue."""

    def plain_dask() -> float:
        return seconds_of(lambda: client.gather(client.map(process_any, range(sizes.plain_dask), pure=False)))

    bare = in_turns(rivals.executor_map, rivals.bare_loop, sizes.turns)
    dask = in_turns(rivals.executor_map, plain_dask, sizes.turns)
    return [
        compare(row("bare loop in 2 processes", "-", "f", None), sizes.tasks, bare, sizes.tasks),
        compare(row("plain Dask, map + gather", "-", "f", None), sizes.plain_dask, dask, sizes.tasks),
    ]


def end_to_end(
    made: Pools, shape: Shape, durability: str, rivals: Rivals, sizes: Sizes
) -> Iterator[dict[str, Any]]:
    """Measure daskqueue with one queue pool, one row after the other."""
    equal: list[Any] = [(process_item,)] * sizes.tasks
    numbered: list[Any] = [(process_numbered, i) for i in range(sizes.tasks)]
    runs: list[tuple[str, list[Any], int, Callable[[], float]]] = [
        ("f", equal, 10_000, rivals.executor_map),
        ("f", equal, 1_000, rivals.executor_map),
        ("f", equal, 100, rivals.executor_map),
        ("f", equal[: sizes.one_by_one], 1, rivals.executor_map),
        ("(f, i)", numbered, 10_000, rivals.executor_map_numbered),
        ("(f, i)", numbered, 1_000, rivals.executor_map_numbered),
    ]
    for calls, tasks, batch, base in runs:
        pair = in_turns(base, lambda t=tasks, b=batch: made.end_to_end(t, b), sizes.turns)  # type: ignore[misc]
        yield compare(row(shape.name, durability, calls, batch), len(tasks), pair, sizes.tasks)
    pair = in_turns(rivals.executor_map, lambda: made.notebook_order(equal, 10_000), sizes.turns)
    yield compare(
        row(shape.name, durability, "f, consumers made after submitting", 10_000),
        sizes.tasks,
        pair,
        sizes.tasks,
    )


def enqueue(made: Pools, sizes: Sizes) -> list[dict[str, Any]]:
    """Measure how fast one client puts messages, beside pickle."""
    number = sizes.enqueued
    rows = []
    for what, calls in (
        ("equal calls", [(process_item,)] * number),
        ("(f, i)", [(process_numbered, i) for i in range(number)]),
    ):
        say(f"  enqueue {what}")
        pair = Pair(
            *in_turns(lambda c=calls: pickled(c), lambda c=calls: made.enqueue(c, 10_000), sizes.turns),  # type: ignore[misc]
            number,
            number,
        )
        rows.append(
            {"ratio": pair.ratio, "calls": what, "messages/s": pair.rate, "pickle's calls/s": pair.base_rate}
        )
    return rows


def pickled(calls: list[Any]) -> float:
    """Return the seconds of pickling the arguments of calls, 1,000 by 1,000."""
    return seconds_of(
        lambda: [
            pickle.dumps([c[1:] for c in calls[at : at + CHUNK]], 5) for at in range(0, len(calls), CHUNK)
        ]
    )


def round_trips(made: Pools, shape: Shape, durability: str, sizes: Sizes) -> dict[str, Any]:
    """Measure one task there and back while nothing else happens, in pings made beside it."""
    say(f"  round trips, {durability}")
    pings, trips = [], []
    with made.consumers():
        for _ in range(10):
            made.ping(0)
            made.round_trip()
        for turn in range(sizes.round_trips):
            pings.append(1000 * made.ping(turn))
            trips.append(1000 * made.round_trip())
    middle, slow = percentile(trips, 0.5), percentile(trips, 0.99)
    ping = percentile(pings, 0.5)
    return {
        "p50 in pings": middle / ping,
        "p99 in pings": slow / ping,
        "what": shape.name,
        "durability": durability,
        "p50 ms": middle,
        "p99 ms": slow,
        "ping p50 ms": ping,
        "ping p99 ms": percentile(pings, 0.99),
    }


def measure_hosts(sizes: Sizes, folder: Path) -> list[Section]:
    """Run the same work through hosts and through a LocalCluster; return the table."""
    table = Section(
        "Hosts beside a LocalCluster",
        "From `batch_submit` until `gather` has returned, durable. **Ratio**: tasks a second of two shards and "
        "two consumers as processes of their own, the LocalCluster being 1, in turns; median (least to greatest).",
    )
    equal: list[Any] = [(process_item,)] * sizes.tasks
    numbered: list[Any] = [(process_numbered, i) for i in range(sizes.tasks)]
    with (
        cluster(SMALL.workers, SMALL.threads) as client,
        pools(client, SMALL, DURABLE, folder) as local,
        local.consumers(),
        hosts(folder, SMALL.queues, SMALL.consumers) as hosted,
    ):
        for what, calls in (("f", equal), ("(f, i)", numbered)):
            for batch in (10_000, 1_000, 100):
                base, other = gathered(local.queue_pool, calls, batch), gathered(hosted, calls, batch)
                base(), other()
                pair = in_turns(base, other, sizes.turns)
                measured = Pair(*pair, sizes.tasks, sizes.tasks)
                say(f"  hosts, {what}, {batch}")
                table.rows.append(
                    {
                        "ratio": measured.ratio,
                        "calls": what,
                        "batch": batch,
                        "tasks/s": measured.rate,
                        "LocalCluster's tasks/s": measured.base_rate,
                    }
                )
    return [table]


def measure(sizes: Sizes, folder: Path) -> list[Section]:
    """Run everything; return the tables."""
    main = Section(
        "End to end",
        "From `batch_submit` until `results()` has returned. **Ratio**: tasks a second, those of "
        f"`ProcessPoolExecutor(2).map(chunksize={CHUNK})` being 1, in turns with it; median (least to greatest).",
    )
    put = Section(
        "Durable enqueue, one client, nobody consuming", "Ratio: `pickle.dumps` of the arguments is 1."
    )
    trips = Section(
        "One task there and back, idle pool", "A ping is an empty call of a queue, made in turns."
    )
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as executor:
        rivals = Rivals(executor, sizes)
        rivals.executor_map()
        for shape in (SMALL, NOTEBOOK):
            say(shape.name)
            with cluster(shape.workers, shape.threads) as client:
                if shape is SMALL:
                    main.rows += others(client, rivals, sizes)
                for durability in (DURABLE, TRANSIENT):
                    with pools(client, shape, durability, folder) as made:
                        main.rows += end_to_end(made, shape, durability, rivals, sizes)
                        trips.rows.append(round_trips(made, shape, durability, sizes))
                if shape is SMALL:
                    with pools(client, shape, DURABLE, folder) as made:
                        put.rows += enqueue(made, sizes)
    return [main, put, trips]


def main() -> None:
    """Run the benchmark as the command line says."""
    options = parser(__doc__ or "")
    options.add_argument("--hosts", action="store_true", help="only hosts as processes beside a LocalCluster")
    arguments = options.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        run = measure_hosts if arguments.hosts else measure
        publish("throughput", run(sizes, Path(folder)), arguments)


if __name__ == "__main__":
    main()
