"""One life of an engine over real files: producers, consumers and a looker in one process, until somebody kills it.

All of a queue's machinery is made to happen within a tenth of a second: segments roll, survivors move, checkpoints
are written, results are retired by nobody (the ledger wants to see them all), large batches lie in files.
"""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

from daskqueue.batch import Batch, encode_items
from daskqueue.clock import Clock, new_id, new_name
from daskqueue.core.invariants import check
from daskqueue.core.tally import Receipt, State
from daskqueue.engine import engine as engine_module
from daskqueue.engine import files as files_module
from daskqueue.engine import outcome_log
from daskqueue.engine.engine import Engine
from daskqueue.engine.leases import Leased
from daskqueue.engine.opening import open_files
from daskqueue.engine.settings import QueueSettings
from daskqueue.message import PutOptions, Run, Terms
from daskqueue.results import decode_results, encode_failure, encode_results
from daskqueue.storage.fs import LocalFileSystem

from .lines import Ledger

SEGMENT_BYTES = 6000
LARGE_BYTES = 3000
CHECKPOINT_BYTES = 4000
BACKLOG = 150
RETRIES = 2
PLENTY = 1 << 30
STATUS = {"returned": "finished", "failed": "error"}

SETTINGS = QueueSettings(
    max_losses=1_000_000,
    backoff_seconds=0.005,
    backoff_max_seconds=0.01,
    lease_seconds=3600.0,
    segment_bytes=SEGMENT_BYTES,
)


def make_small() -> None:
    """Make everything in this process happen after kilobytes that else takes megabytes."""
    for module, name, size_bytes in (
        (outcome_log, "SEGMENT_BYTES", SEGMENT_BYTES),
        (files_module, "CHECKPOINT_BYTES", CHECKPOINT_BYTES),
        (engine_module, "LARGE_BYTES", LARGE_BYTES),
    ):
        assert getattr(module, name) > size_bytes
        setattr(module, name, size_bytes)


def live(folder: str, ledgers: str, name: str, seed: str) -> None:
    """Open the queue in *folder* and use it until this process is killed."""
    make_small()
    asyncio.run(_Life(Path(folder), ledgers, name, seed).go_on())


def end(folder: str, ledgers: str, name: str, seed: str) -> None:
    """Open it a last time, run what is left, and write down how all its messages ended."""
    make_small()
    asyncio.run(_Life(Path(folder), ledgers, name, seed).come_to_an_end())


