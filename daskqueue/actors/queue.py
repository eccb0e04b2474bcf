"""A queue on a worker: the engine, and who waits for what it does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from daskqueue.actors import pool_folder, told
from daskqueue.actors.answers import Answer, Answers
from daskqueue.actors.caller import DEADLINE_SECONDS
from daskqueue.actors.dead_letters import DeadLetters
from daskqueue.actors.directory import ActorRef, Directory
from daskqueue.actors.door import Door, worker_loop
from daskqueue.actors.early import EarlyAcks
from daskqueue.actors.hearing import hear
from daskqueue.actors.interpreter import SwitchInterval
from daskqueue.actors.lease_watch import LeaseWatch
from daskqueue.actors.overview import Overview
from daskqueue.actors.parking import Bell, ParkingLot, Presence
from daskqueue.actors.queue_spec import QueueSpec, incarnation_of
from daskqueue.actors.settlement import Pairs, to_pairs
from daskqueue.clock import Clock, new_name
from daskqueue.core.tally import Receipt, State
from daskqueue.engine.engine import Counts, Engine
from daskqueue.engine.files import Files
from daskqueue.engine.meter import Meter
from daskqueue.engine.opening import open_files
from daskqueue.engine.reading import QueueReading
from daskqueue.errors import (
    DiskFullError,
    FolderError,
    MessagesLostError,
    QueueFailedError,
    QueueFullError,
    QueueLostError,
    StorageError,
)
from daskqueue.message import Durability, Run
from daskqueue.metrics.collector import EXHIBIT
from daskqueue.metrics.queues import QueueSource
from daskqueue.storage.fs import LocalFileSystem
from daskqueue.storage.memory import MemoryFileSystem

if TYPE_CHECKING:
    from daskqueue.actors.node import Node
    from daskqueue.storage.fs import FileSystem

logger = logging.getLogger(__name__)


# How long a host's consumer may be away from the scheduler before others get what it holds.
HOSTED_PATIENCE_SECONDS = 10.0
# How often a host that has nothing to commit looks whether its folder is still its own.
LOOK_SECONDS = 1.0


def open_actor(spec: QueueSpec) -> Door:
    """Make a queue's actor; runs on the worker."""
    loop, worker = worker_loop(), get_worker()
    return Door(QueueService(spec, worker, loop), loop).guard(worker.state.actors, loop)


