"""Slices of calls, run by the threads of a consumer without a queue."""

from __future__ import annotations

import asyncio
import contextlib

from daskqueue.actors.report import settlements_of
from daskqueue.actors.threads import ThreadRunner
from daskqueue.actors.work import Note, Work
from daskqueue.batch import encode_calls
from daskqueue.consumer import GeneralConsumer
from daskqueue.message import Terms
from daskqueue.results import decode_results

FIRST = 100


def work_of(calls, notes=()):
    """Return calls as one slice of a queue's messages from :data:`FIRST` on."""
    return Work(0, (1, 1), 0, FIRST, [(len(calls), encode_calls(calls))], notes, "pool-0")


def note(index, count=1, *, attempts=0, losses=0, progress=None, **terms):
    """Return what a queue says of some of the messages, by their index."""
    first = FIRST + index
    return Note(first, first + count, attempts, losses, Terms(**terms) if terms else None, progress)


class Bench:
    """Runs slices and waits for them.

    Attributes:
        runner: what runs them.
        notes: what tasks told of their progress: (index, note).
    """

    def __init__(self, threads=1, consumer=None, **options):
        self.notes = []
        self._loop = asyncio.get_running_loop()
        self._something = asyncio.Event()
        self.runner = ThreadRunner(
            consumer or GeneralConsumer(), threads, self._loop, self._on_end, self._on_note, **options
        )

    def _on_end(self):
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._something.set)

    def _on_note(self, work, index, blob):
        self.notes.append((index, blob))

    async def wait(self, work, seconds=60):
        """Return when all messages of a slice have come to their end."""
        async with asyncio.timeout(seconds):
            while not work.ended:
                await self._something.wait()
                self._something.clear()

    async def run(self, calls, notes=()):
        """Run calls as one slice; return it."""
        work = work_of(calls, notes)
        self.runner.feed(work)
        await self.wait(work)
        return work


@contextlib.asynccontextmanager
async def bench(threads=1, consumer=None, **options):
    """Threads that run slices for the length of a block."""
    made = Bench(threads, consumer, **options)
    await made.runner.start()
    try:
        yield made
    finally:
        made.runner.stop()
        await made.runner.wait_stopped(10)


def run(calls, notes=(), threads=1, consumer=None, **options):
    """Run calls as one slice; return it when all have ended."""

    async def to_the_end():
        async with bench(threads, consumer, **options) as made:
            return await made.run(calls, notes)

    return asyncio.run(to_the_end())


def said_of(work, *, late=False):
    """Return what the queue is to be told."""
    return [said for cut in work.cuts() for said in settlements_of(cut, late=late)]


def endings(work):
    """Return how each message ended, by its index, as a pair of a word and what belongs to it.

    ``("returned", value)``, ``(reason, error)``, ``("snoozed", seconds)``, ``("stopped", None)``.
    """
    found = {}
    for said in said_of(work):
        parts = [
            (said.returned, iter(decode_results(said.results or b"")) if said.returned else None, "returned"),
            (said.raised, iter(decode_results(said.failures)) if said.raised else None, said.reason),
        ]
        for pairs, values, word in parts:
            for index in _indices(pairs):
                value = next(values)
                found[index] = (word, value if word == "returned" else value.exception())
        found.update((index, ("snoozed", said.delay)) for index in _indices(said.released))
        found.update((index, ("stopped", None)) for index in _indices(said.stopped))
        found.update((index, ("crashed", None)) for index in _indices(said.crashed))
    return found


def values(work):
    """Return what the messages returned, in order; all of them must have."""
    ends = endings(work)
    assert sorted(ends) == list(range(work.count))
    assert {word for word, _ in ends.values()} == {"returned"}, ends
    return [ends[index][1] for index in sorted(ends)]


def _indices(pairs):
    return [sequence - FIRST for first, last in pairs for sequence in range(first, last)]
