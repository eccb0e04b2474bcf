"""A queue on a worker: the engine, and who waits for what it does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed import get_worker

from daskqueue.actors import pool_folder
from daskqueue.actors.directory import ActorRef, Directory
from daskqueue.actors.door import Door, worker_loop
from daskqueue.actors.interpreter import SwitchInterval
from daskqueue.actors.parking import Bell, ParkingLot
from daskqueue.clock import Clock, new_name
from daskqueue.core.runs import merge, subtract
from daskqueue.core.tally import Receipt, State
from daskqueue.engine.engine import Engine
from daskqueue.engine.files import Files
from daskqueue.engine.settings import QueueSettings
from daskqueue.errors import FolderError, QueueFullError, QueueLostError
from daskqueue.message import Durability, Run
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.memory import MemoryFileSystem

if TYPE_CHECKING:
    from pathlib import Path

    from distributed import Worker

    from daskqueue.storage.fs import FileSystem

# How often a queue asks the scheduler whether those who hold its messages still exist.
LOST_CHECK_SECONDS = 2.0
# How much of their results is sent to those who wait for jobs, at once.
ANSWER_BYTES = 4 << 20
# A waiting client is told of further jobs at most this often.
ANSWER_PAUSE_SECONDS = 0.005

LOST = "lost"


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """All that a worker needs to open one queue of a pool."""

    pool_id: str
    pool_name: str
    index: int
    key: str
    durability: Durability
    dirpath: str | None
    incarnation: int
    settings: QueueSettings = field(default_factory=QueueSettings)
    create: bool = True

    @property
    def folder(self) -> Path:
        return pool_folder.queue_folder(self.dirpath or "/", self.pool_name, self.index)


class Settlement(NamedTuple):
    """What a consumer says of one lease; every part may be empty.

    ``returned`` and ``raised`` are runs as pairs of numbers; the blobs hold their results and failures in
    order. ``released`` were not started. With ``late`` they were acked before they ran.
    """

    lease: int
    epoch: int
    returned: Sequence[Sequence[int]] = ()
    results: bytes | None = None
    raised: Sequence[Sequence[int]] = ()
    failures: bytes = b""
    reason: str = ""
    final: bool = False
    released: Sequence[Sequence[int]] = ()
    late: bool = False


def open_actor(spec: QueueSpec) -> Door:
    """Make a queue's actor; runs on the worker."""
    loop = worker_loop()
    return Door(QueueService(spec, get_worker(), loop), loop)


