"""A bench whose time stands still and whose disk answers at once: the same story is the same calls, always."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

from core.stage import comparable
from engine.bench import Bench

from daskqueue.core.invariants import check, check_shape
from daskqueue.engine import engine, files, leases, outcome_log


class Inline:
    """In the place of a thread: does at once what it is given."""

    def submit(self, work, *args):
        done = Future()
        try:
            done.set_result(work(*args))
        except Exception as error:  # noqa: BLE001  whoever waits for it is told
            done.set_exception(error)
        return done

    def shutdown(self):
        pass


class HandLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers wait until its ``moment`` is moved."""

    moment = 0.0

    def time(self):
        return self.moment


class Rig(Bench):
    """A bench on a model disk; many of them may share a loop, one after the other."""

    new_thread = Inline

    def __init__(self, loop, disk, **settings):
        self.new_loop = lambda: loop
        super().__init__(disk, **settings)

    def clear_away(self):
        """End, and leave the loop to others."""
        self.kill()

    def tick(self):
        """Let the time go by after which acks are synced although nobody waits."""
        self.loop.moment += 1.0
        for _ in range(3):
            self.run(asyncio.sleep(0))
        self.let_it_work()

    @property
    def queue(self):
        return self.engine._queue

    def known(self):
        """Return all that must be the same after a restart; it does not change with the queue."""
        known = comparable(self.queue, self.clock.now())
        known["counters"] = replace(known["counters"], dead=dict(known["counters"].dead))
        known["numbers"] = known["numbers"][:2] + known["numbers"][3:]  # without the epoch
        # After a hole in the log a second replay may know better whose end was lost; who is in line stays.
        known["running"] = {group: running for group, (_, running) in known["groups"].items()}
        known["groups"] = {group: runs for group, (runs, _) in known["groups"].items()}
        known["held"] = {consumer: list(numbers) for consumer, numbers in known["held"].items()}
        known["notes"] = dict(known["notes"])
        known["keys"] = tuple(map(dict, known["keys"]))
        return known

    def check_invariants(self, *, holes):
        """Check the state; a power cut leaves *holes* among the facts that nobody has heard of yet."""
        (check_shape if holes else check)(self.queue)


@contextmanager
def small(large_bytes, checkpoint_bytes, results_bytes):
    """Make files so small that a short story seals, checkpoints and drops them."""
    with (
        patch.object(outcome_log, "SEGMENT_BYTES", results_bytes),
        patch.object(engine, "LARGE_BYTES", large_bytes),
        patch.object(files, "CHECKPOINT_BYTES", checkpoint_bytes),
        patch.object(leases, "jitter", lambda: 0.5),
    ):
        yield
