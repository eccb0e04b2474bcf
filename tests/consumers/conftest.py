"""Child processes without a cluster: what they are given, and what they say of it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from daskqueue.actors.handling import Equipment
from daskqueue.actors.processes.runner import ProcessRunner
from daskqueue.actors.settlement import Settlement
from daskqueue.batch import encode_calls
from daskqueue.consumer import GeneralConsumer
from daskqueue.results import decode_results

# Processes have to be started, on a machine that does other things, too.
PATIENCE_SECONDS = 30


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a test that is a coroutine function on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    wanted = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.function(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


class Bench:
    """A runner with everything it says, as a consumer would hear it."""

    def __init__(self, runner: ProcessRunner, *, late: bool) -> None:
        self.runner = runner
        self.late = late
        self.works: list[Any] = []
        self.settlements: list[Settlement] = []
        self.timings: list[Any] = []
        self.notes: list[Any] = []
        self.changed = asyncio.Event()

    def feed(self, calls: Any, notes: Any = (), first: int = 0) -> Any:
        """Give it a slice of calls."""
        work = self.runner.work(0, (1, 1), 0, first, [(len(calls), encode_calls(calls))], notes, "bench-0")
        self.works.append(work)
        self.runner.feed(work)
        return work

    def collect(self) -> None:
        """Take what there is."""
        for work in self.works:
            for settlements, timings in self.runner.reports(work, late=self.late):
                self.settlements += settlements
                self.timings += timings

    async def until(self, holds: Any) -> None:
        """Wait for the runner to say so much."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                self.collect()
                if holds():
                    return
                self.changed.clear()
                await self.changed.wait()

    async def run(self) -> None:
        """Wait until all has ended."""
        await self.until(lambda: not any(work.unfinished for work in self.works))

    @property
    def results(self) -> dict[int, Any]:
        """What was returned, by sequence."""
        found: dict[int, Any] = {}
        for said in self.settlements:
            if said.results is not None:
                found.update(zip(_sequences(said.returned), decode_results(said.results), strict=True))
        return found

    @property
    def failures(self) -> dict[int, Any]:
        """What was raised, by sequence."""
        found: dict[int, Any] = {}
        for said in self.settlements:
            if said.raised:
                failures = decode_results(said.failures)
                found.update(zip(_sequences(said.raised), (one.exception() for one in failures), strict=True))
        return found

    @property
    def ended(self) -> list[int]:
        """Whatever was said to be over, as often as it was said."""
        pairs = [
            (*said.returned, *said.raised, *said.crashed, *said.stopped, *said.released)
            for said in self.settlements
        ]
        return [number for some in pairs for number in _sequences(some)]

    @property
    def crashed(self) -> list[int]:
        """What ended its process."""
        return sorted(number for said in self.settlements for number in _sequences(said.crashed))

    @property
    def released(self) -> list[int]:
        """What was given back."""
        return sorted(number for said in self.settlements for number in _sequences(said.released))


def _sequences(pairs: Any) -> Iterator[int]:
    for first, last in pairs:
        yield from range(first, last)


@pytest.fixture
def bench():
    """Opens a runner for the time of a ``with``."""

    @contextlib.asynccontextmanager
    async def opened(processes=1, consumer_class=GeneralConsumer, late=False, **equipment):
        made: list[Bench] = []
        runner = ProcessRunner(
            Equipment("bench", consumer_class, **equipment),
            processes,
            lambda: made and made[0].changed.set(),
            lambda *note: made[0].notes.append(note),
            late=late,
        )
        made.append(Bench(runner, late=late))
        await runner.start()
        try:
            yield made[0]
        finally:
            runner.stop()
            await runner.wait_stopped(PATIENCE_SECONDS)
            made[0].collect()

    return opened