class QueueService:
    """The verbs of one queue, as its actor offers them. Arguments and answers are plain data."""

    def __init__(self, spec: QueueSpec, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        kind = "DurableQueue" if spec.durability is Durability.DURABLE else "TransientQueue"
        self.name = f"{kind}-{new_name()}"
        self._spec = spec
        self._worker = worker
        self._loop = loop
        self._clock = Clock()
        self._thread = ThreadPoolExecutor(1, f"daskqueue-{spec.pool_name}-{spec.index}")
        self._opening: asyncio.Task[Engine] | None = None
        self._engine: Engine | None = None
        self._parked = ParkingLot(self._work_left)
        self._settled = Bell()
        self._changed = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._waits: dict[str, Bell] = {}
        self._early: dict[str, list[Run]] = {}
        self._closed = False

    # Life

    async def open(self, seconds: float) -> dict[str, Any] | None:
        """Open the queue; return what there is to know of it, or None if it takes longer than *seconds*.

        Raises:
            FolderError: the worker does not reach the folder, or it is not this pool's.
            FolderInUseError: another process serves it.
        """
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = self._loop.create_task(self._open())
        await asyncio.wait([self._opening], timeout=seconds)
        if not self._opening.done():
            return None
        self._opening.result()
        return {"name": self.name, "index": self._spec.index, "incarnation": self._spec.incarnation}

    async def ping(self) -> None:
        """Answer."""

    async def close(self) -> None:
        """Send away who waits, flush, and give up the folder."""
        if self._closed:
            return
        self._closed = True
        self._parked.close()
        self._settled.ring()
        if self._watch is not None:
            self._watch.cancel()
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._engine is not None:
            await self._engine.close()
            SwitchInterval.restore()
        self._thread.shutdown(wait=False)

    # Producers

    async def put(
        self, producer: bytes, puts: Sequence[tuple[int, bytes]], retries: int, delay: float, patience: float
    ) -> list[int]:
        """Append record batches; see ``Engine.put``. A full queue is waited for up to *patience* seconds."""
        engine = self._open_engine()
        give_up_at = self._clock.now() + patience
        while True:
            try:
                firsts = await engine.put(producer, puts, retries, delay)
            except QueueFullError:
                if not await self._settled.wait(give_up_at - self._clock.now()):
                    raise
            else:
                if delay:
                    self._changed.set()
                return firsts

    async def cancel(self, runs: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        """Drop messages that wait; return the runs that were dropped."""
        return _plain(await self._open_engine().cancel(_runs(runs)))

    async def purge(self) -> list[tuple[int, int]]:
        """Drop all messages that wait; return their runs."""
        return _plain(await self._open_engine().purge())

    # Consumers

    async def exchange(
        self,
        consumer: str,
        pool: str,
        settlements: Sequence[Sequence[Any]],
        request: int,
        want: int,
        max_bytes: int,
        early: bool,
    ) -> tuple[int, int, list[tuple[int, int, bytes]]] | None:
        """Settle what is done and lease up to *want* messages, in one call.

        Returns:
            Lease number, epoch and slices ``(first sequence, count, record batch)``, or None when there is
            nothing to lease.
        """
        engine = self._open_engine()
        await engine.writable()
        for fields in settlements:
            self._settle(engine, consumer, pool, Settlement(*fields))
        if want < 1:
            return None
        leased = await engine.lease(consumer, pool, request, want, max_bytes)
        if leased is None:
            return None
        self._changed.set()
        if early:
            self._ack_early(engine, consumer, Receipt(leased.lease, leased.epoch), leased.slices)
        return leased.lease, leased.epoch, [(part.first, part.size, part.data) for part in leased.slices]

    async def park(self, home: bool, seconds: float) -> bool:
        """Return True as soon as there is work, False after *seconds* without any."""
        self._open_engine()
        return await self._parked.wait_for_work(home=home, seconds=seconds)

    async def extend(self, consumer: str, leases: Sequence[int]) -> list[int]:
        """Prolong leases; return those still held."""
        return list(self._open_engine().extend(consumer, leases))

    async def lose(self, consumer: str) -> None:
        """Take back what a consumer holds that says good-bye."""
        self._early.pop(consumer, None)
        await self._open_engine().lose([consumer])

    # Those who wait

    async def wait_settled(
        self, waiter: str, runs: Sequence[Sequence[int]], seconds: float
    ) -> list[tuple[str, list[tuple[int, int]], bytes, str]]:
        """Return how those of the messages ended that have: ``(state, runs, blob, reason)`` for each part.

        Waits for the first of them. A new call of the same *waiter* ends the one before it.
        """
        engine = self._open_engine()
        wanted = _runs(runs)
        give_up_at = self._clock.now() + seconds
        bell = self._waits.get(waiter)
        if bell is not None:
            bell.ring()
        self._waits[waiter] = bell = Bell()
        superseded = self._loop.create_task(bell.wait(seconds))
        try:
            while not (ended := self._ended(engine, wanted)) and not superseded.done() and not self._closed:
                rung = self._loop.create_task(self._settled.wait(give_up_at - self._clock.now()))
                await asyncio.wait([rung, superseded], return_when=asyncio.FIRST_COMPLETED)
                if rung.done() and not rung.result():
                    break
                await self._pause(wanted)
            return await self._describe(engine, ended)
        finally:
            superseded.cancel()
            if self._waits.get(waiter) is bell:
                del self._waits[waiter]

    async def wait_idle(self, seconds: float) -> tuple[int, ...]:
        """Return the counts once nothing waits or runs, or after *seconds*."""
        engine = self._open_engine()
        give_up_at = self._clock.now() + seconds
        while engine.counts().pending and not self._closed:
            if not await self._settled.wait(give_up_at - self._clock.now()):
                break
        return tuple(engine.counts())

    async def results(
        self, pool: str, after: tuple[int, int] | None, max_bytes: int
    ) -> tuple[list[tuple[str, list[tuple[int, int]], bytes]], tuple[int, int] | None]:
        """Return a page of what the tasks of a consumer pool returned, and where the next one begins."""
        page = await self._open_engine().page(pool, (after[0], after[1]) if after else None, max_bytes)
        found = [(part.consumer, _plain(part.runs), bytes(part.blob)) for part in page.outcomes]
        return found, page.after

    async def status(self, pool: str = "") -> dict[str, Any]:
        """Return the counts by state, and how many messages a consumer pool has settled."""
        engine = self._open_engine()
        return {"name": self.name, **engine.counts()._asdict(), "finished": engine.finished(pool)}

    async def states(self, runs: Sequence[Sequence[int]]) -> list[tuple[int, int, str]]:
        """Return the state of each message: ``(first, last, state)``."""
        engine = self._open_engine()
        return [
            (part.first, part.last, str(state)) for run in _runs(runs) for part, state in engine.states(run)
        ]

    # Inside

    def _open_engine(self) -> Engine:
        if self._engine is None or self._closed:
            raise QueueLostError(f"{self._spec.key} is not open")
        return self._engine

    async def _open(self) -> Engine:
        spec = self._spec
        fs: FileSystem = MemoryFileSystem() if spec.dirpath is None else LocalFileSystem()
        owner = {
            "host": self._worker.address,
            "pid": os.getpid(),
            "cluster": self._worker.scheduler.address,
            "key": spec.key,
            "epoch": None,
            "since": self._clock.now(),
        }
        files = await self._loop.run_in_executor(self._thread, self._open_files, fs, owner)
        self._engine = Engine(
            files,
            spec.settings,
            self._clock,
            self._thread,
            on_ready=self._parked.wake,
            on_settled=self._settled.ring,
        )
        SwitchInterval.shorten()
        self._watch = self._loop.create_task(self._watch_leases(self._engine))
        ref = ActorRef(spec.key, self._worker.address, spec.incarnation)
        await Directory(self._worker).note(spec.pool_id, spec.index, ref)
        return self._engine

    def _open_files(self, fs: FileSystem, owner: dict[str, str | int | float | None]) -> Files:
        spec = self._spec
        if spec.dirpath is not None:
            record = pool_folder.read(spec.dirpath, fs)
            if record is None or record.pool_id != spec.pool_id:
                raise FolderError(
                    f"worker {self._worker.address} does not reach {spec.dirpath}: a durable pool needs a folder "
                    "that all its workers share"
                )
        return Files.open(fs, spec.folder, owner, spec.settings, self._clock, create=spec.create)

    def _work_left(self) -> bool:
        return self._engine is not None and self._engine.leasable() > 0

    def _settle(self, engine: Engine, consumer: str, pool: str, said: Settlement) -> None:
        receipt = Receipt(said.lease, said.epoch)
        if said.late:
            if said.returned and said.results is not None:
                engine.complete(pool, consumer, "returned", _runs(said.returned), said.results)
            if said.raised:
                engine.complete(pool, consumer, "failed", _runs(said.raised), said.failures)
            done = merge([*_runs(said.returned), *_runs(said.raised), *_runs(said.released)])
            self._early[consumer] = list(subtract(merge(self._early.get(consumer, [])), done))
            return
        if said.returned:
            engine.ack(receipt, _runs(said.returned), said.results)
        if said.raised:
            engine.nack(receipt, _runs(said.raised), said.failures, said.reason, final=said.final)
            self._changed.set()
        if said.released:
            engine.release(receipt, _runs(said.released))

    def _ack_early(self, engine: Engine, consumer: str, receipt: Receipt, slices: Sequence[Any]) -> None:
        runs = [Run(part.first, part.first + part.size) for part in slices]
        self._early.setdefault(consumer, []).extend(runs)
        engine.ack(receipt, runs, None)

    def _ended(self, engine: Engine, wanted: Sequence[Run]) -> list[tuple[Run, State]]:
        running = merge(run for runs in self._early.values() for run in runs)
        ended: list[tuple[Run, State]] = []
        for run in wanted:
            for part, state in engine.states(run):
                if state is State.DEAD:
                    ended.append((part, state))
                elif state is State.SETTLED:
                    ended.extend((rest, state) for rest in subtract((part,), running))
        return ended

    async def _describe(
        self, engine: Engine, ended: list[tuple[Run, State]]
    ) -> list[tuple[str, list[tuple[int, int]], bytes, str]]:
        answer: list[tuple[str, list[tuple[int, int]], bytes, str]] = []
        size = 0
        for run, _ in ended:
            outcomes = await engine.outcomes(run)
            answer.extend((o.state, _plain(o.runs), bytes(o.blob), o.reason) for o in outcomes)
            unknown = subtract((run,), merge(part for o in outcomes for part in o.runs))
            if unknown:
                answer.append((LOST, _plain(unknown), b"", "its result is no longer kept"))
            size += sum(len(o.blob) for o in outcomes)
            if size > ANSWER_BYTES:
                break
        return answer

    async def _pause(self, wanted: Sequence[Run]) -> None:
        """Let some more jobs end before many are answered for; one job is answered for at once."""
        if len(wanted) > 1 or wanted[0].count > 1:
            await asyncio.sleep(ANSWER_PAUSE_SECONDS)

    async def _watch_leases(self, engine: Engine) -> None:
        """Wake when a delayed message is due or a lease ends, and notice consumers whose worker is gone."""
        directory = Directory(self._worker)
        checked_at = self._clock.now()
        while True:
            seconds = engine.seconds_to_next_event()
            if seconds is not None:
                seconds = min(seconds, LOST_CHECK_SECONDS)
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                await engine.expire()
            self._changed.clear()
            if self._clock.now() - checked_at >= LOST_CHECK_SECONDS and (holders := engine.consumers()):
                checked_at = self._clock.now()
                await self._take_back_lost(engine, directory, holders)

    async def _take_back_lost(self, engine: Engine, directory: Directory, holders: set[str]) -> None:
        addresses = {holder: address_of(holder) for holder in holders}
        try:
            alive = await directory.alive(sorted(set(addresses.values())))
        except OSError:
            return
        lost = [holder for holder, address in addresses.items() if address not in alive]
        if lost:
            await engine.lose(lost)


def consumer_id(name: str, address: str) -> str:
    """Return what a consumer calls itself: its name, a number of its own, and its worker's address."""
    return f"{name}#{new_name()}@{address}"


def name_of(consumer: str) -> str:
    """Return the name in what :func:`consumer_id` made."""
    return consumer.rpartition("@")[0].rpartition("#")[0]


def address_of(consumer: str) -> str:
    """Return the worker's address in what :func:`consumer_id` made."""
    return consumer.rpartition("@")[2]


def _runs(pairs: Sequence[Sequence[int]]) -> tuple[Run, ...]:
    return tuple(Run(pair[0], pair[1]) for pair in pairs)


def _plain(runs: Sequence[Run]) -> list[tuple[int, int]]:
    return [(run.first, run.last) for run in runs]
