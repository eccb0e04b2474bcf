"""Measuring side by side: pairs of runs, medians and ratios, memory and CPU of processes, tables and JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import distributed
from distributed import Client, LocalCluster

from daskqueue import QueuePool


class Spread(NamedTuple):
    """What repeated measurements of one thing gave."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the median, the least and the greatest of *values*."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Pair:
    """The seconds that two rivals took in turns, and how many tasks each did in one turn."""

    base: list[float]
    other: list[float]
    base_tasks: int
    other_tasks: int

    @property
    def ratio(self) -> Spread:
        """How fast the other was, the base being 1, turn by turn."""
        scale = self.other_tasks / self.base_tasks
        return Spread.of([scale * b / o for b, o in zip(self.base, self.other, strict=True)])

    @property
    def rate(self) -> Spread:
        """Tasks a second of the other."""
        return Spread.of([self.other_tasks / seconds for seconds in self.other])

    @property
    def base_rate(self) -> Spread:
        """Tasks a second of the base."""
        return Spread.of([self.base_tasks / seconds for seconds in self.base])


@dataclass
class Section:
    """One table: a title, what to know about it, and rows that all have the same columns."""

    title: str
    note: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the section as text."""
        lines = [f"## {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        if self.rows:
            columns = list(self.rows[0])
            lines += [_line(columns), _line(["---"] * len(columns))]
            lines += [_line([_text(row[column]) for column in columns]) for row in self.rows]
        return "\n".join([*lines, ""])


def parser(description: str) -> argparse.ArgumentParser:
    """Return an argument parser with what all benchmarks understand."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it runs")
    made.add_argument("--json", metavar="PATH", type=Path, help="also write the figures to this file")
    made.add_argument(
        "--folder", type=Path, help="where durable queues are kept; default: a temporary folder"
    )
    return made


def say(text: str) -> None:
    """Tell the person at the terminal how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)


def publish(name: str, sections: Sequence[Section], arguments: argparse.Namespace) -> None:
    """Print the tables, and write the figures where ``--json`` says."""
    machine = about_machine()
    print(f"# {name}\n")
    print(", ".join(f"{key} {value}" for key, value in machine.items()), "\n")
    for section in sections:
        print(section.markdown())
    if arguments.json:
        figures = {
            "benchmark": name,
            "quick": arguments.quick,
            "machine": machine,
            "sections": [
                {"title": s.title, "rows": [{k: _plain(v) for k, v in row.items()} for row in s.rows]}
                for s in sections
            ],
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def about_machine() -> dict[str, Any]:
    """Return what a reader needs to know to compare figures."""
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "distributed": distributed.__version__,
        "system": f"{platform.system()} {platform.release()}",
    }


def seconds_of(action: Callable[[], object]) -> float:
    """Return how long *action* took."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def in_turns(
    base: Callable[[], float], other: Callable[[], float], turns: int
) -> tuple[list[float], list[float]]:
    """Measure two rivals in turns, A B, B A, A B ..., so that a busy neighbour meets both.

    Args:
        base, other: do one run each and return its seconds.
        turns: how often.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns):
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        for which in order:
            taken[which].append((base, other)[which]())
    return taken


@contextlib.contextmanager
def cluster(workers: int, threads: int) -> Iterator[Client]:
    """Yield the client of a LocalCluster as people make it, calls going straight to the workers."""
    logging.getLogger("daskqueue").setLevel(logging.WARNING)
    with (
        LocalCluster(n_workers=workers, threads_per_worker=threads, dashboard_address=":0") as made,
        Client(made, direct_to_workers=True) as client,
    ):
        yield client


def close(pool: QueuePool) -> None:
    """Let go of a pool's queues, and wait until no actor is left on the cluster."""
    let_go(pool)
    while any(pool.client.run(lambda dask_worker: len(dask_worker.state.actors)).values()):
        time.sleep(0.02)


def let_go(pool: QueuePool) -> None:
    """Let go of a pool's queues, and look after them no longer."""

    async def close_handle() -> None:
        pool.queues.close()

    pool.client.sync(close_handle)


def worker_pids(client: Client) -> list[int]:
    """Return the process ids of the workers."""
    return sorted(client.run(os.getpid).values())


def new_worker_pid(client: Client, old: int) -> int:
    """Return the process id of the only worker once it is another than *old*."""
    while True:
        with contextlib.suppress(OSError):  # the scheduler has not noticed yet
            pids = worker_pids(client)
            if len(pids) == 1 and pids[0] != old:
                return pids[0]
        time.sleep(0.02)


def family() -> list[int]:
    """Return the ids of this process and all its children: a LocalCluster with its client."""
    found = [os.getpid()]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time that processes have used since they began.

    Read from each process's CPU clock: what /proc shows of it is rounded to 10 ms, too coarse for idle ones.
    """
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids) / 1e9


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has in use now."""
    return _memory(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """Return the most memory a process has had in use."""
    return _memory(pid, "VmHWM")


def _memory(pid: int, what: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == what:
            return int(value.split()[0]) << 10
    raise OSError(f"process {pid} does not say its {what}")


def bytes_on_disk(folder: Path) -> int:
    """Return how many bytes the files under *folder* take on the disk, whole blocks counted."""
    return sum(512 * path.stat().st_blocks for path in folder.rglob("*") if path.is_file())


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value below which *part* of the values lie."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def _plain(cell: Any) -> Any:
    return cell._asdict() if isinstance(cell, Spread) else cell


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(cell: Any) -> str:
    if isinstance(cell, Spread):
        return f"{_number(cell.median)} ({_number(cell.low)} to {_number(cell.high)})"
    if isinstance(cell, float):
        return _number(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    return "-" if cell is None else str(cell)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.2f}"
