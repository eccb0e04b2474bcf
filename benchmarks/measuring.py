"""Measuring side by side: pairs of runs, medians and ratios, memory and CPU of processes, tables and JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import distributed
import psutil
from distributed import Client, LocalCluster

Cell = "Spread | str | int | float | None"


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
    print(text, file=os.sys.stderr, flush=True)  # type: ignore[attr-defined]


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


def worker_pids(client: Client) -> list[int]:
    """Return the process ids of the workers."""
    return sorted(client.run(os.getpid).values())


def family() -> list[int]:
    """Return the ids of this process and all its children: a LocalCluster with its client."""
    own = psutil.Process()
    return [own.pid, *(child.pid for child in own.children(recursive=True))]


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time that processes have used since they began.

    Read from each process's CPU clock: what /proc shows of it is rounded to 10 ms, too coarse for idle ones.
    """
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids) / 1e9


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has in use now."""
    used: int = psutil.Process(pid).memory_info().rss
    return used


def peak_bytes(pid: int) -> int:
    """Return the most memory a process has had in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise OSError(f"process {pid} does not say its peak memory")


def bytes_on_disk(folder: Path) -> int:
    """Return how many bytes the files under *folder* take on the disk, whole blocks counted."""
    return sum(512 * path.stat().st_blocks for path in folder.rglob("*") if path.is_file())


def mega(count: float) -> float:
    """Return bytes as MB."""
    return count / 1e6


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value below which *part* of the values lie."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def _plain(cell: Any) -> Any:
    return cell._asdict() if isinstance(cell, Spread) else cell


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(cell: Any) -> str:
    match cell:
        case None:
            return "-"
        case Spread(median, low, high):
            return f"{_number(median)} ({_number(low)}-{_number(high)})"
        case float():
            return _number(cell)
        case bool() | str():
            return str(cell)
        case int():
            return f"{cell:,}"
        case Mapping():
            return ", ".join(f"{key} {value}" for key, value in cell.items())
    return str(cell)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.2f}"