class _Life:
    def __init__(self, folder: Path, ledgers: str, name: str, seed: str) -> None:
        self.name = name
        self.random = random.Random(seed)
        self.ledger = Ledger(ledgers, name)
        self.thread = ThreadPoolExecutor(1)
        self.ready = asyncio.Event()
        # Not named after the life: a consumer that comes back is another one.
        self.consumer = new_name()
        files = open_files(LocalFileSystem(), folder, {"name": name}, SETTINGS, Clock(), create=True)
        self.engine = Engine(
            files, SETTINGS, Clock(), self.thread, on_ready=self.ready.set, on_settled=lambda: None
        )
        check(files.book.queue)

    async def go_on(self) -> None:
        await self.engine.leases.lose(self.engine.consumers())
        self.ledger.say("opened")
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(self._produce(number))
                group.create_task(self._consume(number))
            group.create_task(self._look())

    async def come_to_an_end(self) -> None:
        engine = self.engine
        await engine.leases.lose(engine.consumers())
        while engine.counts().pending:
            await engine.leases.expire()
            leased = await engine.leases.lease(
                self.consumer, "pool", self.random.getrandbits(60), 1000, PLENTY
            )
            if leased is not None:
                await self._run(leased, give_back=False)
            elif (seconds := engine.seconds_to_next_event()) is not None:
                await asyncio.sleep(seconds)
        await self._tell_the_ends()
        self.ledger.say("rest", engine.counts().pending)
        await engine.close()

    # Producers

    async def _produce(self, number: int) -> None:
        producer = new_id()
        for turn in range(1_000_000):
            if self.engine.counts().pending > BACKLOG:
                await asyncio.sleep(0.002)
                continue
            names = [f"{self.name}-{number}-{turn}-{k}" for k in range(self.random.choice((1, 3, 20)))]
            await self._put(producer, turn, names, self._options(number))

    def _options(self, number: int) -> PutOptions:
        plain = self.random.random() < 0.5
        group = f"group {number}" if self.random.random() < 0.4 else ""
        terms = Terms(priority=0 if group else self.random.randrange(3), group=group)
        return PutOptions(retries=RETRIES, terms=Terms() if plain else terms)

    async def _put(self, producer: bytes, number: int, names: list[str], options: PutOptions) -> None:
        padding = "x" * self.random.choice((0, 0, 10, 200))
        data = encode_items([f"{name} {padding}" for name in names])
        for name in names:
            self.ledger.say("submitting", name, options.terms.group)
        (first,) = await self.engine.put(producer, [(number, data, options)])
        if self.random.random() < 0.1:  # Dask sent it twice
            (again,) = await self.engine.put(producer, [(number, data, options)])
            assert again == first
        for step, name in enumerate(names):
            self.ledger.say("answered", name, first + step)

    # Consumers

    async def _consume(self, number: int) -> None:
        consumer = f"{self.consumer}-{number}"
        for request in range(1_000_000):
            want = self.random.choice((1, 5, 40))
            leased = await self.engine.leases.lease(consumer, "pool", request, want, PLENTY)
            if leased is None:
                self.ready.clear()
                await self._wait_for_work()
                continue
            await self._run(leased, give_back=True)

    async def _wait_for_work(self) -> None:
        try:
            async with asyncio.timeout(0.005):
                await self.ready.wait()
        except TimeoutError:
            await self.engine.leases.expire()

    async def _run(self, leased: Leased, *, give_back: bool) -> None:
        """Run what was leased one by one; settle some of it together and some alone."""
        receipt = Receipt(leased.lease, leased.epoch)
        tallies = {s: note[2:4] for note in leased.notes for s in range(note[0], note[1])}
        acked: list[tuple[int, str]] = []
        await self.engine.writable()
        for part in leased.slices:
            for step, text in enumerate(Batch.parse(part.data).items()):
                sequence, name = part.first + step, text.split(" ")[0]
                attempts, losses = tallies.get(sequence, (0, 0))
                if give_back and self.random.random() < 0.05:
                    self.engine.leases.release(receipt, [Run(sequence, sequence + 1)])
                    continue
                self.ledger.say("began", sequence, name, attempts + 1, attempts + losses + 1)
                await self._work()
                how = "raised" if fails(name, attempts) else "returned"
                self.ledger.say("ended", sequence, name, attempts + losses + 1, how)
                if how == "raised":
                    self._nack(receipt, sequence, name, final=attempts >= RETRIES)
                else:
                    acked.append((sequence, name))
                if self.random.random() < 0.3:
                    self._ack(receipt, acked)
        self._ack(receipt, acked)

    async def _work(self) -> None:
        """Let the others do something now and then; afterwards the queue can be written to."""
        if self.random.random() < 0.2:
            await asyncio.sleep(self.random.choice((0, 0.001)))
            await self.engine.writable()

    def _ack(self, receipt: Receipt, acked: list[tuple[int, str]]) -> None:
        if not acked:
            return
        blob, _ = encode_results([f"done {name}" for _, name in acked])
        stale = self.engine.leases.ack(receipt, [Run(s, s + 1) for s, _ in acked], blob)
        assert not stale, f"{stale} of {acked} were nobody's"
        for sequence, _ in acked:
            self.ledger.say("settled", sequence, "finished")
        acked.clear()

    def _nack(self, receipt: Receipt, sequence: int, name: str, *, final: bool) -> None:
        blob = encode_failure(ValueError(f"no {name}"))
        self.engine.leases.nack(receipt, [Run(sequence, sequence + 1)], blob, "raised", final=final)
        if final:
            self.ledger.say("settled", sequence, "error")

    # Lookers

    async def _look(self) -> None:
        """Cancel something now and then."""
        while True:
            await asyncio.sleep(0.01)
            last = self.engine.enqueued
            first = self.random.randrange(max(last, 1))
            for run in await self.engine.cancel([Run(first, min(first + 2, last))]) if last else ():
                for sequence in range(*run):
                    self.ledger.say("settled", sequence, "cancelled")

    async def _tell_the_ends(self) -> None:
        everything = Run(0, 1 << 40)
        ends: dict[int, tuple[str, str]] = {}
        for ended in await self.engine.endings.outcomes(everything):
            values = decode_results(ended.blob) if len(ended.blob) else repeat("")
            status = STATUS.get(ended.state, ended.state)
            sequences = [s for run in ended.runs for s in range(*run)]
            for sequence, value in zip(sequences, values, strict=len(ended.blob) > 0):
                ends[sequence] = status, str(value.exception() if status == "error" else value)
        for run, state in self.engine.states(everything):
            for sequence in range(*run):
                status, value = ends.get(sequence, ("unknown", ""))
                known = (state is State.DEAD) == (status == "error")
                self.ledger.say("final", sequence, status if known else f"{status} and {state}", value)


def fails(name: str, attempts: int) -> bool:
    """Return whether a try of a message raises: the first one of every eighth, and all of every fiftieth."""
    number = sum(name.encode())
    return number % 50 == 7 or (number % 8 == 3 and attempts == 0)