class QueueService:
    """The verbs of one queue, as its actor offers them. Arguments and answers are plain data."""

    def __init__(
        self, spec: QueueSpec, node: Node, loop: asyncio.AbstractEventLoop, clock: Clock | None = None
    ) -> None:
        kind = "DurableQueue" if spec.durability is Durability.DURABLE else "TransientQueue"
        self.name = f"{kind}-{new_name()}"
        self._spec = spec
        self._incarnation = incarnation_of(spec)
        self._node = node
        self._loop = loop
        self._clock = clock or Clock()
        self._thread = ThreadPoolExecutor(1, f"daskqueue-{spec.pool_name}-{spec.index}")
        self._opening: asyncio.Task[Engine] | None = None
        self._engine: Engine | None = None
        self._parked = ParkingLot(self._work_left)
        self._settled = Bell()
        self._idle = Bell()
        self._asked = Bell()
        self._early = EarlyAcks(self._tell_settled)
        self._watch: LeaseWatch | None = None
        self._answers: Answers | None = None
        self._closed = False
        self._ousted: asyncio.Future[StorageError] = loop.create_future()
        self._n_queues = spec.index + 1
        self._present = Presence()
        self.dead = DeadLetters(self._open_engine, self._check_incarnation)
        self.look = Overview(self._open_engine, self._about)
        self._meter = Meter()
        self._told = QueueSource(
            f"{spec.pool_name}-{spec.index}",
            spec.durability.value,
            self._meter,
            self.reading,
            lambda: len(self._holders | self._present.names),
        )

    # Life

    async def open(self, seconds: float) -> dict[str, Any] | None:
        """Open the queue; return what there is to know of it, or None if it takes longer than *seconds*.

        Raises:
            FolderError: the worker does not reach the folder, or it is not this pool's.
            FolderInUseError: another process serves it.
        """
        if self._closed:
            raise QueueLostError(f"{self._spec.key} is closing")
        if self._engine is not None and self._engine.failure is not None:
            self._give_up(self._engine.failure)
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = self._loop.create_task(self._open())
        await asyncio.wait([self._opening], timeout=seconds)
        if not self._opening.done():
            return None
        self._opening.result()
        return {"name": self.name, "index": self._spec.index, "incarnation": self._incarnation}

    @property
    def failure(self) -> str:
        """Why the queue cannot be used now, in words; empty when it can."""
        if self._engine is None or self._closed:
            return f"{self._spec.key} is not open"
        return self._engine.failure or ""

    @property
    def epoch(self) -> int:
        """Which opening of its folder this is; 0 while it is not open."""
        return self._engine.epoch if self._engine is not None else 0

    async def ousted(self) -> StorageError:
        """Return why, once the folder has been taken away from this process; an idle queue looks now and then."""
        while not self._ousted.done():
            await asyncio.wait([self._ousted], timeout=LOOK_SECONDS)
            if self._engine is not None and self._engine.failure is None and not self._closed:
                with contextlib.suppress(QueueFailedError):
                    await self._loop.run_in_executor(self._thread, self._engine.verify)
        return self._ousted.result()

    async def ping(self) -> None:
        """Answer, once the queue is open."""
        await self.open(DEADLINE_SECONDS)

    async def wind(self) -> float | None:
        """Do what is due by now; return the seconds until more is, None if nothing will be by itself."""
        engine = self._open_engine()
        await engine.leases.expire()
        self._look_again()
        return engine.seconds_to_next_event()

    async def announce(self, key: str = "") -> None:
        """Write down in the directory where the queue answers; under another *key*, if it is given.

        Raises:
            QueueLostError: the scheduler is not there.
        """
        spec = self._spec = replace(self._spec, key=key or self._spec.key)
        directory = Directory(self._node)
        if spec.hosted:
            settings = spec.settings
            await self._learn((await directory.hosted(spec.pool_id)).size)
            about = {
                "lease_seconds": settings.lease_seconds,
                "max_messages": settings.max_messages,
                "defaults": dict(spec.defaults),
                "n_queues": self._n_queues,
            }
            await directory.note_pool(spec.pool_id, about)
        ref = ActorRef(spec.key, self._node.address, self._incarnation)
        await directory.note(spec.pool_id, spec.index, ref)

    async def count_queues(self) -> None:
        """Learn how many queues a hosted pool has, or say so: whoever knows of more, the scheduler or this queue.

        A scheduler that was replaced knows of those queues only that have joined it. A client that took these for
        all would look for keys and groups in the wrong places.

        Raises:
            QueueLostError: the scheduler is not there.
        """
        told = await Directory(self._node).hosted(self._spec.pool_id)
        await self._learn(told.size)
        if told.n_queues < self._n_queues:
            await self.announce()

    async def close(self) -> None:
        """Send away who waits, flush, and give up the folder."""
        if self._closed:
            return
        self._closed = True
        EXHIBIT.remove(self._told)
        self._parked.close()
        self._settled.ring()
        self._idle.ring()
        self._asked.ring()
        self._close_engine_parts()
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._engine is not None:
            await self._engine.close()
            SwitchInterval.restore()
        self._thread.shutdown(wait=False)

    # Producers

    async def put(
        self, producer: bytes, puts: Sequence[tuple[int, bytes, Sequence[Any]]], patience: float
    ) -> list[int]:
        """Append record batches; see ``Engine.put``. Room for the first is waited for up to *patience* seconds.

        Raises:
            QueueFullError: there was none in the queue.
            DiskFullError: there was none on the disk.
        """
        engine = self._open_engine()
        chosen = told.puts(producer, puts)
        give_up_at = self._clock.now() + told.seconds(patience)
        while True:
            try:
                firsts = await engine.put(producer, chosen)
            except (QueueFullError, DiskFullError) as error:
                if not await self._settled.wait(give_up_at - self._clock.now()):
                    self._meter.reject("full" if isinstance(error, QueueFullError) else "disk_full")
                    raise
            else:
                if any(options.delay or options.not_before or options.expires for _, _, options in chosen):
                    self._look_again()
                return firsts

    async def cancel(self, incarnation: int, runs: Pairs) -> list[tuple[int, int]]:
        """Drop messages that wait; return the runs that were dropped. Those that run are asked to end."""
        self._check_incarnation(incarnation)
        dropped = await self._open_engine().cancel(told.runs(runs))
        self._asked.ring()
        return to_pairs(dropped)

    async def purge(self) -> list[tuple[int, int]]:
        """Drop all messages that wait; return their runs."""
        return to_pairs(await self._open_engine().purge())

    # Consumers

    async def exchange(
        self,
        consumer: str,
        pool: str,
        settlements: Sequence[Sequence[Any]],
        request: int,
        want: int,
        slice_size: int,
        max_bytes: int,
        early: bool,
    ) -> tuple[int, int, list[tuple[int, int, bytes]], list[tuple[Any, ...]]] | None:
        """Settle what is done and lease up to *want* messages, in one call.

        When little is left, no more than a fair share of it is leased, but a slice of *slice_size* always.

        Returns:
            Lease number, epoch, slices ``(first sequence, count, record batch)`` and notes on those messages that
            are not plain (see ``NoteOf``), or None when there is nothing to lease.
        """
        engine = self._open_engine()
        told.wish(consumer, pool, request, want, slice_size, max_bytes)
        settled = [told.settlement(fields) for fields in settlements]
        await engine.writable()
        for said in settled:
            if hear(engine.leases, self._early, consumer, pool, said):
                self._look_again()
        if want < 1:
            return None
        if want > slice_size:
            want = min(want, max(engine.fair_share(), slice_size))
        leased = await engine.leases.lease(consumer, pool, request, want, max_bytes)
        self._parked.taken()
        if leased is None:
            return None
        self._watch_on()
        if early:
            await engine.writable()  # the lease may have read from the disk, and a segment be full since then
            runs = [Run(part.first, part.first + part.size) for part in leased.slices]
            self._early.begin(consumer, runs)
            engine.leases.ack(Receipt(leased.lease, leased.epoch), runs, None)
        slices = [(part.first, part.size, part.data) for part in leased.slices]
        return leased.lease, leased.epoch, slices, leased.notes

    async def park(self, home: bool, seconds: float, consumer: str = "") -> bool:
        """Return True as soon as there is work for a consumer, False after *seconds* without any."""
        self._open_engine()
        with self._present.of(told.name(consumer)):
            return await self._parked.wait_for_work(home=home, seconds=told.seconds(seconds))

    async def extend(self, consumer: str, leases: Sequence[int]) -> list[int]:
        """Prolong leases; return those still held."""
        return list(self._open_engine().leases.extend(told.name(consumer), told.numbers(leases)))

    async def cancels(self, consumer: str, seconds: float) -> list[tuple[int, int]]:
        """Return what the consumer holds whose cancel was asked for; wait for the first of it up to *seconds*."""
        give_up_at = self._clock.now() + told.seconds(seconds)
        while not (asked := self._open_engine().leases.asked(consumer)):
            if not await self._asked.wait(give_up_at - self._clock.now()):
                break
        return to_pairs(asked)

    async def progress(self, consumer: str, remarks: Sequence[tuple[int, int, int, bytes]]) -> list[bool]:
        """Keep how far messages are that *consumer* runs, and prolong their leases; return which of these live.

        Args:
            consumer: who runs them.
            remarks: lease, epoch, sequence and note of each.
        """
        engine = self._open_engine()
        await engine.writable()
        held = [
            engine.leases.progress(Receipt(lease, epoch), sequence, note)
            for lease, epoch, sequence, note in told.remarks(remarks)
        ]
        if not all(held):
            logger.debug("%s told of messages that are no longer its own", consumer)
        return held

    async def lose(self, consumer: str) -> None:
        """Take back what a consumer holds that says good-bye."""
        self._early.lose(consumer)
        await self._open_engine().leases.lose([consumer])

    # Those who wait

    async def wait_settled(self, waiter: str, incarnation: int, runs: Pairs, seconds: float) -> Answer:
        """Return how those of the messages ended that have: ``(state, runs, blob, reason)`` for each part.

        Waits for the first of them. A new call of the same *waiter* ends the one before it.

        Raises:
            MessagesLostError: they were in an earlier incarnation of this queue.
        """
        self._open_engine()
        self._check_incarnation(incarnation)
        assert self._answers is not None
        return await self._answers.wait(told.name(waiter), told.runs(runs), told.seconds(seconds))

    async def wait_idle(self, seconds: float) -> tuple[int, ...]:
        """Return the counts once nothing waits or runs, or after *seconds*."""
        engine = self._open_engine()
        give_up_at = self._clock.now() + told.seconds(seconds)
        while self._counts(engine).pending and not self._closed:
            if not await self._idle.wait(give_up_at - self._clock.now()):
                break
        return tuple(self._counts(engine))

    async def results(
        self, pool: str, after: tuple[int, int] | None, max_bytes: int
    ) -> tuple[list[tuple[str, list[tuple[int, int]], bytes]], tuple[int, int] | None]:
        """Return a page of what the tasks of a consumer pool returned, and where the next one begins."""
        page = await self._open_engine().endings.page(
            told.name(pool), told.page_after(after or None), told.number(max_bytes)
        )
        found = [(part.consumer, to_pairs(part.runs), bytes(part.blob)) for part in page.outcomes]
        return found, page.after

    async def status(self, pool: str = "") -> dict[str, Any]:
        """Return the counts by state, and how many messages a consumer pool has settled."""
        engine = self._open_engine()
        finished = engine.finished(told.name(pool))
        counts = self._counts(engine)._asdict()
        return {"name": self.name, **counts, "enqueued": engine.enqueued, "finished": finished}

    async def notes(self, incarnation: int, runs: Pairs) -> list[tuple[int, bytes]]:
        """Return how far messages said they are: ``(sequence, note)`` of those that did."""
        engine = self._open_engine()
        self._check_incarnation(incarnation)
        return [noted for run in told.runs(runs) for noted in engine.notes(run)]

    async def states(self, incarnation: int, runs: Pairs) -> list[tuple[int, int, str]]:
        """Return the state of each message: ``(first, last, state)``."""
        engine = self._open_engine()
        self._check_incarnation(incarnation)
        return [
            (part.first, part.last, str(state))
            for run in told.runs(runs)
            for part, state in engine.states(run)
        ]

    # Metrics

    def reading(self) -> QueueReading | None:
        """Return what metrics tell of the queue now; None while it is not open."""
        if self._engine is None or self._closed:
            return None
        reading = self._engine.reading()
        leased = reading.messages[State.LEASED] + sum(run.count for run in self._early.running)
        return replace(reading, messages={**reading.messages, State.LEASED: leased})

    # Inside

    @property
    def _holders(self) -> set[str]:
        return self._early.consumers | (self._engine.consumers() if self._engine is not None else set())

    async def _learn(self, n_queues: int) -> None:
        """Remember, over restarts too, that the pool has so many queues."""
        dirpath = self._spec.dirpath
        if n_queues <= self._n_queues or dirpath is None:
            return
        self._n_queues = n_queues
        try:
            await self._loop.run_in_executor(self._thread, pool_folder.grow, dirpath, n_queues)
        except OSError as error:
            # It serves all the same; after a restart it learns it again.
            logger.warning(
                "%s: that there are %d queues cannot be written: %s", self._spec.key, n_queues, error
            )

    def _open_engine(self) -> Engine:
        if self._closed:
            # Its engine says that it can do nothing more: that is no failure, and its files are closed already.
            raise QueueLostError(f"{self._spec.key} is closing")
        if self._engine is not None and self._engine.failure is not None:
            self._give_up(self._engine.failure)
        if self._engine is None:
            raise QueueLostError(f"{self._spec.key} is not open")
        return self._engine

    def _about(self) -> dict[str, Any]:
        """Return what the queue's stats say beside what its engine knows."""
        running = sum(run.count for run in self._early.running)
        return {
            "name": self.name,
            "consumers": len(self._holders | self._present.names),
            "acked_early": running,
        }

    def _check_incarnation(self, incarnation: int) -> None:
        if incarnation != self._incarnation:
            raise MessagesLostError(
                f"transient queue {self._spec.index} of pool {self._spec.pool_name!r} was lost with its worker, "
                "and the messages in it"
            )

    def _give_up(self, failure: str) -> None:
        """Leave a failed engine behind: the only way on is to open the folder again and replay it."""
        logger.error("%s failed and will be re-opened: %s", self._spec.key, failure)
        self._close_engine_parts()
        assert self._engine is not None
        self._engine.abandon()
        self._engine = self._opening = None
        SwitchInterval.restore()

    def _close_engine_parts(self) -> None:
        if self._watch is not None and self._answers is not None:
            self._watch.close()
            self._answers.close()

    def _counts(self, engine: Engine) -> Counts:
        counts = engine.counts()
        return counts._replace(leased=counts.leased + sum(run.count for run in self._early.running))

    async def _open(self) -> Engine:
        spec = self._spec
        EXHIBIT.add(self._told)
        fs: FileSystem = MemoryFileSystem() if spec.dirpath is None else LocalFileSystem()
        owner = {
            "host": self._node.address or os.uname().nodename,  # a host has no address before it has joined
            "pid": os.getpid(),
            "cluster": getattr(self._node.scheduler, "address", None),
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
            on_settled=self._tell_settled,
            meter=self._meter,
        )
        files.ousted.add_done_callback(self._tell_ousted)
        SwitchInterval.shorten()
        patience = HOSTED_PATIENCE_SECONDS if spec.hosted else 0.0
        self._watch = LeaseWatch(self._engine, self._early, Directory(self._node), self._clock, patience)
        self._answers = Answers(self._engine, self._settled, lambda: self._early.running, self._clock)
        if not spec.hosted:
            await self.announce()
        return self._engine

    def _open_files(self, fs: FileSystem, owner: dict[str, str | int | float | None]) -> Files:
        spec = self._spec
        if spec.hosted and spec.dirpath is not None:
            self._n_queues = pool_folder.settle(spec.dirpath, spec.pool_name, spec.index, fs)
        elif spec.dirpath is not None:
            record = pool_folder.read(spec.dirpath, fs)
            if record is None or record.pool_id != spec.pool_id:
                raise FolderError(
                    f"worker {self._node.address} does not reach {spec.dirpath}: a durable pool needs a folder "
                    "that all its workers share"
                )
        on_disk = spec.dirpath is not None
        return open_files(
            fs, spec.folder, owner, spec.settings, self._clock, create=spec.create, on_disk=on_disk
        )

    def _tell_ousted(self, ousted: Future[StorageError]) -> None:
        def tell() -> None:
            if not self._ousted.done():
                self._ousted.set_result(ousted.result())

        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(tell)

    def _tell_settled(self) -> None:
        self._settled.ring()
        # Who waits for the end of all messages is not woken for each of them.
        if self._idle.awaited and self._engine is not None and not self._counts(self._engine).pending:
            self._idle.ring()

    def _watch_on(self) -> None:
        if self._watch is not None:
            self._watch.watch_on()

    def _look_again(self) -> None:
        if self._watch is not None:
            self._watch.look_again()

    def _work_left(self) -> bool:
        return self._engine is not None and self._engine.leasable() > 0
