"""Code as users write it, for the type checker alone: `# E:` says which error it finds, `# T:` which type it sees."""

from __future__ import annotations

from typing import Any, reveal_type

from distributed import Client

import daskqueue
from daskqueue import ConsumerPool, Job, QueuePool
from daskqueue.testing import InProcessPool


def made(client: Client) -> QueuePool:
    return QueuePool(client, n_queues=2, durability="durable", dirpath="here", retries=3, backoff="2s")


pool = QueuePool(n_queues=1)


def resize(path: str, width: int, *, sharp: bool = False) -> bytes:
    return path.encode()


# Submitting

job = pool.submit(resize, "a.png", 100, sharp=True)
reveal_type(job)  # T: daskqueue.jobs.job.Job[bytes]
reveal_type(job.result())  # T: bytes
pool.submit(resize, "a.png", "wide")  # E: call-overload|arg-type
pool.submit(resize)  # E: call-overload|call-arg
pool.submit(resize, "a.png", 1, colour="red")  # E: call-arg|arg-type
reveal_type(pool.map(len, [[1], [2]])[0].result())  # T: int
pool.options(colour="red")  # E: call-arg
pool.options(on_conflict="maybe")  # E: arg-type
QueuePool(overflow="burst")  # E: arg-type

bare: Job = job  # a Job without its type is a Job of anything
reveal_type(bare.result())  # T: Any


# Tasks


@pool.task(retries=3)
def thumbnail(path: str, width: int = 100) -> bytes:
    return path.encode()


@pool.task
def plain(number: int) -> str:
    return str(number)


reveal_type(thumbnail("a.png", width=3))  # T: bytes
reveal_type(thumbnail.submit("a.png").result())  # T: bytes
reveal_type(plain.submit(3).result())  # T: str
thumbnail.submit(3)  # E: arg-type
thumbnail.submit("a.png", height=3)  # E: call-arg
thumbnail.options(delay="10s").submit(3)  # E: arg-type
plain("3")  # E: arg-type


# Handles


def handles(jobs: list[Job[int]]) -> None:
    for done in daskqueue.as_completed(jobs):
        reveal_type(done.status)  # T: str
    finished, _ = daskqueue.wait(jobs, return_when="FIRST_COMPLETED")
    reveal_type(len(finished))  # T: int
    pool.gather(jobs, errors="ignore")  # E: arg-type
    reveal_type(pool.gather(jobs))  # T: list[Any]


async def waits(awaited: Job[int]) -> int:
    reveal_type(await awaited)  # T: int
    return await awaited


# Inside a task, consumers, tests


def inside() -> int:
    here = daskqueue.current()
    here.progress(1, total=2)
    if here.cancelled:
        raise daskqueue.Snooze("90s")
    return here.attempt


def consumers(client: Client) -> None:
    ConsumerPool(client, pool, executor="processes", max_concurrency=2)
    ConsumerPool(client, pool, executor="fibres")  # E: arg-type


def test_it(daskqueue_pool: InProcessPool) -> None:
    reveal_type(daskqueue_pool.run_all())  # T: int
    daskqueue_pool.clock.advance("10s")
    found: Any = daskqueue_pool.submit(resize, "a.png", 1).result()
    assert found
