"""What each option costs, beside the plain path, in one run: submitting, and running what was submitted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from distributed import Client
from measuring import (
    Pair,
    Section,
    Spread,
    close,
    cluster,
    in_turns,
    let_go,
    parser,
    publish,
    say,
    seconds_of,
)

from daskqueue import ConsumerPool, Middleware, QueuePool, current, testing

BATCH = 1000
GROUPS = 100


def task(number: int) -> int:
    """Do the notebook's work with an argument."""
    return sum(i * i for i in range(10**2)) + number


def computing(number: int) -> int:
    """Hold the interpreter for about 5 ms."""
    return sum(i * i for i in range(10**5)) + number


def asking(number: int) -> int:
    """Do the same work as :func:`task`, and ask which attempt this is."""
    return task(number) + current().attempt


def telling(number: int) -> int:
    """Do the same work as :func:`task`, and say how far it is."""
    current().progress(1, 2)
    return task(number)


async def awaited(number: int) -> int:
    """Do the same work as :func:`task` in a coroutine."""
    return task(number)


class Sizes(NamedTuple):
    """How many tasks a turn has, and how many turns there are."""

    tasks: int = 50_000
    one_by_one: int = 2_000
    heavy: int = 200
    singles: int = 100_000
    turns: int = 5


QUICK = Sizes(1_000, 60, 8, 500, 1)


class Nothing(Middleware):
    """Middleware whose hooks do nothing."""

    def before_run(self, message: Any) -> None:
        """Do nothing."""

    def after_run(self, message: Any, result: Any) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Feature:
    """An option, as something that is done with a pool.

    Attributes:
        name: what the table calls it.
        tasks: how many tasks a turn has; its rivals have as many.
        options: for ``pool.options``.
        function: what is run; the plain path runs *base*.
        pool: other settings of the queues than the plain path has.
        consumers: other arguments of the consumers.
    """

    name: str
    tasks: int
    options: dict[str, Any] = field(default_factory=dict)
    function: Callable[[int], int] = task
    base: Callable[[int], int] = task
    pool: dict[str, Any] = field(default_factory=dict)
    consumers: dict[str, Any] = field(default_factory=dict)
    base_consumers: dict[str, Any] = field(default_factory=dict)


def features(sizes: Sizes) -> list[Feature]:
    """Return what is measured, row by row."""
    many, few = sizes.tasks, sizes.one_by_one
    return [
        Feature("nothing (noise)", many),
        Feature("retries=3", many, {"retries": 3}),
        Feature("retries=3, retry_on=OSError", many, {"retries": 3, "retry_on": OSError}),
        Feature("priority=5", many, {"priority": 5}),
        Feature('delay="1ms"', many, {"delay": "1ms"}),
        Feature('expires="1h"', many, {"expires": "1h"}),
        Feature('timeout="1m"', many, {"timeout": "1m"}),
        Feature("key, all different", few, {"key": str}),
        Feature("group, one for all", few, {"group": "all"}),
        Feature(f"group, {GROUPS} of them", few, {"group": group_of}),
        Feature('results="memory"', many, pool={"results": "memory"}),
        Feature('results="none"', many, pool={"results": "none"}),
        Feature("max_messages, max_bytes", many, pool={"max_messages": 10**7, "max_bytes": 10**10}),
        Feature("middleware", many, consumers={"middleware": (Nothing(),)}),
        Feature("current() in each task", many, function=asking),
        Feature("current().progress() in each task", few, function=telling),
        Feature("async def", many, function=awaited),
        Feature("max_concurrency=4", many, consumers={"max_concurrency": 4}),
        Feature('executor="processes", short tasks', many, consumers={"executor": "processes"}),
        Feature(
            'executor="processes" beside max_concurrency=2, tasks of 5 ms',
            sizes.heavy,
            function=computing,
            base=computing,
            consumers={"executor": "processes", "max_concurrency": 2},
            base_consumers={"max_concurrency": 2},
        ),
    ]


def group_of(number: int) -> str:
    """Return one of a hundred groups."""
    return str(number % GROUPS)


class Contest:
    """The plain path and its options, in turns on one cluster; what needs the same queues and consumers shares them.

    Args:
        client: of the cluster.
        folder: where the queues are kept.
        closing: closes them.
    """

    def __init__(self, client: Client, folder: Path, closing: ExitStack) -> None:
        self._client = client
        self._folder = folder
        self._closing = closing
        self._pools: dict[str, QueuePool] = {}

    def measure(self, feature: Feature, turns: int) -> dict[str, Any]:
        """Return the row of a feature."""
        plain = self._pool("plain", {}, feature.base_consumers)
        other = self._pool("other", feature.pool, feature.consumers)
        if feature.options:
            other = other.options(**feature.options)
        sides = Side(plain, feature.base, feature.tasks), Side(other, feature.function, feature.tasks)
        for side in sides:
            side.turn()
        measured = [Pair(*seconds, feature.tasks, feature.tasks) for seconds in paired(sides, turns)]
        return {
            "submit, ratio": measured[0].ratio,
            "run, ratio": measured[1].ratio,
            "option": feature.name,
            "tasks": feature.tasks,
            "submitted/s": measured[0].rate,
            "run/s": measured[1].rate,
            "plain submitted/s": measured[0].base_rate,
            "plain run/s": measured[1].base_rate,
        }

    def _pool(self, role: str, settings: dict[str, Any], consumers: dict[str, Any]) -> QueuePool:
        key = repr((role, settings, consumers))
        if key not in self._pools:
            self._pools[key] = self._closing.enter_context(self._side(settings, consumers))
        return self._pools[key]

    @contextmanager
    def _side(self, settings: dict[str, Any], consumers: dict[str, Any]) -> Iterator[QueuePool]:
        """Yield a durable pool of two queues, with two consumers that have started."""
        where = tempfile.mkdtemp(dir=self._folder)
        pool = QueuePool(self._client, 2, "durable", where, **settings)
        crew = ConsumerPool(self._client, pool, n_consumers=2, batch_size=BATCH, **consumers)
        crew.start()
        yield pool
        crew.reset()
        let_go(pool)


