"""``daskqueue demo``: durable tasks, every worker killed with -9 half-way, and none of them missing."""

from __future__ import annotations

import functools
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import dask
import typer
from distributed import Client, LocalCluster
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from daskqueue.cli.proof import Proof, RunCounts, process_item, prove
from daskqueue.clock import Stopwatch
from daskqueue.consumer_pool import ConsumerPool
from daskqueue.errors import DaskQueueError, WaitTimeoutError
from daskqueue.notices import logger
from daskqueue.pool import QueuePool
from daskqueue.status import pending_of

if TYPE_CHECKING:
    from daskqueue.jobs.handles import Jobs

# An empty LocalCluster takes 15 % of a core; with these it takes 2 %, and nothing else changes.
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "1s",
}
LOOK_SECONDS = 0.005
JOIN_SECONDS = 0.2
GIVE_UP_SECONDS = 120.0

Advance = Callable[[int], None]


def demo(
    tasks: Annotated[int, typer.Option(min=1000, help="How many tasks to submit.")] = 100_000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many worker processes.")] = 4,
    queues: Annotated[int, typer.Option(min=1, max=64, help="How many queues.")] = 2,
    dirpath: Annotated[
        Path | None,
        typer.Option("--dir", help="A new or empty folder, kept afterwards. Default: a temporary one."),
    ] = None,
) -> None:
    """Submit durable tasks, kill all workers with -9 half-way, and prove that no task is missing."""
    console = Console(highlight=False, soft_wrap=True)
    watch = Stopwatch()
    try:
        with _folder(dirpath) as folder:
            proof = rehearse(console, folder, tasks, workers, queues)
    except (DaskQueueError, OSError, RuntimeError) as error:  # RuntimeError: Dask could not start a worker
        console.print(f"[bold red]The demo failed:[/] {error}")
        raise typer.Exit(1) from error
    if not proof.holds:
        console.print("[bold red]Tasks are missing or wrong.[/]")
        raise typer.Exit(1)
    console.print(f"[bold green]No task is missing.[/] The whole demo took {watch.seconds:.1f} s.")


def rehearse(console: Console, folder: Path, tasks: int, workers: int, queues: int) -> Proof:
    """Go through the crash of a whole cluster, step by step, and return what it proves."""
    with _few_notices(), _cluster(workers) as client:
        rehearsal = Rehearsal(console, client, folder, tasks, queues)
        jobs = rehearsal.submit()
        rehearsal.consume_half()
        rehearsal.kill_workers()
        rehearsal.consume_rest(left=rehearsal.recover())
        return rehearsal.prove(jobs)


