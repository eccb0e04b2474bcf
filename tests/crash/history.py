"""The life of one queue over some crashes: ended at every call on the disk, and again in the recovery."""

from __future__ import annotations

from contextlib import closing, contextmanager
from random import Random
from typing import NamedTuple

from .aftermath import Aftermath, assert_same
from .disk import ModelDisk
from .injected import injected
from .rig import HandLoop, Rig, small
from .story import Story, settings_of

GENERATIONS = 3
STEPS = 22
LOSS = 0  # a power cut that leaves nothing that was not synced


class Crash(NamedTuple):
    """After how many calls a process ends, and how.

    Attributes:
        n: after how many calls.
        power: whether the power is cut; else the process is killed.
        keep: LOSS, or None where chance keeps some of what was not synced.
        part: bytes of the next call, a write, that are done.
    """

    n: int
    power: bool
    keep: int | None = None
    part: int = 0

    @property
    def kind(self):
        """How the faults of this kind are called."""
        if self.power:
            return "power cut" if self.keep is None else "power cut that takes all that was not synced"
        return "killed in a write" if self.part else "killed"

    def left(self, disk, rng):
        """Return what it leaves of a disk."""
        if self.power:
            return disk.power_cut(rng, self.n, self.keep)
        return disk.killed(self.n, self.part)


class History:
    """A queue that lives, crashes, and lives on from one of its crashes.

    Args:
        seed: chooses everything.
        skip: calls of the product that do nothing, see `ModelDisk`.
    """

    def __init__(self, seed, skip=lambda call: False):
        self.rng = Random(seed)
        self.settings, self.sizes = settings_of(self.rng)
        self.faults = 0
        self._disk = ModelDisk(skip)
        self._promises = None
        self._born = 0  # how many calls the very first opening takes
        self._last = Crash(0, power=False)

    def live(self):
        """Live, crash at every call, check what is left; raise at the first promise that is broken."""
        with small(**self.sizes), closing(HandLoop()) as self._loop:
            for generation in range(GENERATIONS):
                story = self._tell(is_first=generation == 0)
                try:
                    for n in range(0 if generation == 0 else story.opened, story.now + 1):
                        self._end_after(n)
                    self._go_on(story)
                except BaseException as error:
                    error.add_note(f"generation {generation}: {self._last}, {self._about(story)}")
                    error.add_note(f"{self.settings} {self.sizes}")
                    raise

    def _about(self, story):
        calls = self._disk.calls[max(self._last.n - 4, 0) : self._last.n + 1]
        commands = [verb for began, verb in story.told if began <= self._last.n]
        return f"commands {commands}, around {[f'{call.verb} {call.site}' for call in calls]}"

    def _tell(self, *, is_first):
        moment = None if is_first else self._promises.moment(self._last.n)
        with self._opened(self._disk, create=is_first, moment=moment) as rig:
            if not is_first:
                self._promises.adopt(self._last.n, rig.queue)
            story = Story(rig, self.rng, self._promises)
            story.tell(STEPS)
        self._promises = story.promises
        self._born = story.opened if is_first else 0
        return story

    @contextmanager
    def _opened(self, disk, *, create, moment=None):
        rig = Rig(self._loop, disk, **self.settings)
        if moment is not None:
            rig.clock.moment = moment
        try:
            yield rig.open(create=create)
        finally:
            rig.kill()

    def _end_after(self, n):
        """End after *n* calls in every way, and look at what that leaves."""
        self._crash(Crash(n, power=False))
        if n < len(self._disk.calls) and self._disk.calls[n].verb == "write":
            size = len(self._disk.calls[n].data)
            self._crash(Crash(n, power=False, part=self.rng.randrange(1, max(size, 2))))
        for keep in (LOSS, None):
            self._crash(Crash(n, power=True, keep=keep))

    def _crash(self, crash):
        self._last = crash
        left = crash.left(self._disk, self.rng)
        with self._recovered(left, crash) as after:
            known, calls = after.rig.known(), len(left.calls)
            check = self.rng.choice((after.check_endings, after.check_that_it_works, None, None))
            if check is not None:
                check()
        self._count(crash.kind)
        if check is None:
            self._crash_again(left, calls, known)

    def _crash_again(self, left, calls, known):
        """Crash in the recovery, which took some *calls*, or directly after it: what it showed is *known*."""
        n = self.rng.choice((calls, self.rng.randint(0, calls)))
        again = Crash(n, power=self.rng.random() < 0.6)
        crash = self._last._replace(power=self._last.power or again.power)
        with self._recovered(again.left(left, self.rng), crash) as after:
            if n == calls:
                assert_same(after.rig.known(), known, holes=crash.power)
            after.check_endings()
        self._count(f"{again.kind} in the recovery")

    @contextmanager
    def _recovered(self, left, crash):
        moment = self._promises.moment(crash.n)
        with self._opened(left, create=crash.n < self._born, moment=moment) as rig:
            after = Aftermath(rig, self._promises, crash)
            after.check()
            yield after

    def _count(self, kind):
        injected[kind] += 1
        self.faults += 1

    def _go_on(self, story):
        """Choose one of the crashes for the next generation to go on from."""
        self._last = Crash(self.rng.randint(story.opened, story.now), power=self.rng.random() < 0.5)
        self._disk = self._last.left(self._disk, self.rng)
