"""A client of the play: submits in all the ways there are, and waits in all the ways there are."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from daskqueue import Job, QueuePool, as_completed, connect

from .lines import Ledger
from .tasks import RETRIES, work

# So many jobs at most are on their way; then the client waits for some of them.
WINDOW = 60
PATIENCE_SECONDS = 60.0


class Client:
    """Submits until it is told to stop, then waits for the rest.

    Args:
        name: of the pool.
        address: of the scheduler.
        ledgers: folder of the ledgers.
        who: names it in its ledger; each life has a name of its own.
        seed: of its random choices.

    Attributes:
        stop: set to end it.
    """

    def __init__(self, name: str, address: str, ledgers: str, who: str, seed: str) -> None:
        self.stop = threading.Event()
        self._pool = name, address
        self._who = who
        # A group goes on from life to life.
        self._line = who.partition("-")[0]
        self._random = random.Random(seed)
        self._ledger = Ledger(ledgers, who)
        self._number = 0

    def run(self) -> None:
        """Play the part."""
        with self._opened() as pool:
            jobs: list[Job] = []
            while not self.stop.is_set():
                jobs += self._submit(pool.options(retries=RETRIES, backoff=0.02, backoff_max=0.05))
                if len(jobs) > WINDOW:
                    waited = self._random.sample(jobs, WINDOW // 2)
                    self._wait(pool, waited)
                    jobs = [job for job in jobs if job not in waited]
            self._wait(pool, jobs)

    def _opened(self) -> AbstractContextManager[QueuePool]:
        return connect(*self._pool, timeout=PATIENCE_SECONDS)

    # Ways to submit

    def _submit(self, pool: QueuePool) -> Sequence[Job]:
        way = self._random.choice((self._one, self._many, self._group, self._later, self._lingering))
        return way(pool)

    def _one(self, pool: QueuePool, group: str = "") -> list[Job]:
        (name,) = names = self._names(1, group)
        return self._answered(names, [pool.submit(work, name)])

    def _many(self, pool: QueuePool, group: str = "") -> list[Job]:
        names = self._names(self._random.choice((5, 30)), group)
        return self._answered(names, pool.map(work, names, batch_size=self._random.choice((1, 7, 100))))

    def _group(self, pool: QueuePool) -> list[Job]:
        group = f"{self._line} group {self._random.randrange(3)}"
        return self._random.choice((self._one, self._many))(pool.options(group=group), group)

    def _later(self, pool: QueuePool) -> list[Job]:
        return self._one(pool.options(delay=0.05, priority=self._random.randrange(3)))

    def _lingering(self, pool: QueuePool) -> list[Job]:
        names = self._names(8)
        lingering = pool.options(linger=0.01)
        jobs = [lingering.submit(work, name) for name in names]
        return self._answered(names, [job.submitted(PATIENCE_SECONDS) for job in jobs])

    def _names(self, count: int, group: str = "") -> list[str]:
        names = [f"{self._who}-{self._number + step}" for step in range(count)]
        self._number += count
        for name in names:
            self._ledger.say("submitting", name, group)
        return names

    def _answered(self, names: Sequence[str], jobs: Sequence[Job]) -> list[Job]:
        for name, job in zip(names, jobs, strict=True):
            self._ledger.say("answered", name, job.id)
        return list(jobs)

    # Ways to wait

    def _wait(self, pool: QueuePool, jobs: Sequence[Job]) -> None:
        self._random.choice((self._wait_for_each, self._gather, self._as_completed))(pool, jobs)

    def _wait_for_each(self, _: QueuePool, jobs: Sequence[Job]) -> None:
        for job in jobs:
            error = job.exception(PATIENCE_SECONDS)
            self._settled(job, job.result() if error is None else error)

    def _gather(self, pool: QueuePool, jobs: Sequence[Job]) -> None:
        values = pool.gather(jobs, timeout=PATIENCE_SECONDS, errors="return")
        for job, value in zip(jobs, values, strict=True):
            self._settled(job, value)

    def _as_completed(self, _: QueuePool, jobs: Sequence[Job]) -> None:
        for job in as_completed(jobs, timeout=PATIENCE_SECONDS):
            self._settled(job, job.exception() or job.result())

    def _settled(self, job: Job, value: Any) -> None:
        self._ledger.say(
            "settled", job.id, "error" if isinstance(value, Exception) else "finished", str(value)
        )