class Rehearsal:
    """The steps of the demo; each says what it did and saw."""

    def __init__(self, console: Console, client: Client, folder: Path, tasks: int, queues: int) -> None:
        self._console = console
        self._tasks = tasks
        self._runs = folder / "runs"
        self._counts = RunCounts.create(self._runs, tasks)
        self._pool = QueuePool(client, queues, durability="durable", dirpath=folder / "queues")
        self._pids = list(client.run(os.getpid).values())
        self._consumers = ConsumerPool(client, self._pool, n_consumers=max(len(self._pids), queues))
        self._say("started", f"{len(self._pids)} worker processes, {queues} queues in {self._pool.dirpath}")

    def submit(self) -> Jobs:
        """Put all tasks into the durable queues."""
        watch = Stopwatch()
        task = functools.partial(process_item, str(self._runs))
        with self._bar("submitting", self._tasks) as show:
            jobs = self._pool.map(task, _shown(range(self._tasks), show))
        self._say("submitted", f"{_rate(self._tasks, watch)}, all of them on the disk")
        return jobs

    def consume_half(self) -> None:
        """Start the consumers and wait until half of the tasks have run."""
        self._consumers.start()
        watch = Stopwatch()
        with self._bar("consuming", self._tasks) as show:
            while (started := self._counts.started()) < self._tasks // 2:
                _give_up_after(watch, "half of the tasks")
                show(started)
                time.sleep(LOOK_SECONDS)
        self._say("consumed", _rate(started, watch))

    def kill_workers(self) -> None:
        """Kill all workers, with the queues and consumers in them, as no program can catch."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        self._say("killed", f"all worker processes with -9: {', '.join(map(str, self._pids))}")

    def recover(self) -> int:
        """Wait until the queues are open again on new workers; return how many tasks they still hold."""
        watch = Stopwatch()
        statuses: list[dict[str, Any]] = [{"lost": "not asked yet"}]
        with self._bar("recovering", None):
            while any("lost" in status for status in statuses):
                _give_up_after(watch, "the queues to come back")
                statuses = self._pool.sync(self._pool.statuses)
        left = sum(map(pending_of, statuses))
        self._say(
            "recovered", f"workers and queues are back after {watch.seconds:.1f} s; {left:,} tasks are left"
        )
        return left

    def consume_rest(self, left: int) -> None:
        """Wait until the consumers, back by themselves, have run what was left."""
        watch = Stopwatch()
        with self._bar("consuming", self._tasks) as show:
            while not self._joined():
                _give_up_after(watch, "the rest of the tasks")
                show(self._counts.started())
        self._say("consumed", _rate(left, watch))

    def _joined(self) -> bool:
        try:
            self._consumers.join(timeout=JOIN_SECONDS)
        except WaitTimeoutError:
            return False
        return True

    def prove(self, jobs: Jobs) -> Proof:
        """Compare what came out with what went in."""
        proof = prove(list(jobs.ids()), self._consumers.results())
        self._say("missing", f"{proof.missing:,} of the {proof.submitted:,} submitted tasks have no result")
        self._say("wrong", f"{proof.wrong:,} results are not what their task returns")
        self._say("unknown", f"{proof.unknown:,} results belong to no task")
        self._say(
            "repeated",
            f"{self._counts.repeated():,} tasks ran twice: not yet acked when their worker was killed",
        )
        return proof

    def _say(self, what: str, text: str) -> None:
        self._console.print(f"[bold]{what:>10}[/]  {text}")

    @contextmanager
    def _bar(self, what: str, total: int | None) -> Iterator[Advance]:
        columns = [TextColumn(f"[bold]{what:>10}[/] "), BarColumn(), TimeElapsedColumn()]
        if total is not None:
            columns.insert(2, MofNCompleteColumn())
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done: progress.update(task, completed=done)


@contextmanager
def _folder(dirpath: Path | None) -> Iterator[Path]:
    """Make the folder to work in; a temporary one is removed at the end."""
    if dirpath is None:
        with tempfile.TemporaryDirectory(prefix="daskqueue-demo-") as temporary:
            yield Path(temporary)
        return
    folder = dirpath.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise typer.BadParameter(f"{folder} is not empty; name a new folder", param_hint="--dir")
    except OSError as error:
        raise typer.BadParameter(f"{folder} cannot be used: {error.strerror}", param_hint="--dir") from error
    yield folder


@contextmanager
def _few_notices() -> Iterator[None]:
    """Keep out of the demo's lines what the library logs about lost workers: losing them is the point."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _cluster(workers: int) -> Iterator[Client]:
    with (
        dask.config.set(QUIET),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
        ) as cluster,
        Client(cluster, direct_to_workers=True) as client,
    ):
        yield client


def _shown(numbers: range, show: Advance) -> Iterator[int]:
    for number in numbers:
        if number % 1000 == 0:
            show(number)
        yield number


def _rate(tasks: int, watch: Stopwatch) -> str:
    seconds = watch.seconds
    return f"{tasks:,} tasks in {seconds:.2f} s, {tasks / seconds:,.0f} a second"


def _give_up_after(watch: Stopwatch, what: str) -> None:
    if watch.seconds > GIVE_UP_SECONDS:
        raise WaitTimeoutError(f"waited {GIVE_UP_SECONDS:.0f} s for {what}")