class Side:
    """One rival: a pool, and what is run in it."""

    def __init__(self, pool: QueuePool, function: Callable[[int], int], tasks: int) -> None:
        self._pool = pool
        self._function = function
        self._tasks = tasks

    def turn(self) -> tuple[float, float]:
        """Return the seconds of submitting while the pool rests, and from its going on until all have a result."""
        jobs: list[Any] = []
        self._pool.pause()
        submitting = seconds_of(lambda: jobs.append(self._pool.map(self._function, range(self._tasks))))

        def run() -> None:
            self._pool.resume()
            if self._keeps_results:
                self._pool.gather(jobs[0])
            else:
                self._pool.drain()

        return submitting, seconds_of(run)

    @property
    def _keeps_results(self) -> bool:
        return self._pool.connection.queues.spec.settings.results != "none"


def paired(sides: tuple[Side, Side], turns: int) -> tuple[tuple[list[float], list[float]], ...]:
    """Measure two sides in turns; return the seconds of submitting of each, and those of running."""
    runs: list[tuple[float, float]] = []

    def submitting(side: Side) -> float:
        runs.append(side.turn())
        return runs[-1][0]

    submits = in_turns(lambda: submitting(sides[0]), lambda: submitting(sides[1]), turns)
    # The order of in_turns: A B, B A, A B ...
    places = [(0, 1) if turn % 2 == 0 else (1, 0) for turn in range(turns)]
    order = [which for pair in places for which in pair]
    ran: tuple[list[float], list[float]] = ([], [])
    for which, (_, seconds) in zip(order, runs, strict=True):
        ran[which].append(seconds)
    return submits, ran


def singles(client: Client, folder: Path, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Measure single submits, each way of them beside a plain loop of ``submit``."""
    pool = QueuePool(client, 2, "durable", tempfile.mkdtemp(dir=folder))

    def loop(through: QueuePool, number: int) -> None:
        jobs = [through.submit(task, n) for n in range(number)]
        through.flush()
        assert len(jobs) == number

    def block() -> None:
        with pool.batching():
            loop(pool, sizes.singles)

    lingering = pool.options(linger="5ms")
    ways: list[tuple[str, Callable[[], object]]] = [
        ('linger="5ms"', lambda: loop(lingering, sizes.singles)),
        ("with pool.batching()", block),
        ("batch_submit", lambda: pool.batch_submit([(task, n) for n in range(sizes.singles)])),
    ]
    for name, way in ways:
        say(f"  {name}")
        pair = in_turns(
            lambda: seconds_of(lambda: loop(pool, sizes.one_by_one)),
            lambda w=way: seconds_of(w),
            sizes.turns,  # type: ignore[misc]
        )
        pool.purge()
        measured = Pair(*pair, sizes.one_by_one, sizes.singles)
        yield {
            "ratio": measured.ratio,
            "way": name,
            "messages/s": measured.rate,
            "submit in a loop, messages/s": measured.base_rate,
        }
    close(pool)


def kit(sizes: Sizes) -> list[dict[str, Any]]:
    """Measure what a test of a user costs with the test kit: a pool, a task, its result."""
    say("  the test kit")

    def one_test() -> None:
        with testing.pool() as pool:
            job = pool.submit(task, 1)
            pool.run_all()
            job.result()

    one_test()
    times = [1000 * seconds_of(one_test) for _ in range(10 * sizes.turns)]
    return [{"ratio": None, "what": "pool, submit, run_all, result, close", "ms": Spread.of(times)}]


def measure(sizes: Sizes, folder: Path) -> list[Section]:
    """Run everything; return the tables."""
    options = Section(
        "Each option beside the plain path",
        "`map` into two durable queues while they rest, then until `gather` has returned, two consumers on two "
        "workers. **Ratio**: tasks a second, the plain path being 1, in turns with it; median (least to greatest).",
    )
    one_by_one = Section(
        "Single submits, one client, nobody consuming",
        "Until all are on the disk. Ratio: `submit` in a loop, each waiting for its own sync, is 1.",
    )
    tests = Section("A test with daskqueue.testing", "No ratio: there is nothing that it would be beside.")
    with cluster(2, 1) as client, ExitStack() as closing:
        contest = Contest(client, folder, closing)
        for feature in features(sizes):
            say(f"  {feature.name}")
            options.rows.append(contest.measure(feature, sizes.turns))
        closing.close()
        one_by_one.rows += singles(client, folder, sizes)
    tests.rows += kit(sizes)
    return [options, one_by_one, tests]


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = parser(__doc__ or "").parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        publish("features", measure(sizes, Path(folder)), arguments)


if __name__ == "__main__":
    main()
